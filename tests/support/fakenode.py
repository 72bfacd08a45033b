"""A node that does as it is told, for tests of what is around a node."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from gossipd.addresses import Address
from gossipd.commands import Command
from gossipd.effects import Effect
from gossipd.errors import CommandError, WireError
from gossipd.events import MemberInfo
from gossipd.swim.config import SwimConfig
from gossipd.wire.messages import Message
from gossipd.wire.packet import Envelope
from gossipd.wire.stream import StreamDecoder


class FakeMachine:
    """Due at the given times, one after the other."""

    def __init__(self) -> None:
        self.due: list[float] = []
        self.ran: list[float] = []

    def next_deadline(self) -> float:
        return min(self.due, default=inf)

    def advance(self, now: float, out: list[Effect]) -> None:
        self.ran.append(now)
        self.due = [at for at in self.due if at > now]


class FakeNode:
    """Answers inputs with what `on_datagram` and the like say; remembers what it was told."""

    def __init__(self) -> None:
        self.name = "ann"
        self.members_version = 1
        self.name_conflict = ""
        self.prober, self.gossiper, self.serf = FakeMachine(), FakeMachine(), FakeMachine()
        self.on_datagram: Callable[[bytes], list[Effect]] = lambda data: []
        self.on_command: Callable[[Command], list[Effect]] = lambda command: []
        self.on_exchange: Callable[[int, Message | None, str], list[Effect]] = lambda id, message, failure: []
        self.stream_reply = b""
        self.exchanges: list[tuple[int, Message | None, str]] = []
        self.streams: list[Message] = []
        self.failures: list[WireError] = []
        self.refused: list[Address] = []

    def start(self, now: float) -> list[Effect]:
        return []

    def receive_datagram(self, data: bytes, source: Address, now: float) -> list[Effect]:
        return self.on_datagram(data)

    def port_refused(self, to: Address, now: float) -> list[Effect]:
        self.refused.append(to)
        return []

    def stream_decoder(self, dialled: bool) -> StreamDecoder:
        return StreamDecoder(Envelope(None, b"", False, bytes), dialled=dialled)

    def receive_stream(self, message: Message, source: Address, now: float) -> tuple[bytes, list[Effect]]:
        self.streams.append(message)
        return self.stream_reply, []

    def stream_failed(self, error: WireError, source: Address) -> tuple[bytes, list[Effect]]:
        self.failures.append(error)
        return b"err", []

    def exchange_done(self, id: int, message: Message | None, failure: str, now: float) -> list[Effect]:
        self.exchanges.append((id, message, failure))
        return self.on_exchange(id, message, failure)

    def command(self, command: Command, now: float) -> list[Effect]:
        return self.on_command(command)

    def members(self) -> list[MemberInfo]:
        return [MemberInfo(self.name, bytes([127, 0, 0, 1]), 7946, {"role": "web"}, "alive", bytes([1, 5, 2, 2, 5, 5]))]

    def member(self, name: str) -> MemberInfo | None:
        return next((member for member in self.members() if member.name == name), None)

    def stats(self) -> dict[str, str]:
        return {"members": "1"}


def refusing(text: str) -> Callable[[Command], list[Effect]]:
    def refuse(command: Command) -> list[Effect]:
        raise CommandError(text)

    return refuse


def a_swim_config(name: str, address: Address, **changes: Any) -> SwimConfig:
    raw = bytes(int(part) for part in address[0].split("."))
    return SwimConfig(name=name, addr=raw, port=address[1], bind_port=address[1], **changes)
