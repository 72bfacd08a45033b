"""Serf's own messages (spec serf §2, §4): a type byte, then one msgpack map whose keys are sorted.

They travel as memberlist's user messages and in the user state of a push/pull. Decoders raise WireError for anything
that cannot be used; Lamport times from 2**63 on are never used (§18.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

from gossipd.errors import WireError
from gossipd.serf.lamport import LTIME_LIMIT
from gossipd.swim.config import META_BYTES_MAX
from gossipd.wire.codec import (
    ITEMS_MAX,
    NAME_MAX,
    pack,
    split_list,
    split_map,
    take_bool,
    take_bytes,
    take_map,
    take_name,
    take_str,
    take_uint,
    unpack_fields,
    unpack_front,
    unpack_map,
    unpack_plain,
)
from gossipd.wire.reasons import BAD_FIELD, BAD_TYPE, GARBAGE, TOO_LARGE

LEAVE = 0
JOIN = 1
PUSH_PULL = 2
USER_EVENT = 3
QUERY = 4
QUERY_RESPONSE = 5
CONFLICT_RESPONSE = 6
KEY_REQUEST = 7
KEY_RESPONSE = 8
RELAY = 9

ACK_FLAG = 1                        # in a response: it is an ack; in a query: acks are wanted
NO_BROADCAST_FLAG = 2               # in a query: do not pass it on

MESSAGE_BYTES_MAX = 64 * 1024       # gossip and direct messages must fit a packet
MESSAGES_CACHED = 1024              # decoded messages remembered, of each kind ...
CACHED_BYTES_MAX = 1400             # ... that fit a packet
EVENT_BYTES_MAX = 9216              # name and payload of a user event (§18.11)
FILTERS_MAX = 256                   # in one query, and names in one filter
KEYS_MAX = 1024                     # in a listing
SLOTS_MAX = 8192                    # of a peer's event ring, which is 512 in Serf; and events in one of them
EVENTS_BYTES_MAX = 8 * 1024 * 1024  # of all the events in one push/pull
EVENTS_MAX = 16384                  # in one push/pull; what is more is left out
MEMBERS_MAX = 65536                 # that one push/pull may speak about
NAMES_BYTES_MAX = 4 * 1024 * 1024   # of what it says about them
INT64_END = 1 << 63


@dataclass(slots=True)
class LeaveIntent:
    ltime: int
    node: str
    prune: bool = False


@dataclass(slots=True)
class JoinIntent:
    ltime: int
    node: str


@dataclass(slots=True)
class EventSlot:
    """User events of one Lamport time, as (name, payload)."""

    ltime: int
    events: list[tuple[str, bytes | None]]


@dataclass(slots=True)
class PushPullState:
    """The clocks are those of the sender: times that it has not used yet."""

    ltime: int
    status_ltimes: Mapping[str, int]
    left: list[str]
    event_ltime: int
    query_ltime: int
    events: list[EventSlot] = field(default_factory=list)


@dataclass(slots=True)
class UserEventMessage:
    ltime: int
    name: str
    payload: bytes | None
    coalesce: bool


@dataclass(slots=True)
class QueryMessage:
    ltime: int
    id: int
    addr: bytes
    port: int
    source_node: str
    name: str
    payload: bytes | None
    timeout_ns: int
    filters: list[bytes] | None = None
    flags: int = 0
    relay_factor: int = 0


@dataclass(slots=True)
class QueryResponse:
    """`no_answer`, of an ack: no answer will come from this node. gossipd's own: Serf skips it and never says so."""

    ltime: int
    id: int
    source: str
    flags: int = 0
    payload: bytes | None = None
    no_answer: bool = False

    @property
    def is_ack(self) -> bool:
        return bool(self.flags & ACK_FLAG)


@dataclass(slots=True)
class ConflictAnswer:
    """The member with the disputed name, as the answering node knows it."""

    name: str
    addr: bytes
    port: int
    tags: Mapping[str, str]
    status: int
    versions: bytes


@dataclass(slots=True)
class KeyResponse:
    result: bool
    message: str = ""
    keys: list[str] | None = None       # base64, primary first
    primary: str = ""


@dataclass(slots=True)
class Relay:
    addr: bytes
    port: int
    node: str
    message: bytes                      # to be passed on untouched, type byte first


