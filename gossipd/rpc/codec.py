"""Serf's IPC protocol, the daemon's side of the bytes: request objects in, replies out (spec rpc §1-§3).

A request is a header object, for most commands followed by a body object; nothing frames them but msgpack itself.
Text and byte strings arrive alike as bytes (old clients send either for either) and text need not be UTF-8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgpack import Packer, Unpacker
from msgpack.exceptions import BufferFull, OutOfData

INPUT_BYTES_MAX = 1 << 20
"""One request, and all that waits behind it. Serf has no limit; its own CLI sends less than 2 KB."""
ELEMENTS_MAX = 8192
"""Elements of one array or map. msgpack reserves an array's room before it has seen the elements, and nests 512
deep: this bounds what a few bytes can reserve to 32 MB."""

READ_BYTES = 4096
"""What each client's buffer begins with; msgpack's own choice would be a megabyte for each."""

UINT64_MAX = (1 << 64) - 1

NOTHING = object()
"""What `Requests.next` answers while the next object is incomplete: None is an object too."""


class Malformed(Exception):
    """The client sent something that is not a request. There is no way to find the next one: close."""


def _new_unpacker() -> Unpacker:
    return Unpacker(
        raw=True, strict_map_key=False, use_list=True, read_size=READ_BYTES, max_buffer_size=INPUT_BYTES_MAX,
        max_str_len=INPUT_BYTES_MAX, max_bin_len=INPUT_BYTES_MAX, max_ext_len=INPUT_BYTES_MAX,
        max_array_len=ELEMENTS_MAX, max_map_len=ELEMENTS_MAX)


class Requests:
    """The objects of one client's byte stream, in order, however the bytes are split.

    An unpacker has 40 KB and hundreds of clients only listen: it is there while bytes wait, and costs 1 us to make.
    """

    __slots__ = ("_unpacker", "_fed", "_used")

    def __init__(self) -> None:
        self._unpacker: Unpacker | None = None
        self._fed = 0       # bytes that the unpacker was given
        self._used = 0      # bytes that objects came out of

    def feed(self, data: bytes) -> None:
        """Raises Malformed if more than INPUT_BYTES_MAX would wait."""
        if self._unpacker is None:
            self._unpacker = _new_unpacker()
            self._fed = self._used = 0
        self._fed += len(data)
        if self.waiting_bytes > INPUT_BYTES_MAX:
            raise Malformed(f"more than {INPUT_BYTES_MAX} bytes of input are waiting")
        try:
            self._unpacker.feed(data)
        except BufferFull:
            raise Malformed(f"more than {INPUT_BYTES_MAX} bytes of input are waiting") from None

    def next(self) -> object:
        """The next object, or NOTHING. Raises Malformed."""
        if self._unpacker is None:
            return NOTHING
        try:
            value: object = self._unpacker.unpack()
        except OutOfData:
            if not self.waiting_bytes:
                self._unpacker = None
            return NOTHING
        except (ValueError, TypeError, OverflowError, RecursionError, BufferFull) as error:
            raise Malformed(str(error) or type(error).__name__) from None
        self._used = int(self._unpacker.tell())
        return value

    @property
    def waiting_bytes(self) -> int:
        """Bytes received that no object came out of yet."""
        return self._fed - self._used


# --- values: each taker turns nil (and a missing field) into the zero value, or raises Malformed ---------------------

def text(value: object) -> str:
    """Any bytes; what is not UTF-8 comes out the same way it went in (surrogateescape)."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if value is None:
        return ""
    raise Malformed("expected text")


def payload(value: object) -> bytes | None:
    """str, bin, or an array of numbers 0-255. Nil stays None: no payload is not an empty one."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, list):
        try:
            return bytes(value)
        except (TypeError, ValueError):
            raise Malformed("expected bytes") from None
    raise Malformed("expected bytes")


def _integer(value: object, lowest: int, highest: int) -> int:
    if value is None:
        return 0
    if type(value) is not int or not lowest <= value <= highest:
        raise Malformed(f"expected an integer from {lowest} to {highest}")
    return value


def uint64(value: object) -> int:
    return _integer(value, 0, UINT64_MAX)


def uint8(value: object) -> int:
    return _integer(value, 0, 255)


def int32(value: object) -> int:
    return _integer(value, -1 << 31, (1 << 31) - 1)


def int64(value: object) -> int:
    return _integer(value, -1 << 63, (1 << 63) - 1)


def boolean(value: object) -> bool:
    if value is None or value is False or value is True or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise Malformed("expected a boolean")


def texts(value: object) -> list[str]:
    """An array; a map becomes key, value, key, value (Serf's decoder does that, and serfio's DeleteTags is a map)."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [text(part) for item in value.items() for part in item]
    if isinstance(value, list):
        return [text(part) for part in value]
    raise Malformed("expected a list of text")


def text_map(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, dict):
        return {text(key): text(part) for key, part in value.items()}
    raise Malformed("expected a map of text")


# --- structs ---------------------------------------------------------------------------------------------------------

Schema = tuple[tuple[bytes, Callable[[object], Any]], ...]
"""A body's fields in Serf's declared order, which is what a body sent as an array goes by."""


def fields(value: object, schema: Schema) -> list[Any]:
    """The values of a body in the schema's order. Unknown fields are skipped. Raises Malformed."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, bytes):
                raise Malformed("expected text as the key of a field")
        return [take(value.get(name)) for name, take in schema]
    given = [] if value is None else value
    if not isinstance(given, list):
        raise Malformed("expected a map or an array")
    return [take(given[i] if i < len(given) else None) for i, (_, take) in enumerate(schema)]


def header_fields(value: object, command: str, seq: int) -> tuple[str, int]:
    """Command and Seq of a request header. A field that is missing keeps the value of the last header (spec rpc §3)."""
    if isinstance(value, dict):
        if b"Command" in value:
            command = text(value[b"Command"])
        if b"Seq" in value:
            seq = uint64(value[b"Seq"])
        for key in value:
            if not isinstance(key, bytes):
                raise Malformed("expected text as the key of a field")
        return command, seq
    if isinstance(value, list):
        return text(value[0]) if value else command, uint64(value[1]) if len(value) > 1 else seq
    if value is None:
        return "", 0
    raise Malformed("expected a map or an array")


# --- output ----------------------------------------------------------------------------------------------------------

_PACKER = Packer(use_bin_type=True, unicode_errors="surrogateescape")
_NO_ERROR = b"\x82\xa5Error\xa0\xa3Seq"


def encode(value: object) -> bytes:
    """The bytes Serf sends for `value`: text as str, bytes as bin, keys in the order given."""
    packed: bytes = _PACKER.pack(value)
    return packed


def response(seq: int, error: str = "", body: bytes = b"") -> bytes:
    """Header and encoded body, to be written at once (spec rpc T9)."""
    if error:
        return encode({"Error": error, "Seq": seq}) + body
    return _NO_ERROR + (bytes((seq,)) if seq < 128 else encode(seq)) + body
