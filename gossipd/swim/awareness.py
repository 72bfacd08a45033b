"""Lifeguard's local health score (spec memberlist §13): how much we distrust our own timers."""

from __future__ import annotations


class Awareness:
    """0 is healthy. Every point stretches the probe interval by one more interval."""

    __slots__ = ("score", "_limit")

    def __init__(self, limit: int) -> None:
        self.score = 0
        self._limit = limit

    def change(self, by: int) -> None:
        self.score = min(max(0, self.score + by), self._limit - 1)

    def scale(self, interval_s: float) -> float:
        return interval_s * (self.score + 1)
