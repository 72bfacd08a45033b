"""Messages <-> MessagePack maps, in the dialect that memberlist speaks (spec memberlist §3, §4).

What we write is byte for byte what the reference writes. What we read is wider: structs as arrays in declaration
order, nil for anything, unknown keys with any value, every width of every length. Whatever else is one WireError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from sys import intern

from msgpack import ExtraData, OutOfData, Packer, StackError, Unpacker, unpackb

from gossipd.errors import WireError
from gossipd.wire.messages import (
    ACK,
    ALIVE,
    DEAD,
    INDIRECT_PING,
    NACK,
    PING,
    SUSPECT,
    USER,
    Ack,
    Alive,
    Dead,
    Err,
    IndirectPing,
    Message,
    Nack,
    Ping,
    Suspect,
    User,
)
from gossipd.wire.reasons import BAD_FIELD, BAD_TYPE, GARBAGE, TOO_DEEP, TOO_LARGE, TRUNCATED

U32_MAX = 0xFFFFFFFF
ITEMS_MAX = 64          # of any array or map in a message; the largest struct has 8 fields
FIELDS_MAX = 4096       # of one struct, known to us or not
NAME_MAX = 512          # bytes; the reference takes any (spec §20 H4)
META_MAX = 512          # bytes; memberlist's MetaMaxSize, which it checks on sending only
VSN_LENGTH = 6
REFUSED_MAX = 16        # names in our own "Refused"; more are not looked at
WHY_MAX = 256           # bytes of our own "Why"
_CACHED_BYTES_MAX = 2048    # an alive message longer than this is no real one and stays out of the cache
_CACHED_ALIVES = 4096

_PING_ORDER = (b"SeqNo", b"Node", b"SourceAddr", b"SourcePort", b"SourceNode")
_INDIRECT_ORDER = (b"SeqNo", b"Target", b"Port", b"Node", b"Nack", b"SourceAddr", b"SourcePort", b"SourceNode")
_ACK_ORDER = (b"SeqNo", b"Payload")
_NACK_ORDER = (b"SeqNo",)
_ERR_ORDER = (b"Error",)
_ACCUSATION_ORDER = (b"Incarnation", b"Node", b"From")
_ALIVE_ORDER = (b"Incarnation", b"Node", b"Addr", b"Port", b"Meta", b"Vsn")

pack: Callable[[object], bytes] = Packer(use_bin_type=False, unicode_errors="surrogateescape").pack
"""One object as the reference writes it: old raw family for str and bytes, shortest integers, map order kept."""


# Reading maps

class _Unusable:
    """Stands for a value that Python cannot hold (a map with a list as a key). Only a field that is asked for minds."""


_UNUSABLE = _Unusable()


def unpack_map(body: bytes, order: tuple[bytes, ...] = (), items_max: int = ITEMS_MAX) -> dict[bytes, object]:
    """The fields of one struct; `order` names them for peers that send it as an array. Trailing bytes are ignored.

    A value that holds an array or map longer than `items_max` is refused when it is asked for. Raises WireError.
    """
    try:
        value = unpackb(body, raw=True, strict_map_key=False, max_array_len=items_max, max_map_len=items_max)
    except ExtraData as error:
        value = error.unpacked
    except Exception:       # msgpack raises ValueError, TypeError, its own and others (spec §3.2)
        return _unpack_slowly(body, order, items_max)[0]
    return value if type(value) is dict else as_fields(value, order)


def unpack_fields(body: bytes, order: tuple[bytes, ...]) -> dict[bytes, object]:
    """Like `unpack_map` for a large struct of plain fields: only those named in `order` are built, and no arrays or
    maps in them, which could take a hundred times the memory that they had on the wire. Raises WireError."""
    values, _ = split_map(body, order)
    return {key: unpack_plain(values[key]) for key in order if key in values}


def unpack_plain(packed: bytes) -> object:
    """One value that is no array and no map; for those a stand-in that every `take_*` refuses."""
    return _unpack_value(packed, 0)


def unpack_front(
    body: bytes, order: tuple[bytes, ...] = (), items_max: int = ITEMS_MAX
) -> tuple[dict[bytes, object], bytes]:
    """Like `unpack_map`, with the bytes that follow the struct. Raises WireError."""
    try:
        value = unpackb(body, raw=True, strict_map_key=False, max_array_len=items_max, max_map_len=items_max)
        rest = b""
    except ExtraData as error:
        value, rest = error.unpacked, error.extra
    except Exception:
        return _unpack_slowly(body, order, items_max)
    return as_fields(value, order), rest


def as_fields(value: object, order: tuple[bytes, ...]) -> dict[bytes, object]:
    """A decoded struct, whichever of the three shapes it came in: map, array or nil. Raises WireError."""
    if type(value) is dict:
        return value
    if type(value) is list:
        return dict(zip(order, value, strict=False))
    if value is None:
        return {}
    raise WireError(GARBAGE, f"{type(value).__name__} instead of a map")


def split_map(
    body: bytes, order: tuple[bytes, ...] = (), items_max: int = FIELDS_MAX
) -> tuple[dict[bytes, bytes], bytes]:
    """Like `unpack_front`, with every value still packed: nothing is built, so nothing can be built too large."""
    unpacker = _unpacker(body)
    values: dict[bytes, bytes] = {}
    try:
        if body[:1] == b"\xc0":
            unpacker.skip()
        elif body and (0x90 <= body[0] <= 0x9F or 0xDC <= body[0] <= 0xDD):
            if not order:
                raise WireError(GARBAGE, "an array instead of a map")
            keys = iter(order)
            for _ in range(_at_most(items_max, unpacker.read_array_header())):
                values[next(keys, b"")] = _skip(unpacker, body)
        else:
            for _ in range(_at_most(items_max, unpacker.read_map_header())):
                key = unpacker.unpack()
                if type(key) is not bytes:
                    raise WireError(GARBAGE, "a map key that is no string")
                values[key] = _skip(unpacker, body)
    except Exception as error:
        raise translate(error) from None
    return values, body[unpacker.tell():]


def split_list(body: bytes, items_max: int) -> list[bytes]:
    """The elements of one array, each still packed; nil is an empty one. Raises WireError, for too many too."""
    unpacker = _unpacker(body)
    try:
        count = 0 if body[:1] == b"\xc0" else _at_most(items_max, unpacker.read_array_header())
        return [_skip(unpacker, body) for _ in range(count)]
    except Exception as error:
        raise translate(error) from None


def _at_most(items_max: int, count: int) -> int:
    if count > items_max:
        raise WireError(TOO_LARGE, f"{count} elements")
    return count


def skipper(bytes_max: int) -> Unpacker:
    """An Unpacker for `skip` and `tell`: where does the next value end? Fed piece by piece it goes on where it was."""
    return Unpacker(raw=True, strict_map_key=False, max_buffer_size=bytes_max, max_array_len=0, max_map_len=0)


def _unpacker(body: bytes) -> Unpacker:
    unpacker = skipper(max(len(body), 1))
    unpacker.feed(body)
    return unpacker


def _skip(unpacker: Unpacker, body: bytes) -> bytes:
    start = unpacker.tell()
    unpacker.skip()
    return body[start:unpacker.tell()]


def translate(error: Exception) -> WireError:
    """What an Unpacker raised, as a WireError."""
    if isinstance(error, WireError):
        return error
    if isinstance(error, OutOfData):
        return WireError(TRUNCATED, str(error))
    return WireError(TOO_DEEP if isinstance(error, StackError) else GARBAGE, str(error))


def _unpack_slowly(body: bytes, order: tuple[bytes, ...], items_max: int) -> tuple[dict[bytes, object], bytes]:
    values, rest = split_map(body, order)
    return {key: _unpack_value(packed, items_max) for key, packed in values.items()}, rest


def _unpack_value(packed: bytes, items_max: int) -> object:
    try:
        return unpackb(packed, raw=True, strict_map_key=False, max_array_len=items_max, max_map_len=items_max)
    except Exception:
        return _UNUSABLE


# Reading fields: missing and nil are the zero value; a wrong type or range is a WireError

def _refuse(key: bytes, value: object) -> WireError:
    return WireError(BAD_FIELD, f"{key.decode('ascii', 'replace')} {type(value).__name__}")


def take_uint(fields: Mapping[bytes, object], key: bytes, bits: int = 32) -> int:
    value = fields.get(key)
    if type(value) is int and not value >> bits:      # a negative number shifts to -1
        return value
    if value is None:
        return 0
    raise _refuse(key, value)


def take_bool(fields: Mapping[bytes, object], key: bytes) -> bool:
    """Integers 0 and 1 count."""
    value = fields.get(key)
    if value is None:
        return False
    if type(value) is bool or (type(value) is int and 0 <= value <= 1):
        return bool(value)
    raise _refuse(key, value)


def take_bytes(fields: Mapping[bytes, object], key: bytes, limit: int | None = None) -> bytes:
    """`limit` in bytes; None where the message itself is limit enough."""
    value = fields.get(key)
    if value is None:
        return b""
    if type(value) is bytes and (limit is None or len(value) <= limit):
        return value
    raise _refuse(key, value)


def take_str(fields: Mapping[bytes, object], key: bytes, limit: int | None = None) -> str:
    """Text; bytes that are not UTF-8 become surrogates and come back unchanged. `limit` in bytes."""
    return take_bytes(fields, key, limit).decode("utf-8", "surrogateescape")


def take_name(fields: Mapping[bytes, object], key: bytes) -> str:
    """A node's name, interned: the same few come again and again and are compared all the time."""
    value = fields.get(key)
    if value is None:
        return ""
    if type(value) is bytes and len(value) <= NAME_MAX:
        return intern(value.decode("utf-8", "surrogateescape"))
    raise _refuse(key, value)


