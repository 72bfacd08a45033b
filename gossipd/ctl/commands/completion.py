"""gossipctl completion: scripts for shells, and the names that these ask for."""

from __future__ import annotations

import sys

from gossipd.client import Client
from gossipd.ctl.arguments import Arguments, UsageError
from gossipd.ctl.output import EXIT_OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = "members"
PATIENCE_S = 1.5            # of somebody who pressed the Tab key


def run_completion(arguments: Arguments, connect: Callable[[], Client]) -> int:
    command, words = arguments.command, arguments.words
    assert command is not None
    if words == [NAMES]:
        _end_soon()
        with connect() as client:
            sys.stdout.write("".join(f"{member.name}\n" for member in client.members() if _can_type(member.name)))
        return EXIT_OK
    from gossipd.ctl.completion import script

    for word, known in zip(words, command.words, strict=False):
        if word not in known:
            raise UsageError(f"completion: {word!r} is not one of {', '.join(known)}", command)
    sys.stdout.write(script(*words))
    return EXIT_OK


def _can_type(name: str) -> bool:
    """Quotes are all it needs: neither other bytes, nor a -- before it; and fish leaves ~ unquoted."""
    return name.isprintable() and name[:1] not in ("", "-", "~")


def _end_soon() -> None:
    """Whatever we wait for, a host name or a daemon that hangs: the system ends us."""
    import signal

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
