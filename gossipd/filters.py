"""Which events someone wants to hear of: Serf's filter lists, as streams and handlers write them (spec rpc §7)."""

from __future__ import annotations

from gossipd.errors import CommandError
from gossipd.events import (
    MEMBER_FAILED,
    MEMBER_JOIN,
    MEMBER_LEAVE,
    MEMBER_REAP,
    MEMBER_UPDATE,
    Event,
    MemberEvent,
    UserEvent,
)

ANY = "*"
USER = "user"
QUERY = "query"
KINDS = (ANY, MEMBER_JOIN, MEMBER_LEAVE, MEMBER_FAILED, MEMBER_UPDATE, MEMBER_REAP, USER, QUERY)

FILTERS_MAX = 256       # different ones in one list; Serf takes any number

EventFilter = tuple[str, str]
"""Kind and name. The name, of a user event or query, is "" for any."""


def parse_filters(words: str) -> tuple[EventFilter, ...]:
    """`member-join,user:deploy` and the like; "" means everything. Raises CommandError with Serf's text."""
    filters = tuple(dict.fromkeys(parse_filter(word) for word in (words or ANY).split(",")))
    if len(filters) > FILTERS_MAX:
        raise CommandError(f"More than {FILTERS_MAX} event filters")
    return filters


def parse_filter(word: str) -> EventFilter:
    """One word of such a list. Raises CommandError with Serf's text."""
    kind, colon, name = word.partition(":")
    if kind not in KINDS or (colon and kind not in (USER, QUERY)):
        raise CommandError("Invalid event filter")
    return kind, name


def kind_and_name(event: Event) -> EventFilter:
    """What a filter looks at. The name of member events is ""."""
    if isinstance(event, MemberEvent):
        return event.kind, ""
    return (USER if isinstance(event, UserEvent) else QUERY), event.name


def wanted(filters: tuple[EventFilter, ...], event: Event) -> bool:
    if filters[0][0] == ANY:
        return True         # the common case
    kind, name = kind_and_name(event)
    for k, n in filters:        # a generator would take twice as long, and events go to many
        if k == ANY or (k == kind and (not n or n == name)):
            return True
    return False
