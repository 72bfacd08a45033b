"""Log lines that others can cause: a flood of them must not become a flood of lines."""

from __future__ import annotations

INTERVAL_S = 1.0    # at most one line for each kind in this time
KINDS_MAX = 64      # that are told apart; there are about two dozen
OTHER = "other"     # and the kinds beyond are one


class Throttle:
    """Lets one line of each kind through in an interval, and counts those that it holds back."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._last: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def admit(self, kind: str, now: float) -> int | None:
        """None: hold this line back. Else how many were since the last one that went through."""
        due, kind = self.is_due(kind, now), self._known(kind)
        if not due:
            self._held[kind] = self._held.get(kind, 0) + 1
            return None
        self._last[kind] = now
        return self._held.pop(kind, 0)

    def is_due(self, kind: str, now: float) -> bool:
        """Would it go through?"""
        if kind not in self._last and len(self._last) >= KINDS_MAX:
            self._forget(now)
        return now >= self._last.get(self._known(kind), float("-inf")) + self._interval_s

    def _known(self, kind: str) -> str:
        return kind if kind in self._last or len(self._last) < KINDS_MAX else OTHER

    def _forget(self, now: float) -> None:
        """Kinds that would go through anyhow; what they still held back counts for the others."""
        for kind in [kind for kind, last in self._last.items() if now >= last + self._interval_s]:
            del self._last[kind]
            if held := self._held.pop(kind, 0):
                self._held[OTHER] = self._held.get(OTHER, 0) + held


def more(held: int) -> str:
    """The end of a line that speaks for others too."""
    return f" more={held}" if held else ""