def take_float(fields: Mapping[bytes, object], key: bytes) -> float:
    value = fields.get(key)
    if value is None:
        return 0.0
    if type(value) is float or type(value) is int:
        return float(value)
    raise _refuse(key, value)


def take_list(fields: Mapping[bytes, object], key: bytes) -> list[object]:
    value = fields.get(key)
    if value is None:
        return []
    if type(value) is list:
        return value
    raise _refuse(key, value)


def take_map(fields: Mapping[bytes, object], key: bytes) -> dict[object, object]:
    value = fields.get(key)
    if value is None:
        return {}
    if type(value) is dict:
        return value
    raise _refuse(key, value)


# Decoders: the body without its type byte

def decode_ping(body: bytes) -> Ping:
    fields = unpack_map(body, _PING_ORDER)
    return Ping(
        take_uint(fields, b"SeqNo"),
        take_name(fields, b"Node"),
        take_bytes(fields, b"SourceAddr"),
        take_uint(fields, b"SourcePort", 16),
        take_name(fields, b"SourceNode"),
    )


def decode_indirect_ping(body: bytes) -> IndirectPing:
    fields = unpack_map(body, _INDIRECT_ORDER)
    return IndirectPing(
        take_uint(fields, b"SeqNo"),
        take_bytes(fields, b"Target"),
        take_uint(fields, b"Port", 16),
        take_name(fields, b"Node"),
        take_bool(fields, b"Nack"),
        take_bytes(fields, b"SourceAddr"),
        take_uint(fields, b"SourcePort", 16),
        take_name(fields, b"SourceNode"),
    )


