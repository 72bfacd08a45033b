"""gossipctl events."""

from __future__ import annotations

import sys
from time import localtime, strftime, time

from gossipd.client import Client, ClientError, ConnectionLost, Event
from gossipd.ctl.arguments import Arguments, UsageError, whole_number
from gossipd.ctl.commands.members import member_json
from gossipd.ctl.jsontext import json_line
from gossipd.ctl.output import (
    EXIT_OK,
    EXIT_UNREACHABLE,
    GREEN,
    RED,
    YELLOW,
    colored,
    colors_wanted,
    fail,
    printable,
    rfc3339,
)
from gossipd.ctl.payload import payload_json, payload_lines
from gossipd.ctl.reader import EndWithReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

COLORS = {"member-join": GREEN, "member-failed": RED, "member-leave": YELLOW, "member-reap": YELLOW}
COUNT_MAX = 1 << 62
KIND_WIDTH = len("member-failed")


def run_events(arguments: Arguments, connect: Callable[[], Client]) -> int:
    left = _count(arguments)
    write_json = wants_json(arguments)
    paint = colors_wanted()
    with connect() as client, EndWithReader():
        try:
            for event in _subscribe(client, arguments):
                sys.stdout.write(json_line(event_json(event)) if write_json else _text(event, paint))
                sys.stdout.flush()
                left -= 1
                if left == 0:
                    break
        except KeyboardInterrupt:
            pass
        except ConnectionLost as error:
            return fail(EXIT_UNREACHABLE, str(error), write_json)
    return EXIT_OK


def wants_json(arguments: Arguments) -> bool:
    return arguments.flag("json") or arguments.text("output") == "jsonl"


def _count(arguments: Arguments) -> int:
    text = arguments.text("count")
    count = whole_number(text, COUNT_MAX) if text else -1
    if text and count < 1:
        raise UsageError(f"option --count: {text!r} is not a number above 0", arguments.command)
    return count


def _subscribe(client: Client, arguments: Arguments):    # type: ignore[no-untyped-def]
    kinds = arguments.texts("type")
    # Who sees the numbers of the queries that he wants to see may use `respond`; nobody waits for others.
    answers = wants_json(arguments) and any(kind.partition(":")[0] == "query" for kind in kinds)
    try:
        return client.events(*kinds, watch=not answers)
    except ClientError as error:
        if str(error) == "Invalid event filter":
            raise UsageError(f"option --type: {', '.join(kinds)}: no such event", arguments.command) from None
        raise


def _text(event: Event, paint: bool) -> str:
    kind = printable(event.kind).ljust(KIND_WIDTH)
    if paint and event.kind in COLORS:
        kind = colored(kind, COLORS[event.kind])
    moment = strftime("%H:%M:%S", localtime(time()))
    if event.members:
        return "".join(f"{moment}  {kind}  {printable(m.name)}  {m.address}\n" for m in event.members)
    payload = "\\n".join(payload_lines(event.payload))
    return f"{moment}  {kind}  {printable(event.name)}  {payload}".rstrip() + "\n"


def event_json(event: Event) -> dict[str, object]:
    """docs/json.md says what these mean; keys are only ever added."""
    record: dict[str, object] = {"time": rfc3339(time()), "event": event.kind}
    if event.kind.startswith("member-"):
        return record | {"members": [member_json(member) for member in event.members]}
    record |= {"name": event.name, **payload_json(event.payload), "ltime": event.ltime}
    if event.kind == "user":
        return record | {"coalesce": event.coalesce}
    return record | {"id": event.id, "query": event.query, "source": event.source}
