"""What happens in the cluster, told to the log: one line for each member and change."""

from __future__ import annotations

import logging

from gossipd.addresses import format_address, unpack_ip
from gossipd.events import MEMBER_FAILED, MEMBER_LEAVE, Event, MemberEvent, MemberInfo

EXPLAINED = (MEMBER_FAILED, MEMBER_LEAVE)
FAILURES_MAX = 20   # lines of one event about failures ...
LINES_MAX = 3       # ... or about anything else; the rest is one line, with some of the names
NAMES_MAX = 20

log = logging.getLogger("gossipd.cluster")


def announce(event: Event) -> None:
    """Failures are warnings, everything else is information."""
    if not isinstance(event, MemberEvent):
        return
    level = logging.WARNING if event.kind == MEMBER_FAILED else logging.INFO
    if not log.isEnabledFor(level):
        return
    shown = FAILURES_MAX if event.kind == MEMBER_FAILED else LINES_MAX
    for member in event.members[:shown]:
        why = f" why={member.reason!r}" if member.reason and event.kind in EXPLAINED else ""
        log.log(level, "%s name=%s address=%s%s", event.kind, printable(member.name), address_of(member), why)
    if more := event.members[shown:]:
        names = ",".join(printable(member.name) for member in more[:NAMES_MAX])
        log.log(level, "%s of %d more names=%s", event.kind, len(more), names)


def printable(name: str) -> str:
    """A name may hold anything, and a log line must stay one."""
    return name if name.isprintable() else ascii(name)


def address_of(member: MemberInfo) -> str:
    return format_address((unpack_ip(member.addr), member.port))
