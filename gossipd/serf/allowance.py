"""How often something may be done for strangers."""

from __future__ import annotations


class Allowance:
    """So many a second on average, and so many at once."""

    __slots__ = ("_per_s", "_most", "_left", "_at")

    def __init__(self, per_s: float, most: float) -> None:
        self._per_s, self._most, self._left = per_s, most, most
        self._at = 0.0          # when `_left` was right: seconds, monotonic

    def take(self, now: float) -> bool:
        """Use one, if there is one."""
        self._left = min(self._most, self._left + max(0.0, now - self._at) * self._per_s)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