UserMessage = LeaveIntent | JoinIntent | UserEventMessage | QueryMessage | QueryResponse | Relay


def decode(message: bytes) -> UserMessage:
    """A message that came by gossip or directly. Raises WireError."""
    if len(message) > MESSAGE_BYTES_MAX:
        raise WireError(TOO_LARGE, f"{len(message)} bytes of Serf message")
    decoder = _DECODERS.get(message[0]) if message else None
    if decoder is None:
        raise WireError(BAD_TYPE, f"Serf message type {message[:1].hex()}")
    return decoder(message[1:])


def encode_leave(intent: LeaveIntent) -> bytes:
    return b"\x00" + pack({"LTime": intent.ltime, "Node": intent.node, "Prune": intent.prune})


def encode_join(intent: JoinIntent) -> bytes:
    return b"\x01" + pack({"LTime": intent.ltime, "Node": intent.node})


def encode_push_pull(state: PushPullState) -> bytes:
    """Without the empty slots that Serf sends: receivers skip them."""
    return b"\x02" + pack({
        "EventLTime": state.event_ltime,
        "Events": [
            {"Events": [{"Name": name, "Payload": payload} for name, payload in slot.events], "LTime": slot.ltime}
            for slot in state.events
        ],
        "LTime": state.ltime,
        "LeftMembers": state.left,
        "QueryLTime": state.query_ltime,
        "StatusLTimes": state.status_ltimes,
    })


def encode_user_event(event: UserEventMessage) -> bytes:
    return b"\x03" + pack({"CC": event.coalesce, "LTime": event.ltime, "Name": event.name, "Payload": event.payload})


def encode_query(query: QueryMessage) -> bytes:
    return b"\x04" + pack({
        "Addr": query.addr,
        "Filters": query.filters,
        "Flags": query.flags,
        "ID": query.id,
        "LTime": query.ltime,
        "Name": query.name,
        "Payload": query.payload,
        "Port": query.port,
        "RelayFactor": query.relay_factor,
        "SourceNode": query.source_node,
        "Timeout": query.timeout_ns,
    })


def encode_response(response: QueryResponse) -> bytes:
    more = {"NoAnswer": True} if response.no_answer else {}
    return b"\x05" + pack({
        "Flags": response.flags,
        "From": response.source,
        "ID": response.id,
        "LTime": response.ltime,
        **more,
        "Payload": response.payload,
    })


def encode_conflict_answer(member: ConflictAnswer | None) -> bytes:
    if member is None:
        return b"\x06" + pack(None)
    protocol_min, protocol_max, protocol, delegate_min, delegate_max, delegate = member.versions
    return b"\x06" + pack({
        "Addr": member.addr,
        "DelegateCur": delegate,
        "DelegateMax": delegate_max,
        "DelegateMin": delegate_min,
        "Name": member.name,
        "Port": member.port,
        "ProtocolCur": protocol,
        "ProtocolMax": protocol_max,
        "ProtocolMin": protocol_min,
        "Status": member.status,
        "Tags": dict(member.tags),
    })


def encode_key_request(key: bytes) -> bytes:
    return b"\x07" + pack({"Key": key})


def encode_key_response(response: KeyResponse) -> bytes:
    return b"\x08" + pack({
        "Keys": response.keys,
        "Message": response.message,
        "PrimaryKey": response.primary,
        "Result": response.result,
    })


def encode_relay(relay: Relay) -> bytes:
    header = {"DestAddr": {"IP": relay.addr, "Port": relay.port, "Zone": ""}, "DestName": relay.node}
    return b"\x09" + pack(header) + relay.message


def _leave(body: bytes) -> LeaveIntent:
    fields = _fields(body)
    return LeaveIntent(_ltime(fields), take_name(fields, b"Node"), take_bool(fields, b"Prune"))


def _join(body: bytes) -> JoinIntent:
    fields = _fields(body)
    return JoinIntent(_ltime(fields), take_name(fields, b"Node"))


