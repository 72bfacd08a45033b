"""The network between simulated hosts: the fate of a datagram, how long a stream takes, who is cut off from whom."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

SEGMENT_BYTES = 1460
FIRST_WINDOW_BYTES = 10 * SEGMENT_BYTES
SYN_RETRY_S = 1.0           # Linux: the first retransmission of a SYN, doubling
DATA_RETRY_S = 0.2          # Linux: the least retransmission timeout, doubling
BYTES_PER_S = 125e6
FLIPPED_BITS_MAX = 8


@dataclass(slots=True)
class Quality:
    """Chances are per datagram, 0 to 1. Delays are one way, in seconds, uniform between the two."""

    delay_min_s: float = 0.0002
    delay_max_s: float = 0.0010
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0            # delayed by up to `reorder_s` more, so that later ones overtake
    reorder_s: float = 0.05
    corrupt: float = 0.0            # bits flipped, cut short, or lengthened


class Network:
    """Draws the fate of everything that travels. Cuts and firewalls are by host name."""

    def __init__(self, quality: Quality, rng: Random) -> None:
        self.quality = quality
        self._rng = rng
        self._groups: dict[str, int] = {}
        self._cut_links: set[tuple[str, str]] = set()
        self._rejects: set[tuple[str, str]] = set()
        self.restricted = False     # any cut or firewall: asked for every datagram, so it is kept as a flag

    # who may talk to whom

    def split(self, groups: list[list[str]]) -> None:
        """Hosts of different groups hear nothing of each other. Hosts in no group form one of their own."""
        self._groups = {name: number for number, group in enumerate(groups, 1) for name in group}
        self._note()

    def heal(self) -> None:
        """Take back every split, cut and firewall."""
        self._groups = {}
        self._cut_links.clear()
        self._rejects.clear()
        self._note()

    def cut(self, source: str, target: str) -> None:
        """Nothing from `source` reaches `target`; the other direction is untouched."""
        self._cut_links.add((source, target))
        self._note()

    def reject(self, source: str, target: str) -> None:
        """A firewall answers what `source` sends to `target` with port unreachable. Replies on streams pass."""
        self._rejects.add((source, target))
        self._note()

    def separated(self, one: str, other: str) -> bool:
        return self._groups.get(one, 0) != self._groups.get(other, 0)

    def is_cut(self, source: str, target: str) -> bool:
        return (source, target) in self._cut_links or self.separated(source, target)

    def is_rejected(self, source: str, target: str) -> bool:
        return (source, target) in self._rejects

    def _note(self) -> None:
        self.restricted = bool(self._groups or self._cut_links or self._rejects)

    # what happens on the way

    def delay_s(self) -> float:
        quality = self.quality
        return quality.delay_min_s + (quality.delay_max_s - quality.delay_min_s) * self._rng.random()

    def copies(self, data: bytes) -> list[tuple[float, bytes]]:
        """What arrives of a datagram: (delay in seconds, bytes) for each copy; none if it is lost."""
        quality, rng = self.quality, self._rng
        arrivals: list[tuple[float, bytes]] = []
        if not (quality.loss and rng.random() < quality.loss):
            arrivals.append(self._arrival(data))
            if quality.duplicate and rng.random() < quality.duplicate:
                arrivals.append(self._arrival(data))
        return arrivals

    def _arrival(self, data: bytes) -> tuple[float, bytes]:
        quality, rng = self.quality, self._rng
        delay = self.delay_s()
        if quality.reorder and rng.random() < quality.reorder:
            delay += quality.reorder_s * rng.random()
        if quality.corrupt and rng.random() < quality.corrupt:
            data = self._corrupted(data)
        return delay, data

    def _corrupted(self, data: bytes) -> bytes:
        rng = self._rng
        kind = rng.random()
        if kind < 0.2:
            return data[:rng.randrange(len(data) + 1)]
        if kind < 0.3:
            return data + rng.randbytes(rng.randrange(1, 40))
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, FLIPPED_BITS_MAX + 1)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        return bytes(damaged)

    def connect_s(self) -> float:
        """How long a TCP handshake takes; a refusal takes as long."""
        return self._retries_s(SYN_RETRY_S, 2) + 2 * self.delay_s()

    def transfer_s(self, size: int) -> float:
        """How long `size` bytes take on an open connection: slow start, bandwidth, retransmissions."""
        round_trips = math.log2(1 + size / FIRST_WINDOW_BYTES)
        rounds = 1 + int(round_trips)
        return self.delay_s() * (1 + 2 * int(round_trips)) + size / BYTES_PER_S + self._retries_s(DATA_RETRY_S, rounds)

    def _retries_s(self, first_s: float, packets: int) -> float:
        if not self.quality.loss:
            return 0.0
        waited = 0.0
        for _ in range(packets):
            wait = first_s
            while self._rng.random() < self.quality.loss and waited < 60.0:
                waited += wait
                wait *= 2
        return waited
