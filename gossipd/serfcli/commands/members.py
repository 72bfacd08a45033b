"""serf members"""

from __future__ import annotations

from gossipd.client import ClientError, Member
from gossipd.serfcli.dial import NotConnected, SerfClient, reason
from gossipd.serfcli.flags import Flags, split_pair
from gossipd.serfcli.output import EXIT_OK, Failed, say
from gossipd.serfcli.text import columns, go_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DEPRECATED_ROLE = "Deprecation warning: 'Role' has been replaced with 'Tags'"


def run_members(flags: Flags, connect: Callable[[], SerfClient]) -> int:
    role = {"role": flags.text("role")} if flags.text("role") else {}
    if role:
        say(DEPRECATED_ROLE)
    tags = tag_expressions(flags) | role
    try:
        with connect() as client:
            members = client.members(status=flags.text("status"), name=flags.text("name"), tags=tags)
    except NotConnected:
        raise
    except ClientError as error:
        raise Failed(f"Error retrieving members: {reason(error)}") from None
    if wants_json(flags):
        say(go_json({"members": [_record(member) for member in members] or None}))
    else:
        say(columns([_line(member, flags.switch("detailed")) for member in members]))
    return EXIT_OK


def tag_expressions(flags: Flags) -> dict[str, str]:
    """Of -tag KEY=REGEX. Raises Failed."""
    return pairs(flags.texts("tag"))


def pairs(texts: list[str]) -> dict[str, str]:
    """Raises Failed."""
    found = {}
    for text in texts:
        pair = split_pair(text)
        if pair is None:
            raise Failed(f"Error: Invalid tag: '{text}'")
        found[pair[0]] = pair[1]
    return found


def wants_json(flags: Flags) -> bool:
    """Of commands that look at -format when they have the answer. Raises Failed."""
    format = flags.given.get("format", "text")
    if format not in ("text", "json"):
        raise Failed(f'Encoding error: Invalid output format "{format}"')
    return format == "json"


def _line(member: Member, detailed: bool) -> str:
    tags = ",".join(f"{key}={member.tags[key]}" for key in sorted(member.tags))
    cells = [member.name, member.address, member.status, tags]
    if detailed:
        lowest, highest, spoken = member.protocol
        cells += [f"Protocol Version: {spoken}", f"Available Protocol Range: [{lowest}, {highest}]"]
    return "|".join(cells)


def _record(member: Member) -> dict[str, object]:
    lowest, highest, spoken = member.protocol
    return {
        "name": member.name, "addr": member.address, "port": member.port, "tags": dict(sorted(member.tags.items())),
        "status": member.status, "protocol": {"max": highest, "min": lowest, "version": spoken},
    }
