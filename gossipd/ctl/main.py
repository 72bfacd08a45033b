"""gossipctl: one command, one connection, one answer. What it says is for people and scripts alike.

Results go to stdout, errors to stderr in one line. Exit codes are EXIT_*, below.
"""

from __future__ import annotations

import os
import sys
from _signal import (  # type: ignore[import-not-found]     # the C half of `signal`: the rest brings enum, 5 ms
    SIG_DFL,
    SIGINT,
    default_int_handler,
    getsignal,
    signal,
)

from gossipd.client import Client, ClientError, TimedOut, Unreachable
from gossipd.ctl.arguments import Arguments, UsageError, parse, seconds, unknown_command
from gossipd.ctl.output import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_TIMEOUT,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    fail,
)

TIMEOUT_S = 10.0
TIMEOUT_CHANGE_S = 60.0
"""For what has to travel through the cluster: dead seeds take 10 s each."""
TIMEOUT_QUERY_MIN_S = 1.0
"""A query may be over sooner; whether there is a daemon is not known sooner."""
CHANGING = ("cluster", "tags", "keys")      # modules
SERF_PORT = "7373"
NOT_ALLOWED = ". [rpc] in gossipd.toml(5) says who may use it"
HOW_TO_FIND = "Name its socket with --rpc-socket PATH, --rpc-addr HOST:PORT or GOSSIPCTL_RPC"


def main(argv: list[str] | None = None) -> int:
    if sys.stdout is None:      # closed: not writable, as whoever writes will see
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stdout.reconfigure(errors="backslashreplace")   # type: ignore[union-attr]
    sys.stderr.reconfigure(errors="backslashreplace")   # type: ignore[union-attr]
    argv = sys.argv[1:] if argv is None else argv
    try:
        if getsignal(SIGINT) == SIG_DFL:        # the program's first lines must not be interrupted by a traceback
            signal(SIGINT, default_int_handler)
        code = _main(argv)
        sys.stdout.flush()
        return code
    except UsageError as error:
        command = f" {error.command.name}" if error.command else ""
        return fail(EXIT_USAGE, str(error), wants_json(argv), f" (see: gossipctl{command} --help)")
    except TimedOut as error:
        return fail(EXIT_TIMEOUT, str(error), wants_json(argv))
    except Unreachable as error:
        advice = NOT_ALLOWED if str(error).endswith(": Permission denied") else f". Is gossipd running? {HOW_TO_FIND}"
        return fail(EXIT_UNREACHABLE, str(error), wants_json(argv), advice)
    except ClientError as error:
        return fail(EXIT_ERROR, str(error), wants_json(argv))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return EXIT_OK
    except OSError as error:
        _silence_stdout()
        return fail(EXIT_ERROR, f"cannot write: {error.strerror}", wants_json(argv))
    except Exception as error:      # a bug of ours, or a daemon that answers nonsense
        return fail(EXIT_ERROR, f"unexpected: {type(error).__name__}: {error}", wants_json(argv))


def wants_json(argv: list[str]) -> bool:
    """Are errors to be JSON? Also of a command line that means nothing."""
    asked = ("json", "jsonl")
    after = dict(zip(argv, argv[1:], strict=False))
    return "--json" in argv or after.get("-o") in asked or after.get("--output") in asked or any(
        word.removeprefix("--output=").removeprefix("-o").removeprefix("=") in asked for word in argv
        if word.startswith("-o") or word.startswith("--output="))


def run() -> None:
    """The program. Everything is written by now, and taking the interpreter apart would cost 2 ms."""
    try:
        code = main()
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    os._exit(code)


def _main(argv: list[str]) -> int:
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    arguments = parse(argv)
    if arguments.flag("help"):
        from gossipd.ctl.help import help_text

        if arguments.command is None and arguments.words:
            raise UsageError(unknown_command(arguments.words[0]))
        sys.stdout.write(help_text(arguments.command))
        return EXIT_OK
    if arguments.flag("version"):
        from gossipd import __version__

        sys.stdout.write(f"gossipctl {__version__}\n")
        return EXIT_OK
    return _run(arguments)


def _run(arguments: Arguments) -> int:
    command = arguments.command
    assert command is not None
    if command.module == "members":
        from gossipd.ctl.commands.members import run_members as run
    elif command.module == "cluster":
        from gossipd.ctl.commands.cluster import run_cluster as run
    elif command.module == "info":
        from gossipd.ctl.commands.info import run_info as run
    elif command.module == "discover":
        from gossipd.ctl.commands.discover import run_discover as run
    elif command.module == "events":
        from gossipd.ctl.commands.events import run_events as run
    elif command.module == "send":
        from gossipd.ctl.commands.send import run_send as run
    elif command.module == "query":
        from gossipd.ctl.commands.query import run_query as run
    elif command.module == "keys":
        from gossipd.ctl.commands.keys import run_keys as run
    elif command.module == "rtt":
        from gossipd.ctl.commands.rtt import run_rtt as run
    elif command.module == "completion":
        from gossipd.ctl.commands.completion import run_completion as run
    elif command.module == "migrate":
        from gossipd.ctl.commands.migrate import run_migrate as run
    elif command.module == "monitor":
        from gossipd.ctl.commands.monitor import run_monitor as run
    else:
        from gossipd.ctl.commands.tags import run_tags as run
    return run(arguments, lambda: connect(arguments))


def connect(arguments: Arguments) -> Client:
    """To the daemon that the options or the environment name. Raises ClientError or UsageError."""
    module = "" if arguments.command is None else arguments.command.module
    timeout_s = seconds(arguments.text("timeout"), TIMEOUT_CHANGE_S if module in CHANGING else TIMEOUT_S)
    if module == "query":       # its --timeout is the query's own; the calls around it are short ones
        timeout_s = min(max(timeout_s, TIMEOUT_QUERY_MIN_S), TIMEOUT_S)
    auth_key = arguments.text("rpc_auth") or os.environ.get("GOSSIPCTL_RPC_AUTH", "")
    return Client(_address(arguments), auth_key=auth_key, timeout_s=timeout_s)


def _address(arguments: Arguments) -> str | None:
    socket, address = arguments.text("rpc_socket"), arguments.text("rpc_addr")
    if socket and address:
        raise UsageError("--rpc-socket and --rpc-addr exclude each other", arguments.command)
    if socket:
        return socket if "/" in socket else "./" + socket
    address = address or os.environ.get("GOSSIPCTL_RPC", "")
    if not address:
        return None
    return address if "/" in address or _has_port(address) else f"{address}:{SERF_PORT}"


def _has_port(address: str) -> bool:
    return ":" in address.rpartition("]")[2]


def _silence_stdout() -> None:
    """The reader is gone: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
