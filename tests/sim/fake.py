"""A node that is simple enough to foresee: it tests the world, so that the world can test the real one."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from gossipd.addresses import Address
from gossipd.commands import Command, Join, Leave
from gossipd.effects import Effect, Emit, OpenExchange, Reply, SendDatagram
from gossipd.errors import WireError
from gossipd.events import MEMBER_JOIN, MemberEvent, MemberInfo
from tests.sim.host import Decoder


class FakeDecoder:
    """A stream is complete after its first newline; "bad\\n" is garbage."""

    def __init__(self) -> None:
        self.message: Any = None
        self._data = b""

    def feed(self, data: bytes) -> None:
        self._data += data

    def advance(self) -> bool:
        if self._data.startswith(b"bad"):
            raise WireError("bad stream")
        if self._data.endswith(b"\n"):
            self.message = self._data
        return False

    def eof(self) -> None:
        raise WireError("cut short")


class FakeNode:
    """Sends a numbered beacon to the next peer every `interval_s`, echoes what it gets, and keeps a diary."""

    def __init__(self, name: str, rng: Random, entropy: Callable[[int], bytes], peers: list[Address],
                 interval_s: float) -> None:
        self.name = name
        self.heard: list[tuple[float, bytes]] = []
        self.refusals: list[tuple[float, Address]] = []
        self.outcomes: list[tuple[float, str]] = []
        self._rng, self._entropy, self._peers, self._interval_s = rng, entropy, peers, interval_s
        self._next = 0.0
        self._sent = 0

    def start(self, now: float) -> list[Effect]:
        self._next = now + self._interval_s * self._rng.random()
        return [Emit(MemberEvent(MEMBER_JOIN, [MemberInfo(self.name, b"", 0, {}, "alive", b"")]))]

    def receive_datagram(self, data: bytes, source: Address, now: float) -> list[Effect]:
        self.heard.append((now, data))
        return [SendDatagram(b"echo " + data, source)] if data.startswith(b"beacon") else []

    def port_refused(self, to: Address, now: float) -> list[Effect]:
        self.refusals.append((now, to))
        return []

    def stream_decoder(self, dialled: bool) -> Decoder:
        return FakeDecoder()

    def receive_stream(self, message: Any, source: Address, now: float) -> tuple[bytes, list[Effect]]:
        self.heard.append((now, message))
        return (b"" if message == b"hush\n" else b"reply to " + message), []

    def stream_failed(self, error: WireError, source: Address) -> tuple[bytes, list[Effect]]:
        return b"bad reply", []

    def exchange_done(self, id: int, message: Any, failure: str, now: float) -> list[Effect]:
        self.outcomes.append((now, failure or message.decode()))
        return [Reply(id, message, failure)]

    def command(self, command: Command, now: float) -> list[Effect]:
        match command:
            case Join(id, addresses):
                return [OpenExchange(id, addresses[0], b"hello\n", now + 10.0, "sync")]
            case Leave(id):
                return [Reply(id)]
        raise AssertionError(command)

    def advance(self, now: float) -> list[Effect]:
        if now < self._next:
            return []
        self._next += self._interval_s
        if self._next <= now:
            self._next = now + self._interval_s
        if not self._peers:
            return []
        self._sent += 1
        to = self._peers[self._sent % len(self._peers)]
        return [SendDatagram(b"beacon %d %s" % (self._sent, self._entropy(4).hex().encode()), to)]

    def next_deadline(self) -> float:
        return self._next

    def members(self) -> list[MemberInfo]:
        return [MemberInfo(self.name, b"", 0, {}, "alive", b"")]

    def member(self, name: str) -> MemberInfo | None:
        return next((member for member in self.members() if member.name == name), None)

    def stats(self) -> dict[str, str]:
        return dict.fromkeys(("member_time", "event_time", "query_time"), str(self._sent))

    @property
    def members_version(self) -> int:
        return 0


def fake_core(name: str, address: Address, rng: Random, entropy: Callable[[int], bytes],
              settings: dict[str, Any]) -> FakeNode:
    return FakeNode(name, rng, entropy, settings.get("peers", []), settings.get("interval_s", 1.0))
