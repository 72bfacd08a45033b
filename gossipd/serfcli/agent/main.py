"""serf agent: reads settings in Serf's ways, and runs the daemon behind Serf's face."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Callable

from gossipd.commands import SetTags
from gossipd.config.schema import Config
from gossipd.daemon.interrupts import NUMBERS, Interrupts
from gossipd.daemon.logs import LogRing
from gossipd.daemon.main import allow_files
from gossipd.errors import CommandError, GossipdError
from gossipd.serfcli.agent.console import Console, agent, change_level, set_up
from gossipd.serfcli.agent.settings import (
    Refused,
    Wanted,
    check_identity,
    log_level,
    read,
    to_config,
    unsupported,
)
from gossipd.serfcli.agent.syslog import Syslog, SyslogError
from gossipd.serfcli.flags import FlagError
from gossipd.serfcli.output import EXIT_FAILED, complain
from gossipd.serfcli.table import usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gossipd.daemon.face import Running

DEFAULT_FACILITY = "LOCAL0"


def run_agent(argv: list[str]) -> int:
    """The exit code."""
    gc.disable()        # start-up makes no garbage worth looking for
    interrupts = Interrupts((*NUMBERS, signal.SIGUSR1))
    interrupts.hold()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)       # clients hang up as they like
    console, ring = set_up("INFO")
    try:
        return Agent(argv, console, ring, interrupts.decided).run()
    except FlagError as error:
        if str(error):
            complain(str(error))
        console.say(usage("agent"))
    except Refused as error:
        console.say(str(error))
    return EXIT_FAILED


class Agent:
    def __init__(self, argv: list[str], console: Console, ring: LogRing, decided: Callable[[], None]) -> None:
        """Raises FlagError, Refused."""
        self._argv, self._console, self._ring, self._decided = argv, console, ring, decided
        self._wanted = read(argv, console.say)
        self._syslog: Syslog | None = None

    def run(self) -> int:
        """The exit code. Raises Refused."""
        wanted = self._wanted
        change_level(self._console, self._ring, log_level(wanted))
        self._log_to_syslog()
        check_identity(wanted, self._console.say)
        self._console.say("Starting Serf agent...")
        config = to_config(wanted, lambda text: agent.info("%s", text))
        for notice in unsupported(wanted):
            agent.warning("ignored: %s", notice)
        return self._run_daemon(config)

    def _run_daemon(self, config: Config) -> int:
        """Raises Refused."""
        import trio  # 100 ms that wrong settings do not pay

        from gossipd.daemon import app
        from gossipd.serfcli.agent.face import SerfFace

        allow_files()
        gc.freeze()
        gc.enable()
        face = SerfFace(self._wanted, self._console, self._reload)
        try:
            return trio.run(app.run, config, self._ring, face, self._decided, strict_exception_groups=True)
        except app.RpcUnavailable as error:
            raise Refused(f"Error starting RPC listener: {_as_go(str(error), self._wanted.rpc_addr)}") from None
        except GossipdError as error:
            raise Refused(f"Failed to start the Serf agent: Error creating Serf: {error}") from None

    def _log_to_syslog(self) -> None:
        if not self._wanted.switch("enable_syslog"):
            return
        try:
            self._syslog = Syslog(self._wanted.text("syslog_facility") or DEFAULT_FACILITY, self._console.threshold)
        except SyslogError as error:
            raise Refused(f"Syslog setup failed: {error}") from None
        logging.getLogger("gossipd").addHandler(self._syslog)

    # --- reload: log level, handlers, tags, what signals mean

    def _reload(self, daemon: Running) -> Wanted | None:
        try:
            wanted = read(self._argv, self._console.say)
        except (Refused, FlagError) as error:
            self._console.say(str(error))
            self._console.say("Failed to reload configs")
            return None
        try:
            self._change_level(log_level(wanted))
        except Refused as error:
            self._console.say(str(error))
        daemon.handlers.replace(wanted.hooks)
        self._change_tags(daemon, self._wanted.tags, wanted.tags)
        self._wanted = wanted
        return wanted

    def _change_level(self, level: str) -> None:
        change_level(self._console, self._ring, level)
        if self._syslog is not None:
            self._syslog.threshold = self._console.threshold

    def _change_tags(self, daemon: Running, before: dict[str, str], after: dict[str, str]) -> None:
        """What changed in the settings changes; what clients set meanwhile stays."""
        def done(result: object, error: str) -> None:
            if error:
                self._console.say(f"Failed to update tags: {error}")

        changes = {key: value for key, value in after.items() if before.get(key) != value}
        deleted = [key for key in before if key not in after]
        if not changes and not deleted:
            return
        try:
            daemon.engine.submit(lambda id: SetTags(id, changes, deleted), done)
        except CommandError as error:
            done(None, str(error))


def _as_go(text: str, address: str) -> str:
    """What kept a listener from being bound to the address as it was given."""
    prefix = "cannot bind the RPC address "
    if not text.startswith(prefix):
        return text
    why = text.rpartition(": ")[2]
    return f"listen tcp {address}: bind: {why.lower()}"
