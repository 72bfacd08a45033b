"""Lamport clocks (spec serf §5). A clock's time is the one that the next message will carry."""

from __future__ import annotations

LTIME_LIMIT = 1 << 63
"""Times from here on are refused wherever they arrive: witnessing them would bring a clock near its end (§18.3)."""
JUMP_MAX = 1 << 32
"""No honest cluster moves further than this between two of its messages."""
FIRST_MAX = 1 << 62
"""What a clock that has witnessed nothing yet accepts: a newcomer must be able to join a very old cluster."""


class LamportClock:
    """Starts at 1, because 0 means "never"."""

    __slots__ = ("time",)

    def __init__(self, restored: int = 0) -> None:
        """`restored`: the last time that a snapshot knows. One that nobody would accept counts as none."""
        self.time = 1
        if restored <= FIRST_MAX:
            self.witness(restored)

    def increment(self) -> int:
        """Use up the current time: returns it and steps on."""
        used = self.time
        self.time = used + 1
        return used

    def witness(self, ltime: int) -> None:
        if ltime >= self.time:
            self.time = ltime + 1

    def plausible(self, ltime: int) -> bool:
        """May a message carry this? A poisoned time would make every later ordinary message too old."""
        return ltime - self.time <= JUMP_MAX or (self.time == 1 and ltime <= FIRST_MAX)
