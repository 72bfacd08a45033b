"""A network without sockets for tests in virtual time: ports and streams between engines in one process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from errno import ECONNREFUSED

import trio
import trio.testing

from gossipd.addresses import Address

BATCH_MAX = 64


@dataclass
class MemoryNetwork:
    """Who listens where. A crashed host's packets vanish or, with `refuses`, come back as refusals."""

    ports: dict[Address, MemoryPort] = field(default_factory=dict)
    refuses: bool = True

    def port(self, address: Address) -> MemoryPort:
        self.ports[address] = MemoryPort(self, address)
        return self.ports[address]

    def crash(self, address: Address) -> None:
        del self.ports[address]

    async def connect(self, to: Address) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        port = self.ports.get(to)
        if port is None:
            if self.refuses:
                raise ConnectionRefusedError(ECONNREFUSED, "Connection refused")
            await trio.sleep_forever()
        assert port is not None
        ours, theirs = trio.testing.memory_stream_pair()
        port.dialled.append(theirs)
        port.stream_bell.set()
        return ours


class MemoryPort:
    """Port and Listener of one host."""

    def __init__(self, network: MemoryNetwork, address: Address) -> None:
        self.address = address
        self.counters: dict[str, int] = {}
        self.sent: list[tuple[bytes, Address]] = []
        self.waiting: deque[tuple[bytes, Address]] = deque()
        self.refused: list[Address] = []
        self.dialled: deque[trio.abc.Stream] = deque()
        self.packet_bell = trio.Event()
        self.stream_bell = trio.Event()
        self._network = network

    @property
    def has_errors(self) -> bool:
        return bool(self.refused)

    async def wait(self) -> None:
        while not (self.waiting or self.refused):
            self.packet_bell = trio.Event()
            await self.packet_bell.wait()
        await trio.lowlevel.checkpoint()

    def drain(self, receive: Callable[[bytes, Address], None]) -> int:
        for count in range(BATCH_MAX):
            if not self.waiting:
                return count
            receive(*self.waiting.popleft())
        return BATCH_MAX

    def refusals(self) -> list[Address]:
        refused, self.refused = self.refused, []
        return refused

    def send(self, data: bytes, to: Address) -> None:
        self.sent.append((data, to))
        there = self._network.ports.get(to)
        if there is not None:
            there.waiting.append((data, self.address))
            there.packet_bell.set()
        elif self._network.refuses:
            self.refused.append(to)
            self.packet_bell.set()

    async def accept(self) -> tuple[trio.abc.Stream, Address]:
        while not self.dialled:
            self.stream_bell = trio.Event()
            await self.stream_bell.wait()
        return self.dialled.popleft(), ("127.0.0.1", 40000)
