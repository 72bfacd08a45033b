"""Signals while nobody listens to them: before the event loop does, and once it is decided how the program ends.

Handlers and not the defaults: an exception in the middle of an import is a traceback, and a program that is killed
while it puts its things away has another exit code than the one it decided on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

EXIT_INTERRUPTED = 1    # nothing has begun that would have to be ended
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """One for a program. Between `hold` and `decided` somebody else may handle signals."""

    def __init__(self, numbers: Sequence[signal.Signals] = NUMBERS) -> None:
        self._numbers = numbers

    def hold(self) -> None:
        """From here on a signal ends the program at once and silently. One that our parent ignores stays ignored."""
        for number in self._numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _end)

    def decided(self) -> None:
        """From here on signals mean nothing: not to Python's functions, which the interpreter takes out before it ends,
        nor to the event loop, which closes what it is woken by before it tells Python."""
        sys.unraisablehook = _tell
        signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        for number in self._numbers:
            signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)


def _tell(trouble: sys.UnraisableHookArgs) -> None:
    """But not of a signal that a thread got just before it was ignored."""
    if not isinstance(trouble.exc_value, OSError):
        sys.__unraisablehook__(trouble)
