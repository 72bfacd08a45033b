"""gossipctl completion. Needs no daemon."""

from __future__ import annotations

import sys

from gossipd.client import Client
from gossipd.ctl.arguments import Arguments, UsageError
from gossipd.ctl.completion import actions, script
from gossipd.ctl.output import EXIT_OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run_completion(arguments: Arguments, connect: Callable[[], Client]) -> int:
    command, shell = arguments.command, arguments.words[0]
    assert command is not None
    if shell not in actions(command):
        raise UsageError(f"completion: {shell!r} is not one of {', '.join(actions(command))}", command)
    sys.stdout.write(script(shell))
    return EXIT_OK
