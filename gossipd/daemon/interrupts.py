"""Signals while nobody listens to them: before the event loop does, and once it is decided how the program ends.

Handlers and not the defaults: an exception in the middle of an import is a traceback, and a program that is killed
while it puts its things away has another exit code than the one it decided on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from types import FrameType

EXIT_INTERRUPTED = 1    # nothing has begun that would have to be ended
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """One for a program. Between `hold` and `done` somebody else may handle signals, if he restores what he found."""

    def __init__(self, numbers: Sequence[signal.Signals] = NUMBERS) -> None:
        self._numbers = numbers
        self._decided = False

    def hold(self) -> None:
        """From here on a signal ends the program at once and silently. One that our parent ignores stays ignored."""
        for number in self._numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def decided(self) -> None:
        """From here on signals mean nothing."""
        self._decided = True

    def done(self) -> None:
        """The same for the interpreter's own end, which would bring the defaults back in place of our handlers."""
        self._decided = True
        # a signal that came in between would be told as an error of Python's
        signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        for number in self._numbers:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._decided:
            os._exit(EXIT_INTERRUPTED)

