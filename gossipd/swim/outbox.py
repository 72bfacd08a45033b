"""Packs a message and queued updates into one packet, seals it and appends the effect (spec memberlist §5.1, §5.3)."""

from __future__ import annotations

import math

from gossipd.addresses import Address
from gossipd.effects import Effect, SendDatagram
from gossipd.swim.broadcasts import BroadcastQueue
from gossipd.swim.config import SwimConfig
from gossipd.swim.members import Member, MemberTable
from gossipd.wire.packet import Envelope, compound
from gossipd.wire.stream import seal_stream

COMPOUND_BYTES = 2          # type and count
PART_BYTES = 2              # each part's length
PARTS_MAX = 127             # more are misread by memberlist before 0.2.4
CRC_PROTOCOL = 5            # peers that speak this much get a checksum


class Outbox:
    """`queues` in the order in which they are drained: memberlist's own first, then the upper layer's."""

    def __init__(self, config: SwimConfig, envelope: Envelope, table: MemberTable,
                 queues: list[BroadcastQueue]) -> None:
        self._config, self._envelope, self._table = config, envelope, table
        self.queues = queues

    @property
    def packet_room(self) -> int:
        """Bytes for parts, each with its PART_BYTES, in a compound of updates only."""
        return self._config.packet_bytes - COMPOUND_BYTES - self._envelope.overhead

    def send(self, message: bytes, to: Address, now: float, out: list[Effect]) -> None:
        """`message` first, then as many queued updates as fit."""
        room = self.packet_room - len(message)
        self._seal([message, *self._updates(room, PARTS_MAX - 1, to, now)], to, self._named_like_its_ip(to), out)

    def send_alone(self, parts: list[bytes], to: Address, member: Member | None, out: list[Effect]) -> None:
        """Exactly these parts, to a member whose record is at hand, or to a bare address."""
        known = member if member is not None else self._named_like_its_ip(to)
        self._seal(parts, to, known, out)

    def send_updates(self, member: Member, now: float, out: list[Effect]) -> bool:
        """One packet of queued updates. False if none waits for one."""
        if all(queue.waiting_since == math.inf for queue in self.queues):
            return False
        parts = self._updates(self.packet_room, PARTS_MAX, member.address, now)
        if parts:
            self._seal(parts, member.address, member, out)
        return bool(parts)

    def send_many(self, parts: list[bytes], member: Member, out: list[Effect]) -> None:
        """These parts in as few packets as hold them, in order."""
        room = 0
        packet: list[bytes] = []
        for part in parts:
            cost = PART_BYTES + len(part)
            if packet and (cost > room or len(packet) == PARTS_MAX):
                self._seal(packet, member.address, member, out)
                packet = []
            if not packet:
                room = self.packet_room
            packet.append(part)
            room -= cost
        if packet:
            self._seal(packet, member.address, member, out)

    def stream_bytes(self, message: bytes, compress: bool = False) -> bytes:
        """What to write on a connection that we dialled."""
        return seal_stream(self._envelope, message, dialled=True, compress=compress)

    def _updates(self, room: int, count: int, to: Address, now: float) -> list[bytes]:
        parts: list[bytes] = []
        for queue in self.queues:
            chosen = queue.select(PART_BYTES, room, now, count - len(parts), to)
            if chosen:
                parts += chosen
                room -= sum(map(len, chosen)) + PART_BYTES * len(chosen)
        return parts

    def _named_like_its_ip(self, to: Address) -> Member | None:
        # The reference looks the record up by IP text in a table keyed by name (§5.1): visible on the wire.
        return self._table.get(to[0])

    def _seal(self, parts: list[bytes], to: Address, known: Member | None, out: list[Effect]) -> None:
        message = parts[0] if len(parts) == 1 else compound(parts)
        crc = known is not None and known.protocol_max >= CRC_PROTOCOL
        out.append(SendDatagram(self._envelope.seal(message, crc), to))
