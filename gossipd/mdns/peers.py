"""The members that were heard of, and when to join which. Unlike Serf this tries a host again that did not answer,
and one that is heard of once more after the cluster lost it (spec agent, T14)."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Protocol

from gossipd.addresses import Address

GATHER_S = 0.1                      # those heard of so shortly one after the other are joined together
JOIN_PAUSE_S = 1.0                  # between joins
JOIN_HOSTS_MAX = 3                  # hosts of one join: one that answers tells of all the others
RETRY_PAUSE_S = (2.0, 60.0)         # after a join that did not help, doubling
DOUBLINGS_MAX = 20                  # beyond 1024 no float holds the number
NEWCOMER_DELAY_S = (1.0, 30.0)      # a newcomer joins us by itself; if not, one of us should try, not all at once
NEWCOMER_DELAY_EACH_S = 0.1         # of the others: over so long the tries of all are spread, up to the limit above
PEERS_MAX = 2048
FULL_PAUSE_S = 1.0                  # between looks for room where there was none
PEER_INTERFACES_MAX = 8
TTL_MAX_S = 4500


@dataclass(slots=True, eq=False)
class Peer:
    """A member of our cluster according to what was heard."""

    name: str
    address: Address
    source: str                                 # who said so last
    heard: float                                # when: seconds, monotonic
    expires: float
    interfaces: dict[str, float] = field(default_factory=dict)      # where, when last
    failures: int = 0                           # joins in a row that did not make it a member
    next_try: float = inf                       # inf: nothing to do


class Cluster(Protocol):
    """What is known of the cluster by gossip."""

    def others(self) -> int:
        """How many members are alive, besides us."""

    def complete(self) -> bool:
        """There are others, and none of them failed."""

    def settled(self, address: Address, heard: float) -> bool:
        """Joining this address is of no use: its node is a member, or left after it was last heard of."""


class Peers:
    def __init__(self, own: Address, cluster: Cluster, rng: Random) -> None:
        self._own, self._cluster, self._rng = own, cluster, rng
        self._peers: dict[Address, Peer] = {}
        self._joining: list[Peer] = []
        self._not_before = -inf                 # the next join
        self._first_try = inf                   # of all peers, or earlier
        self._full_until = -inf                 # there is no room for more

    def found(self, name: str, address: Address, ttl: int, source: str, interface: str, now: float) -> bool:
        """It says that it is there. False if there is no room for it."""
        if address == self._own:
            return True
        peer = self._peers.get(address)
        if peer is None:
            if len(self._peers) >= PEERS_MAX and not self._make_room(now):
                return False
            peer = self._peers[address] = Peer(name, address, source, now, now)
        peer.name, peer.source, peer.heard, peer.expires = name, source, now, now + min(ttl, TTL_MAX_S)
        if interface in peer.interfaces or len(peer.interfaces) < PEER_INTERFACES_MAX:
            peer.interfaces[interface] = now
        if peer.next_try == inf and peer not in self._joining and not self._cluster.settled(address, now):
            self._try_at(peer, now + self._first_delay())
        return True

    def forget(self, name: str) -> None:
        """It says goodbye."""
        self._drop([peer for peer in self._peers.values() if peer.name == name])

    def listed(self, now: float) -> list[Peer]:
        """Whom we still believe to be there, by name."""
        self._drop([peer for peer in self._peers.values() if peer.expires <= now])
        return sorted(self._peers.values(), key=lambda peer: (peer.name, peer.address))

    def status(self, peer: Peer) -> str:
        """"member", "joining", "waiting" for its first join, or "failed"."""
        if self._cluster.settled(peer.address, peer.heard):
            return "member"
        return "joining" if peer in self._joining else "failed" if peer.failures else "waiting"

    # --- joins, one at a time ----------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        return inf if self._joining else max(self._not_before, self._first_try)

    def take_due(self, now: float) -> list[Address]:
        """Whom to join now, perhaps nobody; until `join_done` nobody else."""
        due = [peer for peer in self.listed(now) if peer.next_try <= now + GATHER_S]
        unsettled = [peer for peer in due if not self._cluster.settled(peer.address, peer.heard)]
        self._joining = self._rng.sample(unsettled, min(JOIN_HOSTS_MAX, len(unsettled)))
        for peer in due:
            peer.next_try = now if peer in unsettled and peer not in self._joining else inf
            peer.failures = peer.failures if peer in unsettled else 0
        self._first_try = min((peer.next_try for peer in self._peers.values()), default=inf)
        return [peer.address for peer in self._joining]

    def join_done(self, now: float) -> None:
        """Well or not: whether it helped is seen by the members when the next try is due."""
        tried, self._joining = self._joining, []
        self._full_until = -inf
        shortest, longest = RETRY_PAUSE_S
        for peer in tried:
            pause_s = min(longest, shortest * 2 ** min(peer.failures, DOUBLINGS_MAX))
            self._try_at(peer, now + pause_s * self._rng.uniform(0.8, 1.2))
            peer.failures += 1
        self._not_before = now + JOIN_PAUSE_S

    def _try_at(self, peer: Peer, at: float) -> None:
        peer.next_try = at
        self._first_try = min(self._first_try, at)

    def _first_delay(self) -> float:
        others = self._cluster.others()
        if not others:
            return GATHER_S
        shortest, longest = NEWCOMER_DELAY_S
        return shortest + self._rng.random() * min(longest, NEWCOMER_DELAY_EACH_S * others)

    def _make_room(self, now: float) -> bool:
        """Forget those that could not be joined: half of them, those that were not heard of for longest."""
        if now < self._full_until:
            return False
        failed = sorted((peer for peer in self.listed(now) if peer.failures), key=lambda peer: peer.heard)
        self._drop(failed[:(len(failed) + 1) // 2])
        if len(self._peers) >= PEERS_MAX:
            self._full_until = now + FULL_PAUSE_S
        return len(self._peers) < PEERS_MAX

    def _drop(self, peers: list[Peer]) -> None:
        for peer in peers:
            del self._peers[peer.address]
