"""A line on the terminal while people wait: on stderr, gone when there is something to see."""

from __future__ import annotations

import os
import sys
from _signal import (  # type: ignore[import-not-found]     # the C half of `signal`: the rest brings enum, 5 ms
    ITIMER_REAL,
    SIG_DFL,
    SIGALRM,
    setitimer,
    signal,
)
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_S, EVERY_S = 0.4, 0.25
CLEAR = "\r\x1b[K"


class Progress:
    """While it is entered, a call that blocks is interrupted by a timer, and goes on after the line is written.

    Does nothing unless stderr is a terminal. `what` is looked at each time.
    """

    def __init__(self, what: Callable[[], str]) -> None:
        self._what = what
        self._shown = False
        self._wanted = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._begun = monotonic()

    def __enter__(self) -> Progress:
        if self._wanted:
            signal(SIGALRM, self._show)
            setitimer(ITIMER_REAL, FIRST_S, EVERY_S)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._wanted:
            setitimer(ITIMER_REAL, 0.0)
            signal(SIGALRM, SIG_DFL)
            self.hide()

    def hide(self) -> None:
        """Before something else is written."""
        if self._shown:
            self._shown = False
            _write(CLEAR)

    def _show(self, number: int, frame: object) -> None:
        self._shown = True
        _write(f"{CLEAR}{self._what()}, {monotonic() - self._begun:.0f} s ")


def _write(text: str) -> None:
    """Past the buffer of sys.stderr, into which a signal may come."""
    try:
        os.write(2, text.encode("utf-8", "replace"))
    except OSError:
        pass