def decode_push_pull(state: bytes) -> PushPullState:
    """A peer's user state. Implausible clocks in it count as 0, implausible status times are left out."""
    if state[:1] != b"\x02":
        raise WireError(BAD_TYPE, f"user state {state[:1].hex()}")
    packed, _ = split_map(state[1:])    # field by field, so that each meets its own bounds before it is built
    clocks: dict[bytes, object] = {
        key: unpack_plain(packed[key]) for key in (b"LTime", b"EventLTime", b"QueryLTime") if key in packed
    }
    return PushPullState(
        ltime=_clock(clocks, b"LTime"),
        status_ltimes=_status_times(_part(packed, b"StatusLTimes", NAMES_BYTES_MAX)),
        left=_names(_part(packed, b"LeftMembers", NAMES_BYTES_MAX)),
        event_ltime=_clock(clocks, b"EventLTime"),
        query_ltime=_clock(clocks, b"QueryLTime"),
        events=_slots(_part(packed, b"Events", EVENTS_BYTES_MAX)),
    )


def _user_event(body: bytes) -> UserEventMessage:
    fields = _fields(body)
    ltime, payload = _ltime(fields), _payload(fields)
    if len(take_bytes(fields, b"Name")) + len(payload or b"") > EVENT_BYTES_MAX:
        raise WireError(TOO_LARGE, f"user event of {len(body)} bytes")
    return UserEventMessage(ltime, take_str(fields, b"Name"), payload, take_bool(fields, b"CC"))


def _query(body: bytes) -> QueryMessage:
    fields = _fields(body, FILTERS_MAX)
    filters = fields.get(b"Filters")
    return QueryMessage(
        ltime=_ltime(fields),
        id=take_uint(fields, b"ID"),
        addr=take_bytes(fields, b"Addr"),
        port=take_uint(fields, b"Port", 16),
        source_node=take_name(fields, b"SourceNode"),
        name=take_str(fields, b"Name"),
        payload=_payload(fields),
        timeout_ns=_take_int64(fields, b"Timeout"),
        filters=None if filters is None else [_binary(part) for part in _list(filters)],
        flags=take_uint(fields, b"Flags"),
        relay_factor=take_uint(fields, b"RelayFactor", 8),
    )


def _response(body: bytes) -> QueryResponse:
    fields = _fields(body)
    return QueryResponse(_ltime(fields), take_uint(fields, b"ID"), take_name(fields, b"From"),
                         take_uint(fields, b"Flags"), _payload(fields), take_bool(fields, b"NoAnswer"))


def decode_conflict_answer(payload: bytes) -> ConflictAnswer | None:
    """None: the answering node does not know the name."""
    if payload[:1] != b"\x06":
        raise WireError(BAD_TYPE, "no conflict answer")
    if payload[1:2] == b"\xc0":
        return None
    fields = _fields(payload[1:], META_BYTES_MAX)
    return ConflictAnswer(
        name=take_name(fields, b"Name"),
        addr=take_bytes(fields, b"Addr"),
        port=take_uint(fields, b"Port", 16),
        tags={_text(key): _text(value) for key, value in take_map(fields, b"Tags").items()},
        status=take_uint(fields, b"Status", 8),
        versions=bytes(take_uint(fields, key, 8) for key in _VERSION_KEYS),
    )


def decode_key_request(payload: bytes) -> bytes:
    """The raw key. The type byte is not looked at, as Serf does not."""
    if not payload:
        raise WireError(GARBAGE, "empty key request")
    return take_bytes(_fields(payload[1:]), b"Key")


def decode_key_response(payload: bytes) -> KeyResponse:
    if payload[:1] != b"\x08":
        raise WireError(BAD_TYPE, "no key response")
    fields = _fields(payload[1:], KEYS_MAX)
    keys = fields.get(b"Keys")
    return KeyResponse(
        result=take_bool(fields, b"Result"),
        message=take_str(fields, b"Message"),
        keys=None if keys is None else [_text(key) for key in _list(keys)],
        primary=take_str(fields, b"PrimaryKey"),
    )


def _relay(body: bytes) -> Relay:
    header, message = unpack_front(body)
    address = cast(dict[bytes, object], take_map(header, b"DestAddr"))
    return Relay(take_bytes(address, b"IP"), take_uint(address, b"Port", 16), take_name(header, b"DestName"), message)


def _remembering(decoder: Callable[[bytes], UserMessage]) -> Callable[[bytes], UserMessage]:
    """Gossip brings each message several times, and nobody changes a decoded one."""
    remembered = lru_cache(MESSAGES_CACHED)(decoder)
    return lambda body: remembered(body) if len(body) <= CACHED_BYTES_MAX else decoder(body)


