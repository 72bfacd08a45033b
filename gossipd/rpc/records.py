"""Members and events as Serf's clients read them (spec rpc §6, §7). Struct keys are sorted, as Serf sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gossipd.addresses import plain_ip
from gossipd.commands import KeyOutcome, QueryAnswer, QueryOutcome
from gossipd.events import Event, MemberEvent, MemberInfo, QueryEvent, UserEvent
from gossipd.rpc.backend import Coordinate
from gossipd.rpc.codec import encode, response

SUSPECT = "suspect"
SEQS_KEPT = 128         # clients count from 0 or 1; larger numbers are not worth the memory


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


def query_body(event: QueryEvent, connection_id: int, own_view: bool = False) -> bytes:
    """`connection_id` is what the client answers with: queries are numbered anew on each connection.

    gossipd's own view has also Query, the number that is good on every connection, and Source, who asks.
    """
    record = {
        "Event": "query",
        "ID": connection_id,
        "LTime": event.ltime,
        "Name": event.name,
        "Payload": event.payload,
    }
    return encode(record | {"Query": event.id, "Source": event.source} if own_view else record)


def answer_body(answer: QueryAnswer) -> bytes:
    """A record of a query that runs."""
    kind = "ack" if answer.ack else "response"
    return encode({"From": answer.source, "Payload": None if answer.ack else answer.payload, "Type": kind})


def done_body(outcome: QueryOutcome | None) -> bytes:
    """The last record of a query; `outcome` for gossipd's own view: names, in order of arrival."""
    if outcome is None:
        return encode({"From": "", "Payload": None, "Type": "done"})
    return encode({
        "Acked": outcome.acked,
        "Answered": outcome.answered,
        "From": "",
        "Payload": None,
        "Silent": outcome.silent,
        "Type": "done",
    })


def keys_body(outcome: KeyOutcome, listing: bool, own_view: bool) -> bytes:
    """gossipd's own view has also Done and Silent, names, and Primaries: on how many nodes a key is the primary one."""
    record = {
        "Keys": outcome.keys if listing else None,
        "Messages": outcome.messages,
        "NumErr": outcome.errors,
        "NumNodes": outcome.nodes,
        "NumResp": outcome.responses,
    }
    more = {"Done": outcome.done, "Primaries": outcome.primaries, "Silent": outcome.silent}
    return encode(record | more if own_view else record)


def coordinate_body(coordinate: Coordinate | None) -> bytes:
    if coordinate is None:
        return encode({"Coord": {"Adjustment": 0.0, "Error": 0.0, "Height": 0.0, "Vec": None}, "Ok": False})
    return encode({
        "Coord": {
            "Adjustment": coordinate.adjustment,
            "Error": coordinate.error,
            "Height": coordinate.height,
            "Vec": list(coordinate.vec),
        },
        "Ok": True,
    })


def log_body(line: str) -> bytes:
    return encode({"Log": line})


class Encodings:
    """Bytes that many clients get alike, encoded once. All sessions of a daemon share one."""

    __slots__ = ("_members", "_members_version", "_event", "_event_body", "_event_records")

    def __init__(self) -> None:
        self._members = b""
        self._members_version: int | None = None
        self._event: Event | None = None
        self._event_body = b""
        self._event_records: dict[int, bytes] = {}

    def members(self, version: int, members: Callable[[], list[MemberInfo]]) -> bytes:
        """The body of `members`. Asks and encodes only when `version` is another than last time."""
        if version != self._members_version:
            self._members = members_body(members())
            self._members_version = version
        return self._members

    def event(self, event: MemberEvent | UserEvent, seq: int) -> bytes:
        """A stream's record, with its header. The same event object comes to one session after the other."""
        if event is not self._event:
            self._event, self._event_body = event, event_body(event)
            self._event_records = {}
        record = self._event_records.get(seq)
        if record is None:
            record = response(seq, "", self._event_body)
            if seq < SEQS_KEPT:
                self._event_records[seq] = record
        return record
