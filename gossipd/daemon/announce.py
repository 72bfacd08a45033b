"""What happens in the cluster, told to the log: one line for each member and change."""

from __future__ import annotations

import logging

from gossipd.addresses import format_address, unpack_ip
from gossipd.events import MEMBER_FAILED, MEMBER_LEAVE, Event, MemberEvent, MemberInfo

EXPLAINED = (MEMBER_FAILED, MEMBER_LEAVE)
MEMBERS_MAX = 20    # lines of one event; the rest is a number

log = logging.getLogger("gossipd.cluster")


def announce(event: Event) -> None:
    """Failures are warnings, everything else is information."""
    if not isinstance(event, MemberEvent):
        return
    level = logging.WARNING if event.kind == MEMBER_FAILED else logging.INFO
    if not log.isEnabledFor(level):
        return
    for member in event.members[:MEMBERS_MAX]:
        why = f" why={member.reason!r}" if member.reason and event.kind in EXPLAINED else ""
        log.log(level, "%s name=%s address=%s%s", event.kind, printable(member.name), address_of(member), why)
    more = len(event.members) - MEMBERS_MAX
    if more > 0:
        log.log(level, "%s of %d more", event.kind, more)


def printable(name: str) -> str:
    """A name may hold anything, and a log line must stay one."""
    return name if name.isprintable() else ascii(name)


def address_of(member: MemberInfo) -> str:
    return format_address((unpack_ip(member.addr), member.port))