_DECODERS: dict[int, Callable[[bytes], UserMessage]] = {
    LEAVE: _remembering(_leave),
    JOIN: _remembering(_join),
    USER_EVENT: _remembering(_user_event),
    QUERY: _query,
    QUERY_RESPONSE: _response,
    RELAY: _relay,
}
_NIL = b"\xc0"
_VERSION_KEYS = (b"ProtocolMin", b"ProtocolMax", b"ProtocolCur", b"DelegateMin", b"DelegateMax", b"DelegateCur")


def _fields(body: bytes, items_max: int = ITEMS_MAX) -> dict[bytes, object]:
    """A struct. Serf takes no arrays here, where memberlist does."""
    if body and (body[0] >> 4 == 0x9 or 0xDC <= body[0] <= 0xDD):
        raise WireError(GARBAGE, "an array instead of a map")
    return unpack_map(body, (), items_max)


def _part(packed: dict[bytes, bytes], key: bytes, bytes_max: int) -> bytes:
    """A field that may be large, still packed: built at once, nested arrays could take a hundred times its size."""
    part = packed.get(key, _NIL)
    if len(part) > bytes_max:
        raise WireError(TOO_LARGE, f"{key.decode()} of {len(part)} bytes")
    return part


def _ltime(fields: dict[bytes, object]) -> int:
    ltime = take_uint(fields, b"LTime", 64)
    if ltime >= LTIME_LIMIT:
        raise WireError(BAD_FIELD, f"LTime {ltime}")
    return ltime


def _clock(fields: dict[bytes, object], key: bytes) -> int:
    time = take_uint(fields, key, 64)
    return time if time < LTIME_LIMIT else 0


def _take_int64(fields: dict[bytes, object], key: bytes) -> int:
    value = fields.get(key)
    if value is None:
        return 0
    if type(value) is not int or not -INT64_END <= value < INT64_END:
        raise WireError(BAD_FIELD, f"{key.decode()} {type(value).__name__}")
    return value


def _payload(fields: dict[bytes, object]) -> bytes | None:
    return None if fields.get(b"Payload") is None else take_bytes(fields, b"Payload")


def _status_times(part: bytes) -> dict[str, int]:
    packed, _ = split_map(part, items_max=MEMBERS_MAX)
    times: dict[str, int] = {}
    for key, value in packed.items():
        ltime = unpack_plain(value)
        if type(ltime) is not int or ltime < 0:
            raise WireError(BAD_FIELD, "status time")
        if ltime < LTIME_LIMIT and len(key) <= NAME_MAX:
            times[_text(key)] = ltime
    return times


def _names(part: bytes) -> list[str]:
    names = [_binary(unpack_plain(name)) for name in split_list(part, MEMBERS_MAX)]
    return [_text(name) for name in names if len(name) <= NAME_MAX]


def _slots(part: bytes) -> list[EventSlot]:
    """The event ring, without its empty slots and what is more than EVENTS_MAX events."""
    slots: list[EventSlot] = []
    room = EVENTS_MAX
    for packed in split_list(part, SLOTS_MAX):
        if packed != _NIL and room > 0:
            slots.append(_slot(packed, room))
            room -= len(slots[-1].events)
    return slots


def _slot(packed: bytes, events_max: int) -> EventSlot:
    fields, _ = split_map(packed)
    events = [unpack_fields(event, (b"Name", b"Payload"))
              for event in split_list(fields.get(b"Events", _NIL), EVENTS_MAX)[:events_max]]
    ltime = take_uint({b"LTime": unpack_plain(fields.get(b"LTime", _NIL))}, b"LTime", 64)
    return EventSlot(ltime, [(take_str(event, b"Name"), _payload(event)) for event in events])


def _list(value: object) -> list[object]:
    if value is None:
        return []
    if type(value) is not list:
        raise WireError(BAD_FIELD, f"{type(value).__name__} instead of a list")
    return value


def _text(value: object) -> str:
    return _binary(value).decode("utf-8", "surrogateescape")


def _binary(value: object) -> bytes:
    if value is None:
        return b""
    if type(value) is not bytes:
        raise WireError(BAD_FIELD, f"{type(value).__name__} instead of text")
    return value
