"""The face of `serf agent` in front of the daemon: banner, joins, signals, words for events (spec agent §5-§10)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import trio

from gossipd.addresses import format_address, unpack_ip
from gossipd.config.kinds import read_duration
from gossipd.config.schema import Config, LeaveSection
from gossipd.daemon.announce import printable
from gossipd.daemon.engine import Engine
from gossipd.daemon.face import Face, Running
from gossipd.daemon.gossiper import join_once
from gossipd.daemon.life import EXIT_LEFT, EXIT_NAME_LOST, Life
from gossipd.daemon.net import Port
from gossipd.daemon.signals import SIGNALS, Signals
from gossipd.errors import CommandError
from gossipd.events import MEMBER_REAP, MEMBER_UPDATE, Event, MemberEvent, UserEvent
from gossipd.node import Node
from gossipd.serfcli.agent.console import Console, agent, serf
from gossipd.serfcli.agent.engine import SerfEngine
from gossipd.serfcli.agent.settings import Wanted

LABEL_WIDTH = 27
RETRY_INTERVAL_S = 30.0
LOW_S = 1.0
_NAMES = {signal.SIGINT: "interrupt", signal.SIGTERM: "terminated", signal.SIGHUP: "hangup"}
_WORDS = {"member-join": "EventMemberJoin", "member-leave": "EventMemberLeave", "member-failed": "EventMemberFailed",
          MEMBER_UPDATE: "EventMemberUpdate", MEMBER_REAP: "EventMemberReap"}

Reload = Callable[[Running], Wanted | None]
"""Reads the settings anew and applies what can change; None if they cannot be read."""


class SerfFace(Face):
    signals = (*SIGNALS, signal.SIGUSR1)

    def __init__(self, wanted: Wanted, console: Console, reload: Reload) -> None:
        self._wanted, self._console, self._reload = wanted, console, reload
        self._daemon: Running | None = None

    def engine(
        self, node: Node, port: Port, life: Life, clock: Callable[[], float], wall: Callable[[], float]
    ) -> Engine:
        agent.info("Serf agent starting")
        return SerfEngine(node, port, life, clock, wall)

    def announce(self, event: Event) -> None:
        if isinstance(event, MemberEvent):
            for member in event.members:
                where = "" if event.kind in (MEMBER_UPDATE, MEMBER_REAP) else f" {unpack_ip(member.addr)}"
                serf.info("%s: %s%s", _WORDS[event.kind], printable(member.name), where)
            what = event.kind
        else:
            what = f"{'user-event' if isinstance(event, UserEvent) else 'query'}: {printable(event.name)}"
        agent.info("Received event: %s", what)

    # --- start

    def begin(self, daemon: Running) -> None:
        self._daemon = daemon
        self._console.say("Starting Serf agent RPC...")
        self._console.say("Serf agent running!")
        for line in banner(self._wanted, daemon):
            self._console.info(line)
        daemon.nursery.start_soon(self._join, daemon)

    async def _join(self, daemon: Running) -> None:
        """Those that must answer; then the log begins; then those that are tried until they do."""
        replay = self._wanted.switch("replay_on_join")
        joining = f"Joining cluster...(replay: {str(replay).lower()})"
        seeds = self._wanted.texts("start_join")
        if seeds:
            self._console.say(joining)
            contacted, error = await join_once(daemon.engine, seeds, replay)
            if daemon.engine.life.ending.is_set():
                return
            if error:
                self._console.say(error)
                daemon.engine.life.stop()
                return
            self._console.info(f"Join completed. Synced with {contacted} initial agents")
        for line in ("", "==> Log data will now stream in as it occurs:", ""):
            self._console.put(line)
        self._console.show_log()
        if self._wanted.texts("retry_join"):
            await self._keep_joining(daemon.engine, joining, replay)

    async def _keep_joining(self, engine: Engine, joining: str, replay: bool) -> None:
        pause_s = read_duration(self._wanted.text("retry_interval") or "0") or RETRY_INTERVAL_S
        pause_s, attempts_max = max(pause_s, LOW_S), int(self._wanted.values.get("retry_max_attempts") or 0)
        attempt = 0
        while not engine.life.ending.is_set():
            agent.info("%s", joining)
            contacted, error = await join_once(engine, self._wanted.texts("retry_join"), replay)
            if not error:
                agent.info("Join completed. Synced with %d initial agents", contacted)
                return
            attempt += 1
            if 0 < attempts_max < attempt:
                agent.error("maximum retry join attempts made, exiting")
                engine.life.stop()
                return
            agent.warning("Join failed: %s, retrying in %s", error, go_duration(pause_s))
            await trio.sleep(pause_s)

    # --- signals

    async def run_signals(self, engine: Engine, signals: Signals, config: Config) -> None:
        async for number in signals:
            self.on_signal(engine, signal.Signals(number))

    def on_signal(self, engine: Engine, number: signal.Signals) -> None:
        life = engine.life
        if number == signal.SIGUSR1:
            show_figures(engine)
        elif life.ending.is_set():
            life.stop()         # a second one
        elif number == signal.SIGHUP:
            self._console.say(f"Caught signal: {_NAMES[number]}")
            self._on_hangup()
        else:
            self._console.say(f"Caught signal: {_NAMES[number]}")
            leaves = leave_section(self._wanted)
            if leaves.on_interrupt if number == signal.SIGINT else leaves.on_terminate:
                self._console.say("Gracefully shutting down agent...")
                self._leave(engine)
            else:
                life.stop()

    def _leave(self, engine: Engine) -> None:
        def done(result: object, error: str) -> None:
            if error:
                self._console.say(f"Error: {error}")

        assert isinstance(engine, SerfEngine)
        engine.signalled = True
        try:
            engine.leave(done)
        except CommandError as error:
            done(None, str(error))
            engine.life.stop()

    def _on_hangup(self) -> None:
        self._console.say("Reloading configuration...")
        if self._daemon is None:
            return              # it begins with what it read a moment ago
        wanted = self._reload(self._daemon)
        if wanted is not None:
            self._wanted = wanted

    # --- end

    def stopping(self, engine: Engine) -> None:
        if engine.life.exit_code == EXIT_NAME_LOST:
            agent.warning("Serf shutdown detected, quitting")
        agent.info("requesting serf shutdown")
        if not engine.node.left:
            serf.warning("Shutdown without a Leave")

    def exit_code(self, life: Life) -> int:
        agent.info("shutdown complete")
        return EXIT_LEFT if life.exit_code == EXIT_NAME_LOST else life.exit_code


def leave_section(wanted: Wanted) -> LeaveSection:
    return LeaveSection(not wanted.switch("skip_leave_on_interrupt"), wanted.switch("leave_on_terminate"))


def banner(wanted: Wanted, daemon: Running) -> list[str]:
    encrypted = daemon.engine.node.stats().get("encrypted", "false")
    rows = [("Node name", f"'{daemon.engine.name}'"), ("Bind addr", f"'{format_address(daemon.bound)}'")]
    lines = [f"{label:>{LABEL_WIDTH}}: {value}" for label, value in rows]
    if wanted.text("advertise"):
        lines.append(f"Advertise addr: '{wanted.text('advertise')}'")
    rows = [
        ("RPC addr", f"'{wanted.rpc_addr}'"), ("Encrypted", encrypted),
        ("Snapshot", str(bool(wanted.text("snapshot_path"))).lower()), ("Profile", wanted.text("profile") or "lan"),
        ("Message Compression Enabled", str(wanted.compress).lower()),
    ]
    if wanted.text("discover"):
        rows.append(("mDNS cluster", wanted.text("discover")))
    return lines + [f"{label:>{LABEL_WIDTH}}: {value}" for label, value in rows]


def go_duration(seconds: float) -> str:
    """As Go prints one of a second or more: 90.5 is "1m30.5s"."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    tail = f"{rest:.9f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{tail}" if hours else f"{minutes}m{tail}" if minutes else tail


def show_figures(engine: Engine) -> None:
    """On stderr, as Serf's agent shows its gauges; it has others."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime())
    stats = engine.stats()
    figures = {f"serf.{name}": value for name, value in stats["serf"].items() if value.isdigit()}
    figures |= {f"gossipd.{name.replace(' ', '_')}": value for name, value in stats["gossipd"].items()
                if value.isdigit()}
    lines = [f"[{stamp}][G] 'serf-agent.{name}': {float(value):.3f}\n" for name, value in sorted(figures.items())]
    try:
        os.write(2, "".join(lines).encode())
    except OSError:
        pass        # nobody reads
