"""Members and events as Serf's clients read them (spec rpc §6, §7). Struct keys are sorted, as Serf sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gossipd.addresses import plain_ip
from gossipd.events import Event, MemberEvent, MemberInfo, QueryEvent, UserEvent
from gossipd.rpc.codec import encode

SUSPECT = "suspect"


def member_record(member: MemberInfo) -> dict[str, Any]:
    versions = member.versions
    return {
        "Addr": plain_ip(member.addr),
        "DelegateCur": versions[5],
        "DelegateMax": versions[4],
        "DelegateMin": versions[3],
        "Name": member.name,
        "Port": member.port,
        "ProtocolCur": versions[2],
        "ProtocolMax": versions[1],
        "ProtocolMin": versions[0],
        "Status": member.status,
        "Tags": member.tags,
    }


def full_member_record(member: MemberInfo, wall: Callable[[float], float]) -> dict[str, Any]:
    """gossipd's own view: what Serf sends and, behind it, what only gossipd knows.

    Incarnation; RTT in seconds or nil; Reason, text; Since, unix seconds of the last change; State, SWIM's word.
    """
    return member_record(member) | {
        "Incarnation": member.incarnation,
        "RTT": member.rtt_s,
        "Reason": member.reason,
        "Since": wall(member.changed),
        "State": member.state,
    }


def members_body(members: Iterable[MemberInfo]) -> bytes:
    return encode({"Members": [member_record(member) for member in members]})


def full_members_body(members: Iterable[MemberInfo], wall: Callable[[float], float]) -> bytes:
    return encode({"Members": [full_member_record(member, wall) for member in members]})


def event_body(event: MemberEvent | UserEvent) -> bytes:
    if isinstance(event, MemberEvent):
        return encode({"Event": event.kind, "Members": [member_record(member) for member in event.members]})
    return encode({
        "Coalesce": event.coalesce,
        "Event": "user",
        "LTime": event.ltime,
        "Name": event.name,
        "Payload": event.payload,
    })


def query_body(event: QueryEvent, connection_id: int) -> bytes:
    """`connection_id` is what the client answers with: queries are numbered anew on each connection."""
    return encode({
        "Event": "query",
        "ID": connection_id,
        "LTime": event.ltime,
        "Name": event.name,
        "Payload": event.payload,
    })


class Encodings:
    """Bytes that many clients get alike, encoded once. All sessions of a daemon share one."""

    __slots__ = ("_members", "_members_version", "_event", "_event_body")

    def __init__(self) -> None:
        self._members = b""
        self._members_version: int | None = None
        self._event: Event | None = None
        self._event_body = b""

    def members(self, version: int, members: Callable[[], list[MemberInfo]]) -> bytes:
        """The body of `members`. Asks and encodes only when `version` is another than last time."""
        if version != self._members_version:
            self._members = members_body(members())
            self._members_version = version
        return self._members

    def event(self, event: MemberEvent | UserEvent) -> bytes:
        """The body of a stream record. The same event object comes to one session after the other."""
        if event is not self._event:
            self._event, self._event_body = event, event_body(event)
        return self._event_body
