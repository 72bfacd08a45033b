"""Waiting, at most so long, until a broadcast has been sent in full (spec serf §11)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from gossipd.effects import Effect
from gossipd.swim.broadcasts import Done
from gossipd.timers import TimerQueue

Then = Callable[[bool, float, list[Effect]], None]
"""(was it sent in full, now, out)"""


@dataclass(frozen=True, slots=True)
class WaitOver:
    number: int


class Waits:
    """What goes on when a wait ends.

    A queue says that it is done in the middle of packing somebody's packet, where no effect may be added: so the
    continuation runs from the timer, at once.
    """

    def __init__(self, timers: TimerQueue[Hashable]) -> None:
        self._timers = timers
        self._then: dict[int, Then] = {}
        self._sent: dict[int, None] = {}
        self._numbers = 0

    def start(self, timeout_s: float, then: Then, now: float) -> Done:
        """`then` runs once: when the returned function was called, or after `timeout_s`."""
        self._numbers += 1
        number = self._numbers
        self._then[number] = then
        self._timers.set(WaitOver(number), now + timeout_s)

        def done(at: float) -> None:
            if number in self._then:
                self._sent[number] = None
                self._timers.set(WaitOver(number), at)

        return done

    def over(self, number: int, now: float, out: list[Effect]) -> None:
        sent = number in self._sent
        self._sent.pop(number, None)
        self._then.pop(number)(sent, now, out)
