"""gossipctl monitor."""

from __future__ import annotations

import sys

from gossipd.client import Client, ConnectionLost
from gossipd.ctl.arguments import Arguments
from gossipd.ctl.output import EXIT_OK, EXIT_UNREACHABLE, complain, printable
from gossipd.ctl.reader import EndWithReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SERF_WORDS = {"warning": "warn", "error": "err"}


def run_monitor(arguments: Arguments, connect: Callable[[], Client]) -> int:
    level = arguments.text("level") or "info"
    with connect() as client, EndWithReader():
        try:
            for line in client.logs(SERF_WORDS.get(level, level)):
                sys.stdout.write("\n".join(map(printable, line.split("\n"))) + "\n")
                sys.stdout.flush()
        except KeyboardInterrupt:
            pass
        except ConnectionLost as error:
            complain(str(error))
            return EXIT_UNREACHABLE
    return EXIT_OK
