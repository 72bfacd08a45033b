"""gossipctl event, respond."""

from __future__ import annotations

import sys

from gossipd.client import Client
from gossipd.ctl.arguments import Arguments, UsageError
from gossipd.ctl.output import EXIT_OK, printable
from gossipd.ctl.payload import payload_argument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER_MAX = (1 << 64) - 1


def run_send(arguments: Arguments, connect: Callable[[], Client]) -> int:
    assert arguments.command is not None
    return (_event if arguments.command.name == "event" else _respond)(arguments, connect)


def _event(arguments: Arguments, connect: Callable[[], Client]) -> int:
    if arguments.flag("coalesce") and arguments.flag("no_coalesce"):
        raise UsageError("--coalesce and --no-coalesce exclude each other", arguments.command)
    name, payload = arguments.words[0], payload_argument(arguments)
    with connect() as client:
        client.send_event(name, payload, coalesce=not arguments.flag("no_coalesce"))
    sys.stdout.write(f"event '{printable(name)}' sent\n")
    return EXIT_OK


def _respond(arguments: Arguments, connect: Callable[[], Client]) -> int:
    word = arguments.words[0]
    if not (word.isascii() and word.isdigit() and 0 < int(word) <= NUMBER_MAX):
        raise UsageError(f"{word!r} is not the number of a query", arguments.command)
    payload = payload_argument(arguments)
    with connect() as client:
        client.answer_query(int(word), payload)
    return EXIT_OK
