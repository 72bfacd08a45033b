"""gossipd as Serf's command line: what scripts see of `serf`, by the same name (spec cli).

Results and errors go to stdout, as with Serf; stderr gets only what is wrong with flags, and usage asked for.
"""

from __future__ import annotations

import os
import sys
from _signal import (  # type: ignore[import-not-found]     # the C half of `signal`: the rest brings enum, 5 ms
    SIG_DFL,
    SIGINT,
    SIGPIPE,
    default_int_handler,
    getsignal,
    signal,
)

from gossipd.client import ClientError
from gossipd.serfcli.dial import NotConnected, connect
from gossipd.serfcli.flags import FlagError, Flags, parse_flags
from gossipd.serfcli.output import EXIT_FAILED, EXIT_OK, EXIT_UNKNOWN, Failed, Misused, complain, say
from gossipd.serfcli.table import ABOUT, FLAGS, kinds_of, overview, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gossipd.serfcli.dial import SerfClient

INTERRUPTED = 130           # 128 + SIGINT, as shells have it
VERSION = "0.9.4"           # the Serf whose ways these are
PROTOCOL, PROTOCOL_LEAST = 5, 2
_HELP = ("-h", "-help", "--help")


def run() -> None:
    """The program. Everything is written by then, and taking the interpreter apart would cost 2 ms."""
    signal(SIGPIPE, SIG_DFL)        # as programs in Go: silently, when nobody reads
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(argv: list[str]) -> int:
    """The exit code."""
    if sys.stdout is None:      # closed: a Go program does not mind
        sys.stdout = open(os.devnull, "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")
    if getsignal(SIGINT) == SIG_DFL:        # the launcher's: its first lines are interrupted without a traceback
        signal(SIGINT, default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="surrogateescape")      # type: ignore[union-attr]
    try:
        return _main(argv)
    except KeyboardInterrupt:
        return INTERRUPTED


def _main(argv: list[str]) -> int:
    if "-v" in argv or "--version" in argv:     # wherever they are, even as a payload (T4)
        return _version()
    until = argv.index("--") if "--" in argv else len(argv)
    help_wanted = any(word in _HELP for word in argv[:until])
    at = next((number for number, word in enumerate(argv[:until]) if word and word[0] != "-"), -1)
    command = argv[at] if at >= 0 else ""
    if command not in ABOUT:
        complain(overview() + "\n")
        return EXIT_OK if help_wanted and not command else EXIT_UNKNOWN
    if help_wanted:
        complain(usage(command))
        return EXIT_OK
    if any(word and word not in _HELP for word in argv[:at]):
        complain("Flags of a command go behind its name.\n\n" + usage(command))
        return EXIT_FAILED
    return _run(command, argv[at + 1:])


def _run(command: str, argv: list[str]) -> int:
    if command == "agent":
        from gossipd.serfcli.agent.main import run_agent

        return run_agent(argv)
    if command == "version":
        return _version()
    if command == "keygen":
        from gossipd.serfcli.commands.keys import run_keygen

        return run_keygen()
    try:
        flags = parse_flags(kinds_of(command), argv)
    except FlagError as error:
        if str(error):
            complain(str(error))
        say(usage(command))
        return EXIT_FAILED
    try:
        return _function(command)(flags, lambda: connect(flags))
    except NotConnected as error:
        say(f"Error connecting to Serf agent: {error}")
    except Misused as error:
        if str(error):
            say(f"{error}\n")
        say(usage(command))
    except (Failed, ClientError) as error:
        say(str(error))
    return EXIT_FAILED


def _function(command: str) -> Callable[[Flags, Callable[[], SerfClient]], int]:
    assert command in FLAGS
    if command == "members":
        from gossipd.serfcli.commands.members import run_members as function
    elif command == "event":
        from gossipd.serfcli.commands.cluster import run_event as function
    elif command == "join":
        from gossipd.serfcli.commands.cluster import run_join as function
    elif command == "leave":
        from gossipd.serfcli.commands.cluster import run_leave as function
    elif command == "force-leave":
        from gossipd.serfcli.commands.cluster import run_force_leave as function
    elif command == "tags":
        from gossipd.serfcli.commands.cluster import run_tags as function
    elif command == "info":
        from gossipd.serfcli.commands.info import run_info as function
    elif command == "rtt":
        from gossipd.serfcli.commands.info import run_rtt as function
    elif command == "query":
        from gossipd.serfcli.commands.query import run_query as function
    elif command == "reachability":
        from gossipd.serfcli.commands.query import run_reachability as function
    elif command == "keys":
        from gossipd.serfcli.commands.keys import run_keys as function
    else:
        from gossipd.serfcli.commands.monitor import run_monitor as function
    return function


def _version() -> int:
    from gossipd import __version__

    say(f"{VERSION} (gossipd {__version__})")
    say(f"Agent Protocol: {PROTOCOL} (Understands back to: {PROTOCOL_LEAST})")
    return EXIT_OK
