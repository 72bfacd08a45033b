"""Hand-made pieces of the membership layer for tests."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from gossipd.addresses import Address
from gossipd.effects import Effect, OpenExchange, SendDatagram
from gossipd.swim.broadcasts import BroadcastQueue, retransmit_limit
from gossipd.swim.config import VERSIONS, SwimConfig
from gossipd.swim.members import Member
from gossipd.swim.membership import Membership
from gossipd.wire.codec import decode
from gossipd.wire.messages import USER, Alive, Message, User
from gossipd.wire.packet import Envelope

STRANGER: Address = ("10.9.9.9", 7946)


class RecordingUpper:
    """A layer above that remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.meta = b""
        self.user_messages: list[bytes] = []
        self.states: list[tuple[bytes, bool]] = []
        self.pings: list[tuple[str, float, bytes]] = []
        self.own_queues: list[BroadcastQueue] = []

    def node_meta(self) -> bytes:
        return self.meta

    def on_user_message(self, payload: bytes, source: Address, now: float, out: list[Effect]) -> None:
        self.user_messages.append(payload)

    def local_state(self, join: bool) -> bytes:
        return b"state"

    def merge_remote_state(self, state: bytes, join: bool, now: float, out: list[Effect]) -> None:
        self.states.append((state, join))

    def on_join(self, member: Member, now: float, out: list[Effect]) -> None:
        self.events.append(f"join {member.name}")

    def on_leave(self, member: Member, now: float, out: list[Effect]) -> None:
        self.events.append(f"leave {member.name}")

    def on_update(self, member: Member, now: float, out: list[Effect]) -> None:
        self.events.append(f"update {member.name}")

    def on_conflict(self, existing: Member, other: Alive, now: float, out: list[Effect]) -> None:
        self.events.append(f"conflict {existing.name}")

    def ack_payload(self) -> bytes:
        return b"payload"

    def on_ping_complete(self, member: Member, rtt_s: float, payload: bytes, now: float, out: list[Effect]) -> None:
        self.pings.append((member.name, rtt_s, payload))

    def queues(self) -> list[BroadcastQueue]:
        return self.own_queues


class Bench:
    """One membership layer with a recording layer above; `out` collects its effects."""

    def __init__(self, seed: int = 1, now: float = 0.0, **settings: object) -> None:
        defaults: dict[str, object] = {"name": "me", "addr": bytes([127, 0, 47, 1])}
        self.config = SwimConfig(**{**defaults, **settings})    # type: ignore[arg-type]
        self.upper = RecordingUpper()
        self.envelope = Envelope(None, self.config.label.encode(), self.config.compress, lambda n: bytes(n))
        self.membership = Membership(self.config, self.envelope, Random(seed))
        self.swim = self.membership.swim
        self.prober = self.membership.prober
        self.gossiper = self.membership.gossiper
        self.out: list[Effect] = []
        self.users = self.membership.new_queue(lambda: retransmit_limit(4, len(self.swim.members)))
        self.upper.own_queues.append(self.users)
        self.membership.start(self.upper, now, self.out)

    def add(self, *names: str, now: float = 0.0) -> list[Member]:
        """Members that are alive, with nothing about them queued any more."""
        for name in names:
            self.swim.on_alive(alive(name), None, now, self.out)
        self.forget_news()
        return [self.member(name) for name in names]

    def member(self, name: str) -> Member:
        member = self.swim.members.get(name)
        assert member is not None
        return member

    def forget_news(self) -> None:
        self.swim.queue.prune(0, 0.0)
        self.out.clear()

    def run(self, until: float, step: float = 0.001) -> None:
        """Advance prober and gossiper to `until` at the moments they ask for."""
        machines = (self.prober, self.gossiper)
        for _ in range(1_000_000):
            now = max(0.0, min(m.next_deadline() for m in machines))
            if now > until:
                return
            for machine in machines:
                if machine.next_deadline() <= now:
                    machine.advance(now, self.out)
        raise AssertionError("the machines never rest")

    def sent(self, kind: type[Message], to: Address | None = None) -> list[Message]:
        """Messages of this kind in all packets so far."""
        return [m for _, m in self.packets(to) if isinstance(m, kind)]

    def packets(self, to: Address | None = None) -> list[tuple[Address, Message]]:
        found = []
        for effect in self.out:
            if isinstance(effect, SendDatagram) and (to is None or effect.to == to):
                found += [(effect.to, message_of(part)) for part in self.envelope.open(effect.data)[0]]
        return found

    def exchanges(self, purpose: str) -> list[OpenExchange]:
        return [e for e in self.out if isinstance(e, OpenExchange) and e.purpose == purpose]


def message_of(part: bytes) -> Message:
    return User(part[1:]) if part[0] == USER else decode(part)


def address_number(name: str) -> bytes:
    """An address of its own for each short name."""
    number = sum(ord(c) * 131**i for i, c in enumerate(name)) % 65536
    return bytes([10, 0, number >> 8, number & 255])


def alive(name: str, incarnation: int = 1, meta: bytes = b"", addr: bytes | None = None, port: int = 7946,
          vsn: bytes = VERSIONS) -> Alive:
    return Alive(incarnation, name, addr if addr is not None else address_number(name), port, meta, vsn)


def names(members: Iterable[Member]) -> list[str]:
    return sorted(m.name for m in members)
