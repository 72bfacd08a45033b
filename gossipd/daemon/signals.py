"""What signals mean (spec agent §10)."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager

import trio

from gossipd.config.schema import LeaveSection
from gossipd.daemon.engine import Engine
from gossipd.errors import CommandError

log = logging.getLogger("gossipd.signals")


Signals = AsyncIterator[int]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Those that mean something to us."""


@contextmanager
def catch_signals(
    numbers: Sequence[signal.Signals] = SIGNALS, decided: Callable[[], None] = lambda: None
) -> Iterator[Signals]:
    """They wait until `run_signals` asks for them; those that nobody asked for go back to whoever handled them before,
    after a call of `decided`. Children can be waited for, even if our parent ignored theirs."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with trio.open_signal_receiver(*numbers) as signals:
        try:
            yield signals
        finally:
            decided()


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
