"""Join and leave intents about nodes that we do not know yet (spec serf §6.8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

INTENTS_MAX = 4096
"""Names remembered at once (§18.7). A full buffer takes no further names: dropping old ones to make room would let more
names than fit chase each other through the cluster forever, as each newly buffered intent is rebroadcast."""


@dataclass(slots=True)
class Intent:
    leave: bool             # else it is a join
    ltime: int
    written: float          # seconds, monotonic


class RecentIntents:
    """The newest intent for each unknown name. They stay when the member appears; only age removes them."""

    def __init__(self, max_names: int = INTENTS_MAX) -> None:
        self._by_name: dict[str, Intent] = {}
        self._max = max_names

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[tuple[str, Intent]]:
        return iter(self._by_name.items())

    def get(self, name: str) -> Intent | None:
        return self._by_name.get(name)

    def remember(self, name: str, leave: bool, ltime: int, now: float) -> bool:
        """Write it if it is news. True if so: then it deserves a rebroadcast."""
        known = self._by_name.get(name)
        if known is None and len(self._by_name) >= self._max:
            return False
        if known is not None and ltime <= known.ltime:
            return False
        self._by_name[name] = Intent(leave, ltime, now)
        return True

    def expire(self, now: float, keep_s: float) -> None:
        for name in [name for name, intent in self._by_name.items() if now - intent.written > keep_s]:
            del self._by_name[name]
