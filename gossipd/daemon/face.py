"""How the daemon looks from outside, for those who started it. This face is gossipd's own: everything is in the log."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

import trio

from gossipd.addresses import Address
from gossipd.config.schema import Config
from gossipd.daemon.announce import announce
from gossipd.daemon.engine import Engine
from gossipd.daemon.gossiper import keep_joining
from gossipd.daemon.handlers import Handlers
from gossipd.daemon.life import Life
from gossipd.daemon.net import Port
from gossipd.daemon.signals import SIGNALS, Signals, run_signals
from gossipd.events import Event
from gossipd.node import Node


@dataclass(slots=True)
class Running:
    """A daemon whose subsystems have started. `nursery` is for tasks that live as long as it does."""

    config: Config
    engine: Engine
    handlers: Handlers
    bound: Address              # of the gossip sockets
    nursery: trio.Nursery


class Face:
    """What another program in front of the same daemon does in its own way: `serfcli.agent` is one."""

    signals: tuple[signal.Signals, ...] = SIGNALS

    def engine(
        self, node: Node, port: Port, life: Life, clock: Callable[[], float], wall: Callable[[], float]
    ) -> Engine:
        """The node is there, nothing runs yet."""
        return Engine(node, port, life, clock, wall)

    def announce(self, event: Event) -> None:
        """Something happened in the cluster; handlers and clients hear of it too."""
        announce(event)

    def begin(self, daemon: Running) -> None:
        """Packets and clients are served from now on: time to join."""
        if daemon.config.join.seeds:
            daemon.nursery.start_soon(keep_joining, daemon.engine, daemon.config.join)

    async def run_signals(self, engine: Engine, signals: Signals, config: Config) -> None:
        await run_signals(engine, signals, config.leave)

    def stopping(self, engine: Engine) -> None:
        """Nothing is left to wait for; subsystems end next."""

    def exit_code(self, life: Life) -> int:
        return life.exit_code
