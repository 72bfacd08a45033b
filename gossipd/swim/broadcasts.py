"""The transmit-limited queue (spec memberlist §14.1-14.3): updates on their way, each sent a limited number of times.

An entry is in one of three places. Fresh news waits in `_early`, by the time its next copies leave (see gossiper.py).
The rest lies in tiers by how often it was sent, where packets with room and gossip ticks draw from. Or it rides, which
memberlist does not know: who is heard sending what we send too needs no copy of it, and what is heard from many is
nearly everywhere; then no packet leaves for the last copies' sake, they fill room in pings, acks and gossip.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from functools import lru_cache
from heapq import heappop, heappush

from gossipd.addresses import Address

EARLY_BYTES_MAX = 1300
"""A longer message has no early copies: it may not fit a packet, and then never leaves (spec memberlist §5.3)."""

HEARD_SHARE, LAST_SHARE = 2, 3
"""The last 1/3 of the copies rides when as many others as 1/2 of the transmit limit were heard sending them. In a
cluster of 20 that spares each node 1.5 packets of 8, fewer where packets are lost."""
RIDES_MORE = 2
"""What rides is sent so much more often than the limit says, as it costs no packet."""
RIDER_BYTES_MAX = 1000
"""A longer message does not ride: it may find no room beside a ping."""
RIDERS_MAX = 64
"""Messages that ride at a time; further ones have packets of their own, as pings could not carry them off."""

CROWD = 256                 # messages: a second of ticks, full packets to three peers each

Done = Callable[[float], None]
"""Called once with the time when an entry is finished, or rides: sent often enough, replaced or dropped."""


@lru_cache(maxsize=64)
def retransmit_limit(mult: int, n: int) -> int:
    """How often each update is sent in a cluster of `n` (§14.2)."""
    return mult * math.ceil(math.log10(n + 1))


class Broadcast:
    __slots__ = ("message", "name", "number", "transmits", "reached", "heard", "stage", "finished", "on_done")

    def __init__(self, message: bytes, name: str | None, number: int, reached: Iterable[Address],
                 on_done: Done | None) -> None:
        self.message = message
        self.name = name                    # a later broadcast of the same name replaces this one; None: never
        self.number = number                # rising
        self.transmits = 0
        self.reached = list(reached)        # who needs no early copy: who sent it to us, who got one
        self.heard = 0                      # how many were heard sending it, after the first
        self.stage = 0                      # next of the early delays
        self.finished = False
        self.on_done = on_done


class BroadcastQueue:
    """One queue. `limit` is asked at every selection: it follows the size of the cluster.

    `riding`: packets leave all the time that last copies may ride on.
    """

    def __init__(self, limit: Callable[[], int], early_delays_s: tuple[float, ...] = (), riding: bool = False) -> None:
        self._limit = limit
        self._delays = early_delays_s
        self._riding = riding
        self._named: dict[str, Broadcast] = {}
        self._tiers: dict[int, list[tuple[int, int, Broadcast]]] = {}   # transmits -> (-length, -number, entry) sorted
        self._early: list[tuple[float, int, Broadcast]] = []
        self._riders: list[Broadcast] = []
        self._nameless: dict[bytes, Broadcast] = {}                     # by message
        self._numbers = 0
        self._size = 0
        self.waiting_since = math.inf       # when the tiers last stopped being empty: seconds, monotonic

    def __len__(self) -> int:
        return self._size

    def add(self, message: bytes, now: float, name: str | None = None, *, reached: Iterable[Address] = (),
            on_done: Done | None = None, early: bool = True, delay_s: float = 0.0) -> None:
        """Queue `message`. A named one replaces what is queued under its name, which is thereby finished.

        Its early copies begin to leave after `delay_s`.
        """
        if name is not None and (old := self._named.pop(name, None)) is not None:
            self._out_of_tier(old)
            self._finish(old, now)
        self._numbers += 1
        entry = Broadcast(message, name, self._numbers, reached, on_done)
        self._size += 1
        if name is not None:
            self._named[name] = entry
        else:
            self._nameless[message] = entry
        if early and self._delays and len(message) <= EARLY_BYTES_MAX:
            heappush(self._early, (now + delay_s + self._delays[0], entry.number, entry))
        else:
            self._to_tier(entry, now)

    def heard(self, message: bytes, source: Address, now: float) -> None:
        """`source` sent us a nameless message that we had already."""
        entry = self._nameless.get(message) if self._riding else None
        if entry is not None and entry.heard < self._limit() and source not in entry.reached:
            entry.heard += 1
            entry.reached.append(source)
            if self._may_ride(entry) and self._out_of_tier(entry):
                self._ride(entry, now)

    # the early copies

    def early_deadline(self) -> float:
        """When the next early copies are due; inf if none wait."""
        early = self._early
        while early and early[0][2].finished:
            heappop(early)
        return early[0][0] if early else math.inf

    def take_early(self, now: float, overhead: int, budget: int) -> list[Broadcast]:
        """Entries whose next early copies are due, oldest first, until `budget` bytes. Give each to `sent_early`."""
        due: list[Broadcast] = []
        while budget > 0 and self.early_deadline() <= now:
            entry = heappop(self._early)[2]
            if self._may_ride(entry):
                self._ride(entry, now)
            else:
                budget -= overhead + len(entry.message)
                due.append(entry)
        return due

    def sent_early(self, entry: Broadcast, now: float, sent_to: list[Address], enough: bool = False) -> None:
        """Account for the copies just sent; plan the next or hand the entry to the tiers, unless they were `enough`."""
        if entry.finished:
            return
        entry.transmits += len(sent_to)
        entry.reached += sent_to
        if enough or entry.transmits >= self._limit():
            self._drop(entry, now)
            return
        stage = entry.stage = entry.stage + 1
        if stage < len(self._delays):
            heappush(self._early, (now + self._delays[stage] - self._delays[stage - 1], entry.number, entry))
        else:
            self._queue_again(entry, now)

    @property
    def crowded(self) -> bool:
        """More is here than ticks can carry off before it is old."""
        return self._size > CROWD

    def copies_left(self, entry: Broadcast) -> int:
        return max(0, self._limit() - entry.transmits)

    # the tiers

    def select(self, overhead: int, budget: int, now: float, count_max: float = math.inf,
               to: Address | None = None) -> list[bytes]:
        """Messages for one packet: fewest transmissions first, then longest, then newest (§14.3), then what rides.

        Each costs its length and `overhead`. They count as sent. `to`: who gets the packet.
        """
        riders = self._riders.copy()        # what begins to ride now, leaves with this packet for another reason
        messages = self._from_tiers(overhead, budget, now, count_max) if self._tiers else []
        if riders:
            budget -= sum(map(len, messages)) + overhead * len(messages)
            messages += self._from_riders(riders, overhead, budget, now, count_max - len(messages), to)
        return messages

    def _from_tiers(self, overhead: int, budget: int, now: float, count_max: float) -> list[bytes]:
        taken: list[Broadcast] = []
        limit, used = self._limit(), 0
        for transmits in sorted(self._tiers):
            tier = self._tiers[transmits]
            while (free := budget - used - overhead) > 0 and len(taken) < count_max:
                at = bisect_left(tier, (-free,))
                if at == len(tier):
                    break
                entry = tier.pop(at)[2]
                used += overhead + len(entry.message)
                taken.append(entry)
            if not tier:
                del self._tiers[transmits]
        for entry in taken:
            entry.transmits += 1
            if entry.transmits >= limit:
                self._drop(entry, now)
            else:
                self._queue_again(entry, now)
        if not self._tiers:
            self.waiting_since = math.inf
        return [entry.message for entry in taken]

    def prune(self, keep: int, now: float) -> int:
        """Drop the most transmitted, shortest, oldest until `keep` are left: first what rides, last early entries.

        Returns how many went.
        """
        dropped = 0
        while self._size > keep and self._riders:
            self._drop(self._riders.pop(0), now)
            dropped += 1
        while self._size > keep and self._tiers:
            most = max(self._tiers)
            entry = self._tiers[most].pop()[2]
            if not self._tiers[most]:
                del self._tiers[most]
            self._drop(entry, now)
            dropped += 1
        while self._size > keep and self._early:
            entry = heappop(self._early)[2]
            if not entry.finished:
                self._drop(entry, now)
                dropped += 1
        if not self._tiers:
            self.waiting_since = math.inf
        return dropped

    # what rides

    def _may_ride(self, entry: Broadcast) -> bool:
        limit = self._limit()
        return (0 < limit / HEARD_SHARE <= entry.heard and limit - entry.transmits <= limit / LAST_SHARE
                and len(entry.message) <= RIDER_BYTES_MAX and len(self._riders) < RIDERS_MAX)

    def _ride(self, entry: Broadcast, now: float) -> None:
        self._riders.append(entry)
        self._tell(entry, now)

    def _from_riders(self, riders: list[Broadcast], overhead: int, budget: int, now: float, count_max: float,
                     to: Address | None) -> list[bytes]:
        """Who has it already gets no copy, which counts as one: in the end everything gets off."""
        messages: list[bytes] = []
        limit = self._limit() + RIDES_MORE
        for entry in riders:
            cost = overhead + len(entry.message)
            if cost > budget or len(messages) >= count_max:
                continue
            entry.transmits += 1
            if to not in entry.reached:
                budget -= cost
                messages.append(entry.message)
                entry.reached += [] if to is None else [to]
            if entry.transmits >= limit:
                self._riders.remove(entry)
                self._drop(entry, now)
        return messages

    # places

    def _queue_again(self, entry: Broadcast, now: float) -> None:
        if self._may_ride(entry):
            self._ride(entry, now)
        else:
            self._to_tier(entry, now)

    def _to_tier(self, entry: Broadcast, now: float) -> None:
        if not self._tiers:
            self.waiting_since = now
        insort(self._tiers.setdefault(entry.transmits, []), (-len(entry.message), -entry.number, entry))

    def _drop(self, entry: Broadcast, now: float) -> None:
        """It was taken from its place, and goes to no other."""
        if entry.name is not None and self._named.get(entry.name) is entry:
            del self._named[entry.name]
        self._finish(entry, now)

    def _finish(self, entry: Broadcast, now: float) -> None:
        entry.finished = True
        self._size -= 1
        if self._nameless.get(entry.message) is entry:
            del self._nameless[entry.message]
        self._tell(entry, now)

    def _out_of_tier(self, entry: Broadcast) -> bool:
        """False if it is in none."""
        tier = self._tiers.get(entry.transmits, [])
        at = bisect_left(tier, (-len(entry.message), -entry.number))
        if at == len(tier) or tier[at][2] is not entry:
            return False
        del tier[at]
        if not tier:
            del self._tiers[entry.transmits]
            if not self._tiers:
                self.waiting_since = math.inf
        return True

    @staticmethod
    def _tell(entry: Broadcast, now: float) -> None:
        """It was sent often enough, replaced or dropped."""
        if entry.on_done is not None:
            done, entry.on_done = entry.on_done, None
            done(now)
