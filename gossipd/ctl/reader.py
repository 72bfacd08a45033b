"""Who reads what we write: a command that writes when something happens must not wait for that to see him go."""

from __future__ import annotations

import os
import select
import sys
from _signal import (  # type: ignore[import-not-found]     # the C half of `signal`: the rest brings enum, 5 ms
    ITIMER_REAL,
    SIG_DFL,
    SIGALRM,
    setitimer,
    signal,
)

from gossipd.ctl.output import EXIT_OK

EVERY_S = 0.5


class EndWithReader:
    """While it is entered, the program ends with EXIT_OK once standard output is a pipe that nobody reads any more.

    What is written meanwhile must be flushed at once.
    """

    def __init__(self) -> None:
        self._gone = select.poll()

    def __enter__(self) -> EndWithReader:
        try:
            self._gone.register(sys.stdout.fileno(), 0)     # errors only: of a pipe, that its other end is closed
        except (OSError, ValueError):
            return self         # no file at all
        signal(SIGALRM, self._look)
        setitimer(ITIMER_REAL, EVERY_S, EVERY_S)
        return self

    def __exit__(self, *exception: object) -> None:
        setitimer(ITIMER_REAL, 0.0)
        signal(SIGALRM, SIG_DFL)

    def _look(self, number: int, frame: object) -> None:
        if any(state & select.POLLERR for _, state in self._gone.poll(0)):
            os._exit(EXIT_OK)
