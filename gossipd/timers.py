"""Deadlines by key, and how often something may be, for state machines that are told the time instead of sleeping."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappop, heappush
from math import inf
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

STALE_ENTRIES_MAX = 64
"""How many cancelled entries the heap may hold beyond twice the live ones before it is rebuilt."""


class TimerQueue(Generic[K]):
    """At most one deadline a key. Setting replaces, cancelling forgets; both are O(log n) and lazy.

    Ties go to the deadline that was set first, so a seed gives the same run everywhere.
    """

    __slots__ = ("_due", "_heap", "_count")

    def __init__(self) -> None:
        self._due: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0

    def set(self, key: K, deadline: float) -> None:
        self._count += 1
        self._due[key] = (deadline, self._count)
        heappush(self._heap, (deadline, self._count, key))
        if len(self._heap) > 2 * len(self._due) + STALE_ENTRIES_MAX:
            self._heap = sorted((at, count, k) for k, (at, count) in self._due.items())

    def cancel(self, *keys: K) -> None:
        for key in keys:
            self._due.pop(key, None)

    def __contains__(self, key: K) -> bool:
        return key in self._due

    def deadline(self, key: K) -> float:
        """When `key` is due: seconds, monotonic; inf if it is not set."""
        return self._due.get(key, (inf, 0))[0]

    def next_deadline(self) -> float:
        heap, due = self._heap, self._due
        while heap:
            at, count, key = heap[0]
            if due.get(key) == (at, count):
                return at
            heappop(heap)
        return inf

    def pop_due(self, now: float) -> K | None:
        """The next key that is due, removed, or None. Call it again: handling one may set or cancel others."""
        if self.next_deadline() > now:
            return None
        key = heappop(self._heap)[2]
        del self._due[key]
        return key


class Rarely:
    """When to say again what is still so: at once, after `first_s`, then after twice as long each time."""

    __slots__ = ("_next", "_pause_s", "_max_s")

    def __init__(self, first_s: float = 60.0, max_s: float = 3600.0) -> None:
        self._next, self._pause_s, self._max_s = -inf, first_s, max_s

    def is_due(self, now: float) -> bool:
        """If so, it counts as said."""
        if now < self._next:
            return False
        self._next = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._max_s)
        return True


class Allowance:
    """So many a second on average, and so many at once."""

    __slots__ = ("_per_s", "_most", "_left", "_at")

    def __init__(self, per_s: float, most: float) -> None:
        self._per_s, self._most, self._left = per_s, most, most
        self._at = 0.0          # when `_left` was right: seconds, monotonic

    def take(self, now: float, count: int = 1) -> bool:
        """Use so many, if they are there; else none."""
        self._left = min(self._most, self._left + max(0.0, now - self._at) * self._per_s)
        self._at = now
        if self._left < count:
            return False
        self._left -= count
        return True
