"""msgpack in plain Python for gossipctl, which lives about 15 ms: importing the real one would take four of them.

Small objects are read here; once a reply turns out long, msgpack reads it after all (it is 30 times as fast).
str is text that may hold any bytes (surrogateescape), bin is bytes.
"""

from __future__ import annotations

NOTHING = object()
"""What `Reader.next` answers while the next object is incomplete."""

PLAIN_BYTES_MAX = 16 << 10
"""Longer input goes to msgpack, if it is there."""
INPUT_BYTES_MAX = 256 << 20
"""More than any reply: 100,000 members take 20 MB."""


def pack(value: object) -> bytes:
    """None, bool, int, float, str, bytes, and lists and dicts of these."""
    if value is None:
        return b"\xc0"
    if value is False or value is True:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return _pack_int(value)
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape")
        return _head(len(data), 0xA0, 32, b"\xd9\xda\xdb") + data
    if isinstance(value, bytes):
        return _head(len(value), 0, 0, b"\xc4\xc5\xc6") + value
    if isinstance(value, (list, tuple)):
        return _head(len(value), 0x90, 16, b"\x00\xdc\xdd") + b"".join(map(pack, value))
    if isinstance(value, dict):
        items = [pack(part) for item in value.items() for part in item]
        return _head(len(value), 0x80, 16, b"\x00\xde\xdf") + b"".join(items)
    if isinstance(value, float):
        from struct import pack as pack_struct

        return b"\xcb" + pack_struct(">d", value)
    raise TypeError(f"cannot pack {type(value).__name__}")


def _pack_int(value: int) -> bytes:
    if -32 <= value < 128:
        return (value & 0xFF).to_bytes(1, "big")
    for width in range(4):
        size = 1 << width
        if value >= 0 and value < 1 << (8 * size):
            return bytes((0xCC + width,)) + value.to_bytes(size, "big")
        if -1 << (8 * size - 1) <= value < 0:
            return bytes((0xD0 + width,)) + value.to_bytes(size, "big", signed=True)
    raise OverflowError("integer of more than 64 bits")


def _head(length: int, small: int, small_below: int, codes: bytes) -> bytes:
    """Type and length: in one byte below `small_below`, else a code and 1, 2 or 4 bytes (code 0: no such form)."""
    if length < small_below:
        return bytes((small | length,))
    if length < 1 << 8 and codes[0]:
        return bytes((codes[0], length))
    if length < 1 << 16:
        return bytes((codes[1],)) + length.to_bytes(2, "big")
    return bytes((codes[2],)) + length.to_bytes(4, "big")


class Reader:
    """The objects of a byte stream. Raises ValueError if it is not msgpack, or is longer than INPUT_BYTES_MAX."""

    __slots__ = ("_data", "_at", "_fast")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        self._fast: object = None       # a msgpack.Unpacker, once there was much to read

    def feed(self, data: bytes) -> None:
        if self._fast is not None:
            _feed_fast(self._fast, data)
            return
        self._data = self._data[self._at:] + data
        self._at = 0
        if len(self._data) > INPUT_BYTES_MAX:
            raise ValueError("reply too long")
        if len(self._data) > PLAIN_BYTES_MAX:
            self._fast = _msgpack_reader(self._data)

    def next(self) -> object:
        if self._fast is not None:
            return _next_fast(self._fast)
        try:
            value, self._at = _read(self._data, self._at)
        except IndexError:
            return NOTHING
        except RecursionError:
            raise ValueError("nested too deeply") from None
        return value


def _msgpack_reader(data: bytes) -> object:
    try:
        from msgpack import Unpacker
    except ImportError:
        return None
    reader = Unpacker(raw=False, unicode_errors="surrogateescape", strict_map_key=False,
                      max_buffer_size=INPUT_BYTES_MAX)
    reader.feed(data)
    return reader


def _feed_fast(reader: object, data: bytes) -> None:
    from msgpack import BufferFull

    try:
        reader.feed(data)       # type: ignore[attr-defined]
    except BufferFull:
        raise ValueError("reply too long") from None


def _next_fast(reader: object) -> object:
    from msgpack import OutOfData

    try:
        return reader.unpack()  # type: ignore[attr-defined]
    except OutOfData:
        return NOTHING


def _read(data: bytes, at: int) -> tuple[object, int]:
    """The object that begins at `at`, and where the next one does. Raises IndexError if it is incomplete."""
    code = data[at]
    at += 1
    if code < 0x80:
        return code, at
    if code < 0x90:
        return _read_map(data, at, code & 0x0F)
    if code < 0xA0:
        return _read_list(data, at, code & 0x0F)
    if code < 0xC0:
        return _read_text(data, at, code & 0x1F)
    if code >= 0xE0:
        return code - 256, at
    if code in _CONSTANTS:
        return _CONSTANTS[code], at
    if code not in _SIZES:
        raise ValueError(f"not a msgpack type: {code:#04x}")
    size = _SIZES[code]
    number = _take(data, at, size)
    at += size
    if code in (0xCA, 0xCB):
        from struct import unpack

        return unpack(">f" if code == 0xCA else ">d", number)[0], at
    if 0xCC <= code <= 0xD3:
        return int.from_bytes(number, "big", signed=code >= 0xD0), at
    length = int.from_bytes(number, "big")
    if code <= 0xC6:
        return _take(data, at, length), at + length
    if code <= 0xDB:
        return _read_text(data, at, length)
    return _read_list(data, at, length) if code <= 0xDD else _read_map(data, at, length)


_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_SIZES = {
    0xC4: 1, 0xC5: 2, 0xC6: 4,                                                  # bin
    0xCA: 4, 0xCB: 8,                                                           # float
    0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,     # int
    0xD9: 1, 0xDA: 2, 0xDB: 4,                                                  # str
    0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4,                                         # list, map
}
"""Bytes behind the type byte: the number itself, or a length."""


def _take(data: bytes, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise IndexError
    return data[at:at + length]


def _read_text(data: bytes, at: int, length: int) -> tuple[str, int]:
    return _take(data, at, length).decode("utf-8", "surrogateescape"), at + length


def _read_list(data: bytes, at: int, length: int) -> tuple[list[object], int]:
    items = []
    for _ in range(length):
        item, at = _read(data, at)
        items.append(item)
    return items, at


def _read_map(data: bytes, at: int, length: int) -> tuple[dict[object, object], int]:
    items: dict[object, object] = {}
    for _ in range(length):
        key, at = _read(data, at)
        if not isinstance(key, (str, bytes, int)):
            raise ValueError("a map key must be text, bytes or a number")
        items[key], at = _read(data, at)
    return items, at
