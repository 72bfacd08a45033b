"""gossipctl members."""

from __future__ import annotations

import sys

from gossipd.client import Client, ClientError, ConnectionLost, Member
from gossipd.ctl.arguments import Arguments
from gossipd.ctl.jsontext import json_line, json_text
from gossipd.ctl.output import EXIT_NOTHING, EXIT_OK, age, complain, printable, rfc3339, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run_members(arguments: Arguments, connect: Callable[[], Client]) -> int:
    status, name = arguments.text("status"), arguments.text("name")
    tags = arguments.tag_filters()
    with connect() as client:
        try:
            members = client.members(status=status, name=name, tags=tags)
        except ConnectionLost:
            _find_bad_expression([status, name, *tags.values()])
            raise
    format = arguments.text("output")
    if members or format == "json":
        _write(members, format)
    if not members:
        complain("no member matches")
        return EXIT_NOTHING
    return EXIT_OK


def _find_bad_expression(expressions: list[str]) -> None:
    """A daemon answers a bad expression by hanging up: say which one it was. Raises ClientError."""
    from gossipd.regex import Regex
    from gossipd.regexparser import RegexError

    for expression in filter(None, expressions):
        try:
            Regex(f"^{expression}$")
        except RegexError as error:
            raise ClientError(f"expression {expression!r}: {error}") from None


def _write(members: list[Member], format: str) -> None:
    if format == "json":
        text = json_text({"members": [member_json(member) for member in members]})
    elif format == "jsonl":
        text = "".join(json_line(member_json(member)) for member in members)
    elif format == "name":
        text = "".join(printable(member.name) + "\n" for member in members)
    elif format == "wide":
        text = _wide(members)
    else:
        heading = ["NAME", "ADDRESS", "STATUS", "TAGS"]
        text = table(heading, [[*_first_cells(member), tags_text(member.tags)] for member in members], 2)
    sys.stdout.write(text)


def _wide(members: list[Member]) -> str:
    from time import time

    now = time()
    heading = ["NAME", "ADDRESS", "STATUS", "SINCE", "INCARNATION", "RTT", "PROTOCOL", "TAGS", "REASON"]
    return table(heading, [[*_first_cells(member), *_wide_cells(member, now)] for member in members], 2)


def _first_cells(member: Member) -> list[str]:
    return [printable(member.name), member.address, printable(member.shown_status)]


def _wide_cells(member: Member, now: float) -> list[str]:
    return [
        "-" if member.since is None else age(now - member.since),
        "-" if member.incarnation is None else str(member.incarnation),
        "-" if member.rtt_s is None else f"{member.rtt_s * 1000:.1f}ms",
        str(member.protocol[2]),
        tags_text(member.tags) or "-",
        printable(member.reason or "-"),
    ]


def tags_text(tags: dict[str, str]) -> str:
    return printable(",".join(f"{key}={tags[key]}" for key in sorted(tags)))


def member_json(member: Member) -> dict[str, object]:
    """docs/json.md says what these mean; keys are only ever added."""
    lowest, highest, spoken = member.protocol
    return {
        "name": member.name,
        "host": member.host,
        "port": member.port,
        "address": member.address,
        "status": member.status,
        "tags": dict(sorted(member.tags.items())),
        "protocol": {"min": lowest, "max": highest, "version": spoken},
        "state": member.state,
        "since": None if member.since is None else rfc3339(member.since),
        "reason": member.reason,
        "incarnation": member.incarnation,
        "rtt_ms": None if member.rtt_s is None else round(member.rtt_s * 1000, 3),
    }
