"""The prober's subsystem: its timers, and the TCP pings it falls back to."""

from __future__ import annotations

import trio

from gossipd.daemon.engine import Engine, Machine
from gossipd.daemon.exchange import Dialer
from gossipd.daemon.net import Connect

TCP_PINGS_MAX = 64      # at once; one probe runs at a time, so more means that something is wrong


async def run_prober(
    engine: Engine, connect: Connect, *, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
) -> None:
    """Probe members until cancelled."""
    async with trio.open_nursery() as nursery:
        engine.dial_with("ping", Dialer(engine, connect, nursery, TCP_PINGS_MAX).dial)
        nursery.start_soon(run_timers, engine, engine.node.prober)
        task_status.started(nursery.cancel_scope)


async def run_timers(engine: Engine, machine: Machine) -> None:
    """Let `machine` do what is due, when it is due."""
    alarm = engine.alarm(machine)
    while True:
        await alarm.ring()
        engine.advance(machine)