def decode_ack(body: bytes) -> Ack:
    fields = unpack_map(body, _ACK_ORDER)
    return Ack(take_uint(fields, b"SeqNo"), take_bytes(fields, b"Payload"))


def decode_nack(body: bytes) -> Nack:
    fields = unpack_map(body, _NACK_ORDER)
    return Nack(take_uint(fields, b"SeqNo"), fields.get(b"Refused") is True)


def decode_err(body: bytes) -> Err:
    return Err(take_str(unpack_map(body, _ERR_ORDER), b"Error"))


def decode_suspect(body: bytes) -> Suspect:
    fields = unpack_map(body, _ACCUSATION_ORDER)
    suspect = Suspect(take_uint(fields, b"Incarnation"), take_name(fields, b"Node"), take_name(fields, b"From"))
    if b"Refused" in fields:
        suspect.refused = _refused_names(fields[b"Refused"])
    return suspect


def _refused_names(value: object) -> tuple[str, ...]:
    """Our own key, so another program's idea of it is no reason to drop the message: what does not fit is skipped."""
    names = value if type(value) is list else []
    return tuple(
        intern(name.decode("utf-8", "surrogateescape"))
        for name in names[:REFUSED_MAX]
        if type(name) is bytes and len(name) <= NAME_MAX
    )


def decode_dead(body: bytes) -> Dead:
    fields = unpack_map(body, _ACCUSATION_ORDER)
    dead = Dead(take_uint(fields, b"Incarnation"), take_name(fields, b"Node"), take_name(fields, b"From"))
    why = fields.get(b"Why")
    if type(why) is bytes:
        dead.why = why[:WHY_MAX].decode("utf-8", "replace")
    return dead


def decode_alive(body: bytes) -> Alive:
    """The same update arrives many times over, so equal bytes may give one shared object: never change it."""
    return _decode_alive_cached(body) if len(body) <= _CACHED_BYTES_MAX else _decode_alive(body)


def _decode_alive(body: bytes) -> Alive:
    fields = unpack_map(body, _ALIVE_ORDER)
    return Alive(
        take_uint(fields, b"Incarnation"),
        take_name(fields, b"Node"),
        take_bytes(fields, b"Addr"),
        take_uint(fields, b"Port", 16),
        take_bytes(fields, b"Meta", META_MAX),
        take_bytes(fields, b"Vsn"),
    )


