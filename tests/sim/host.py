"""A simulated machine with one gossipd process on it, and what the process must offer to be simulated."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from random import Random
from typing import Any, Protocol

from gossipd.addresses import Address
from gossipd.commands import Command
from gossipd.effects import Effect, Reply
from gossipd.errors import WireError
from gossipd.events import MemberInfo
from gossipd.wire.messages import Message

SOCKET_BUFFER_BYTES = 212992        # Linux's default for a receive buffer
DATAGRAM_OVERHEAD_BYTES = 768       # what the kernel charges beside the payload
ICMP_BURST = 6                      # Linux sends a peer this many errors at once, then one a second
NOTICES_KEPT = 200


class Decoder(Protocol):
    """The part of `wire.stream.StreamDecoder` that one end of a connection uses."""

    message: Message | None

    def feed(self, data: bytes) -> None: ...
    def advance(self) -> bool: ...
    def eof(self) -> None: ...


class Core(Protocol):
    """What the simulator asks of a node; `gossipd.node.Node` is one."""

    def start(self, now: float) -> list[Effect]: ...
    def receive_datagram(self, data: bytes, source: Address, now: float) -> list[Effect]: ...
    def port_refused(self, to: Address, now: float) -> list[Effect]: ...
    def stream_decoder(self, dialled: bool) -> Decoder: ...
    def receive_stream(self, message: Any, source: Address, now: float) -> tuple[bytes, list[Effect]]: ...
    def stream_failed(self, error: WireError, source: Address) -> tuple[bytes, list[Effect]]: ...
    def exchange_done(self, id: int, message: Any, failure: str, now: float) -> list[Effect]: ...
    def command(self, command: Command, now: float) -> list[Effect]: ...
    def advance(self, now: float) -> list[Effect]: ...
    def next_deadline(self) -> float: ...
    def members(self) -> list[MemberInfo]: ...
    def member(self, name: str) -> MemberInfo | None: ...
    def stats(self) -> dict[str, str]: ...

    @property
    def members_version(self) -> int: ...


MakeCore = Callable[[str, Address, Random, Callable[[int], bytes], dict[str, Any]], Core]
"""(name, address, chance, entropy, settings) -> a node that was not started yet"""

Input = tuple[Callable[..., None], Any, Any]
"""An action of the world and its two arguments, held back while the process cannot take it."""


class HostState(Enum):
    RUNNING = "running"
    STOPPED = "stopped"     # the process is gone: its port refuses
    SILENT = "silent"       # the machine is gone: nothing answers
    PAUSED = "paused"       # the process stands still, its kernel queues what arrives


@dataclass(slots=True)
class Trouble:
    """Something that was done to a host, so that checkers know who may be called dead."""

    kind: str
    start: float
    end: float = inf


@dataclass(slots=True)
class Exchange:
    """One TCP connection, seen from its dialler."""

    id: int
    boot: int               # the dialler's
    to: Address
    request: bytes
    over: bool = False


@dataclass(slots=True)
class Host:
    name: str
    index: int
    address: Address
    settings: dict[str, Any]
    core: Core
    boot: int = 0                               # how often it was started again
    state: HostState = HostState.RUNNING
    wake_at: float = inf                        # the earliest wake-up on the world's heap
    woken_at: float = -1.0
    woken_again: int = 0                        # at the same moment
    # a process that cannot keep up
    service_s: float = 0.0                      # time that each input, and each look at the timers, takes; 0: none
    busy: bool = False
    timers_next: bool = False                   # it had an input last: timers and inputs take turns
    queued_bytes: int = 0                       # datagrams in its socket buffer
    backlog: deque[Input] = field(default_factory=deque)
    # what it does
    exchanges: dict[int, Exchange] = field(default_factory=dict)
    replies: dict[int, Reply] = field(default_factory=dict)
    parts: dict[int, list[tuple[float, object]]] = field(default_factory=dict)     # (when, what) by command
    disk: list[tuple[float, bytes]] = field(default_factory=list)       # its snapshot: (when, lines)
    leaving: int = 0                            # id of the Leave command in progress
    # what it was seen to do
    events: list[tuple[float, str, str]] = field(default_factory=list)     # (when, kind, about whom)
    notices: deque[tuple[float, int, str]] = field(default_factory=lambda: deque(maxlen=NOTICES_KEPT))
    rejected: Counter[str] = field(default_factory=Counter)
    troubles: list[Trouble] = field(default_factory=list)
    icmp: dict[Address, tuple[float, float]] = field(default_factory=dict)
    started: float = 0.0
    sent_packets: int = 0
    sent_bytes: int = 0

    def room_for(self, data: bytes) -> bool:
        """Does its socket buffer take one more datagram? Counts it if so."""
        cost = len(data) + DATAGRAM_OVERHEAD_BYTES
        if self.queued_bytes + cost > SOCKET_BUFFER_BYTES:
            return False
        self.queued_bytes += cost
        return True

    def took(self, data: bytes) -> None:
        self.queued_bytes -= len(data) + DATAGRAM_OVERHEAD_BYTES

    def may_send_icmp(self, to: Address, now: float) -> bool:
        """Linux's rate limit of ICMP errors for each peer: a burst, then one a second."""
        tokens, since = self.icmp.get(to, (float(ICMP_BURST), now))
        tokens = min(float(ICMP_BURST), tokens + now - since)
        self.icmp[to] = (tokens - 1 if tokens >= 1 else tokens, now)
        return tokens >= 1

    def in_trouble(self, kind: str, now: float) -> None:
        self.troubles.append(Trouble(kind, now))

    def out_of_trouble(self, now: float) -> None:
        for trouble in self.troubles:
            trouble.end = min(trouble.end, now)
