"""Changes that are on a disk before they take effect: keys and tags (spec serf §9.2, agent §8)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from gossipd.effects import Effect
from gossipd.errors import CommandError

T = TypeVar("T")
CHANGES_MAX = 64
"""Of one thing, that wait for the disk or are on their way to it."""

Kept = Callable[[str, float, list[Effect]], None]
"""("" or why it could not be kept, now, out)"""
Save = Callable[[T, Kept, float, list[Effect]], None]
"""(what, done, now, out): keep this, and say so, now or later. It gets the next thing only after that."""


def stays_in_memory(what: object, kept: Kept, now: float, out: list[Effect]) -> None:
    """For a node without such a file."""
    kept("", now, out)


class Turns(Generic[T]):
    """Changes of one thing, made in the order in which they were asked for, each of what the one before has left. That
    may take as long as a disk takes."""

    def __init__(self, what: str, save: Save[T]) -> None:
        self._what, self._save = what, save
        self._waiting: deque[tuple[Callable[[], T | None], Kept]] = deque()     # the first one is being kept

    def change(self, after: Callable[[], T | None], over: Kept, now: float, out: list[Effect]) -> None:
        """When its turn comes, `after` says what to keep: None for nothing, CommandError if it is not possible. Then
        `over` makes the change, or hears why not. Raises CommandError instead if that is known at once."""
        if len(self._waiting) >= CHANGES_MAX:
            raise CommandError(f"too many changes of {self._what} are waiting to be written")
        if self._waiting:
            self._waiting.append((after, over))
            return
        what = after()
        self._waiting.append((after, over))
        self._keep(what, now, out)

    def _keep(self, what: T | None, now: float, out: list[Effect]) -> None:
        if what is None:
            self._over("", now, out)
        else:
            self._save(what, self._over, now, out)

    def _over(self, failure: str, now: float, out: list[Effect]) -> None:
        self._waiting[0][1](failure, now, out)
        self._waiting.popleft()
        if self._waiting:
            self._next(now, out)

    def _next(self, now: float, out: list[Effect]) -> None:
        try:
            what = self._waiting[0][0]()
        except CommandError as error:
            self._over(str(error), now, out)
        else:
            self._keep(what, now, out)
