"""Node: the whole protocol of one cluster member. It computes and never acts (docs/architecture.md).

Inputs come with the time and run to the end; what should happen in the world comes back as effects, in order.
Two programs drive it: the daemon, with sockets and real time, and the simulator, with a heap of events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from gossipd.addresses import Address
from gossipd.commands import Command
from gossipd.effects import Effect, Rejected
from gossipd.errors import WireError
from gossipd.events import MemberInfo, QueryEvent
from gossipd.serf.actions import SaveTags
from gossipd.serf.config import SerfConfig
from gossipd.serf.coordinates import Coordinate
from gossipd.serf.keeping import stays_in_memory
from gossipd.serf.keys import SaveKeys
from gossipd.serf.serf import Serf
from gossipd.serf.snapshot import Restored
from gossipd.swim.config import SwimConfig
from gossipd.swim.gossiper import Gossiper
from gossipd.swim.membership import Membership
from gossipd.swim.prober import Prober
from gossipd.wire import messages as m
from gossipd.wire.codec import decode, decode_alive, encode
from gossipd.wire.packet import Envelope
from gossipd.wire.secure import Keyring
from gossipd.wire.stream import StreamDecoder, seal_stream

UNEXPECTED = "unexpected message"
_Handler = Callable[[bytes, Address, float, list[Effect]], None]


@dataclass(frozen=True, slots=True)
class NodeConfig:
    swim: SwimConfig
    serf: SerfConfig


class Node:
    """`rng` gives every random choice, `entropy` the nonces of encryption."""

    def __init__(self, config: NodeConfig, rng: Random, entropy: Callable[[int], bytes],
                 save_keys: SaveKeys = stays_in_memory, restored: Restored | None = None,
                 save_tags: SaveTags = stays_in_memory) -> None:
        """`save_keys` keeps a changed keyring, `save_tags` changed tags; `restored` is what a snapshot tells: None
        for a node without one."""
        swim = config.swim
        self.config = config
        self.keyring = Keyring(list(swim.keys)) if swim.keys else None
        self._envelope = Envelope(self.keyring, swim.label.encode(), swim.compress, entropy,
                                  verify_incoming=swim.verify_incoming, verify_outgoing=swim.verify_outgoing)
        self._membership = Membership(swim, self._envelope, rng)
        self._swim = self._membership.swim
        self.prober: Prober = self._membership.prober
        self.gossiper: Gossiper = self._membership.gossiper
        self.serf = Serf(config.serf, self._membership, rng, self.keyring, save_keys, restored, save_tags)

    @property
    def name(self) -> str:
        return self.config.swim.name

    def start(self, now: float) -> list[Effect]:
        out: list[Effect] = []
        self._membership.start(self.serf, now, out)
        self.serf.start(now, out)
        return out

    # packets

    def receive_datagram(self, data: bytes, source: Address, now: float) -> list[Effect]:
        """Never raises on what a peer sent: it is counted and reported."""
        out: list[Effect] = []
        try:
            parts, unusable = self._envelope.open(data)
        except WireError as error:
            out.append(_rejected(error, source))
            return out
        for part_error in unusable:
            out.append(_rejected(part_error, source))
        others = []
        for part in parts:
            if part[0] != m.ALIVE:
                others.append(part)
                continue
            try:        # who lives comes before what is said about them (spec memberlist §17.1)
                self._swim.on_alive(decode_alive(part[1:]), source, now, out)
            except WireError as error:
                out.append(_rejected(error, source))
        for part in others:
            try:
                self._receive(part, source, now, out)
            except WireError as error:
                out.append(_rejected(error, source))
        return out

    def _receive(self, part: bytes, source: Address, now: float, out: list[Effect]) -> None:
        if part[0] == m.USER:
            self.serf.on_user_message(part[1:], source, now, out)
            return
        message = decode(part)
        match message:
            case m.Ping():
                self.prober.on_ping(message, source, now, out)
            case m.Ack():
                self.prober.on_ack(message, source, now, out)
            case m.Suspect():
                self._swim.on_suspect(message, source, now, out)
            case m.Dead():
                self._swim.on_dead(message, source, now, out)
            case m.IndirectPing():
                self.prober.on_indirect_ping(message, source, now, out)
            case m.Nack():
                self.prober.on_nack(message, source, now, out)
            case _:
                raise WireError(UNEXPECTED, type(message).__name__)

    def port_refused(self, to: Address, now: float) -> list[Effect]:
        """The host at `to` says that nobody listens on the port that a packet of ours went to."""
        out: list[Effect] = []
        self.prober.on_refused(to, now, out)
        return out

    # streams

    def stream_decoder(self, dialled: bool) -> StreamDecoder:
        return StreamDecoder(self._envelope, dialled=dialled)

    def receive_stream(self, message: m.Message, source: Address, now: float) -> tuple[bytes, list[Effect]]:
        """A peer that dialled us sent this. Returns what to write back, b"" for nothing; then close."""
        out: list[Effect] = []
        reply = b""
        try:
            match message:
                case m.Ping() if message.node in ("", self.name):
                    reply = encode(m.Ack(message.seq))
                case m.PushPull():
                    reply = self._membership.sync.respond(message, source, now, out)
                case m.User():
                    if message.payload:
                        self.serf.on_user_message(message.payload, source, now, out)
                case _:
                    raise WireError(UNEXPECTED, f"{type(message).__name__} on a stream")
        except WireError as error:
            out.append(_rejected(error, source))
        periodic = isinstance(message, m.PushPull) and not message.join
        return (self._seal_reply(reply, compress=periodic) if reply else b""), out

    def stream_failed(self, error: WireError, source: Address) -> tuple[bytes, list[Effect]]:
        """A peer's request could not be read or unwrapped. Returns the err reply to write back."""
        out: list[Effect] = []
        out.append(_rejected(error, source))
        return self._seal_reply(encode(m.Err(str(error)))), out

    def exchange_done(self, id: int, message: m.Message | None, failure: str, now: float) -> list[Effect]:
        """The answer to an `OpenExchange`, or None and what failed: "refused", "timeout", "closed" or a sentence."""
        out: list[Effect] = []
        self._membership.exchanges.finished(id, message, failure, now, out)
        return out

    def _seal_reply(self, reply: bytes, compress: bool = False) -> bytes:
        return seal_stream(self._envelope, reply, dialled=False, compress=compress)

    # commands and time

    def command(self, command: Command, now: float) -> list[Effect]:
        """Raises CommandError before changing anything. Otherwise one `Reply` comes, now or later."""
        out: list[Effect] = []
        self.serf.command(command, now, out)
        return out

    def next_deadline(self) -> float:
        """When `advance` has work: seconds, monotonic; inf when idle."""
        return min(self.prober.next_deadline(), self.gossiper.next_deadline(), self.serf.next_deadline())

    def advance(self, now: float) -> list[Effect]:
        """Do what is due, in all machines. The daemon drives each by itself instead."""
        out: list[Effect] = []
        for machine in (self.prober, self.gossiper, self.serf):
            if machine.next_deadline() <= now:
                machine.advance(now, out)
        return out

    # what is known

    def members(self) -> list[MemberInfo]:
        return self.serf.member_infos()

    def member(self, name: str) -> MemberInfo | None:
        return self.serf.member_info(name)

    @property
    def members_version(self) -> int:
        """Goes up whenever `members` would answer differently."""
        return self._swim.version + self.serf.version

    @property
    def name_conflict(self) -> str:
        """Why the cluster gave our name to another node, "" if it did not."""
        return self.serf.conflict.lost

    def coordinate(self, name: str) -> Coordinate | None:
        """Where a node lies, this one too. None: nobody knows, or it was never measured."""
        coordinates = self.serf.coordinates
        return None if coordinates is None else coordinates.get(name)

    def answered_by(self, may_answer: Callable[[QueryEvent], bool]) -> None:
        """Asked before a query is acked: is there anybody at this node who might answer it?"""
        self.serf.answers.may_answer = may_answer

    def flush(self) -> list[Effect]:
        """Before the node ends, however it ends: the events that are held back."""
        out: list[Effect] = []
        self.serf.flush(out)
        return out

    @property
    def left(self) -> bool:
        """A graceful leave is complete."""
        return self.serf.left

    def stats(self) -> dict[str, str]:
        """Spec serf §17: numbers as text."""
        return {**self.serf.stats(), "health_score": str(self._swim.awareness.score),
                "encrypted": "true" if self.keyring is not None and self.keyring.keys else "false"}


def _rejected(error: WireError, source: Address) -> Rejected:
    return Rejected(error.reason, source, error.detail)
