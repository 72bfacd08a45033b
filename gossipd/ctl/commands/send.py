"""gossipctl event, respond."""

from __future__ import annotations

import sys

from gossipd.client import Client, ClientError
from gossipd.ctl.arguments import Arguments, UsageError, whole_number
from gossipd.ctl.output import EXIT_OK, printable, result
from gossipd.ctl.payload import payload_argument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER_MAX = (1 << 64) - 1
UNKNOWN_TO_SERF = "No pending queries matching ID"      # gossipd knows the number, or says what became of the query


def run_send(arguments: Arguments, connect: Callable[[], Client]) -> int:
    assert arguments.command is not None
    return (_event if arguments.command.name == "event" else _respond)(arguments, connect)


def _event(arguments: Arguments, connect: Callable[[], Client]) -> int:
    if arguments.flag("coalesce") and arguments.flag("no_coalesce"):
        raise UsageError("--coalesce and --no-coalesce exclude each other", arguments.command)
    name, payload = arguments.words[0], payload_argument(arguments)
    with connect() as client:
        client.send_event(name, payload, coalesce=not arguments.flag("no_coalesce"))
    sys.stdout.write(result(arguments.text("output") == "json", {"name": name}, f"event '{printable(name)}' sent"))
    return EXIT_OK


def _respond(arguments: Arguments, connect: Callable[[], Client]) -> int:
    query = whole_number(arguments.words[0], NUMBER_MAX)
    if query < 1:
        raise UsageError(f"{arguments.words[0]!r} is not the number of a query", arguments.command)
    payload = payload_argument(arguments)
    with connect() as client:
        try:
            client.answer_query(query, payload)
        except ClientError as error:
            if str(error) == UNKNOWN_TO_SERF:
                raise ClientError("a Serf agent takes answers only from who got the query on the same connection, "
                                  "such as a program that uses gossipd.client") from None
            raise
    if arguments.text("output") == "json":
        sys.stdout.write(result(True, {"query": query}, ""))
    return EXIT_OK
