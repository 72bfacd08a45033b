"""What signals mean (spec agent §10)."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import trio

from gossipd.config.schema import LeaveSection
from gossipd.daemon.engine import Engine
from gossipd.errors import CommandError

log = logging.getLogger("gossipd.signals")


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Those that mean something to us."""


class Signals:
    """An async iterator over signals; several of the same number that wait are one.

    Unlike trio's receiver it does next to nothing for a signal that waits already: a handler is interrupted by the next
    signal, and in a hail of them one that takes its time is called within itself until the stack is full.
    """

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._waiting: list[int] = []
        self._news = trio.Event()

    def handle(self, number: int, frame: FrameType | None) -> None:
        if number not in self._waiting:
            self._waiting.append(number)
            self._token.run_sync_soon(self._wake)

    def _wake(self) -> None:
        self._news.set()

    def __aiter__(self) -> Signals:
        return self

    async def __anext__(self) -> int:
        while not self._waiting:
            self._news = trio.Event()
            await self._news.wait()
        await trio.lowlevel.checkpoint()
        return self._waiting.pop(0)


@contextmanager
def catch_signals(
    numbers: Sequence[signal.Signals] = SIGNALS, decided: Callable[[], None] | None = None
) -> Iterator[Signals]:
    """They wait until `run_signals` asks for them. In the end `decided` sees to it that they mean nothing any more;
    without it, whoever handled them before gets what comes.

    Children can be waited for, even if our parent ignored theirs.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signals = Signals()
    before = {number: signal.signal(number, signals.handle) for number in numbers}
    try:
        yield signals
    finally:
        if decided is not None:
            decided()
        else:
            for number, handler in before.items():
                signal.signal(number, handler)


async def run_signals(engine: Engine, signals: Signals, leave: LeaveSection) -> None:
    """INT leaves, TERM stops, unless configured otherwise; a second signal stops at once."""
    graceful = {signal.SIGINT: leave.on_interrupt, signal.SIGTERM: leave.on_terminate}
    async for number in signals:
        on_signal(engine, signal.Signals(number), graceful)


def on_signal(engine: Engine, number: signal.Signals, graceful: dict[signal.Signals, bool]) -> None:
    life = engine.life
    if life.ending.is_set():
        log.warning("%s while ending: stopping at once", number.name)
        life.stop()
    elif number == signal.SIGHUP:
        log.warning("SIGHUP: reload is not supported yet; nothing was changed")
    elif graceful[number]:
        log.info("%s: leaving the cluster", number.name)
        leave_and_log(engine)
    else:
        log.info("%s: stopping without leaving; the others will see this node fail", number.name)
        life.stop()


def leave_and_log(engine: Engine) -> None:
    def done(result: object, error: str) -> None:
        if error:
            log.error("leaving failed error=%r", error)

    try:
        engine.leave(done)
    except CommandError as error:
        log.error("cannot leave error=%r", error.full)
        engine.life.stop()