_decode_alive_cached = lru_cache(_CACHED_ALIVES)(_decode_alive)

DECODERS: dict[int, Callable[[bytes], Message]] = {
    PING: decode_ping,
    INDIRECT_PING: decode_indirect_ping,
    ACK: decode_ack,
    SUSPECT: decode_suspect,
    ALIVE: decode_alive,
    DEAD: decode_dead,
    USER: User,
    NACK: decode_nack,
}
"""What may stand in a datagram, by type byte. pushPull and err belong to streams, the layers to packet.py."""


def decode(message: bytes) -> Message:
    """One message of a datagram, its type byte first. Raises WireError."""
    if not message:
        raise WireError(TRUNCATED, "an empty message")
    decoder = DECODERS.get(message[0])
    if decoder is None:
        raise WireError(BAD_TYPE, f"message type {message[0]}")
    return decoder(message[1:])


# Encoders: keys sorted by byte value; an empty byte array is nil; fields marked "omit" go when empty (spec §3.1)

def check_u32(number: int) -> int:
    """Guards incarnations and sequence numbers, which do not wrap here as they do in the reference (spec §20 H5)."""
    if 0 <= number <= U32_MAX:
        return number
    raise ValueError(f"{number} is no 32-bit number")


def check_vsn(vsn: bytes) -> bytes | None:
    """One to five version numbers crash every memberlist up to 0.6.0: never write them (spec §21)."""
    if 0 < len(vsn) < VSN_LENGTH:
        raise ValueError(f"{len(vsn)} version numbers")
    return vsn or None


def encode_ping(ping: Ping) -> bytes:
    fields: dict[bytes, object] = {b"Node": ping.node, b"SeqNo": check_u32(ping.seq)}
    _add_source(fields, ping)
    return b"\x00" + pack(fields)


def _add_source(fields: dict[bytes, object], message: Ping | IndirectPing) -> None:
    if message.source_addr:
        fields[b"SourceAddr"] = message.source_addr
    if message.source_node:
        fields[b"SourceNode"] = message.source_node
    if message.source_port:
        fields[b"SourcePort"] = message.source_port


def encode_indirect_ping(ping: IndirectPing) -> bytes:
    fields: dict[bytes, object] = {
        b"Nack": ping.nack, b"Node": ping.node, b"Port": ping.port, b"SeqNo": check_u32(ping.seq),
    }
    _add_source(fields, ping)
    fields[b"Target"] = ping.target or None
    return b"\x01" + pack(fields)


def encode_ack(ack: Ack) -> bytes:
    return b"\x02" + pack({b"Payload": ack.payload or None, b"SeqNo": check_u32(ack.seq)})


def encode_nack(nack: Nack) -> bytes:
    if nack.refused:
        return b"\x0b" + pack({b"Refused": True, b"SeqNo": check_u32(nack.seq)})
    return b"\x0b" + pack({b"SeqNo": check_u32(nack.seq)})


def encode_err(err: Err) -> bytes:
    return b"\x0d" + pack({b"Error": err.error})


def encode_suspect(suspect: Suspect) -> bytes:
    fields: dict[bytes, object] = {
        b"From": suspect.source, b"Incarnation": check_u32(suspect.incarnation), b"Node": suspect.node,
    }
    if suspect.refused:
        fields[b"Refused"] = suspect.refused
    return b"\x03" + pack(fields)


def encode_dead(dead: Dead) -> bytes:
    fields: dict[bytes, object] = {
        b"From": dead.source, b"Incarnation": check_u32(dead.incarnation), b"Node": dead.node,
    }
    if dead.why:
        fields[b"Why"] = dead.why
    return b"\x05" + pack(fields)


def encode_alive(alive: Alive) -> bytes:
    return b"\x04" + pack({
        b"Addr": alive.addr or None,
        b"Incarnation": check_u32(alive.incarnation),
        b"Meta": alive.meta or None,
        b"Node": alive.node,
        b"Port": alive.port,
        b"Vsn": check_vsn(alive.vsn),
    })


def encode_user(user: User) -> bytes:
    return b"\x08" + user.payload


_ENCODERS: dict[type, Callable[..., bytes]] = {
    Ping: encode_ping,
    Ack: encode_ack,
    Alive: encode_alive,
    Suspect: encode_suspect,
    Dead: encode_dead,
    IndirectPing: encode_indirect_ping,
    Nack: encode_nack,
    User: encode_user,
    Err: encode_err,
}


def encode(message: Message) -> bytes:
    """One message, its type byte first. Raises ValueError for numbers no peer can hold. PushPull: see stream.py."""
    return _ENCODERS[type(message)](message)
