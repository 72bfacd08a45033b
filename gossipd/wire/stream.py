"""Streams: [label] [encrypt] [compress] message, one each way per connection (spec memberlist §7).

Nothing on a plain stream says how long it is, so the decoder works on what has arrived. And since a state may have
megabytes, it works in slices of about 2 ms, so that its caller can let others run in between.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import lru_cache
from sys import intern

from msgpack import OutOfData

from gossipd.errors import WireError
from gossipd.wire.codec import (
    META_MAX,
    NAME_MAX,
    check_u32,
    check_vsn,
    decode_ack,
    decode_err,
    decode_ping,
    pack,
    skipper,
    take_bool,
    take_bytes,
    take_uint,
    translate,
    unpack_map,
)
from gossipd.wire.messages import (
    ACK,
    COMPRESS,
    ENCRYPT,
    ERR,
    LABEL,
    PING,
    PUSH_PULL,
    USER,
    Message,
    PushPull,
    PushPullEntry,
    User,
)
from gossipd.wire.packet import Envelope, compressed_stream, wrap_compressed
from gossipd.wire.reasons import (
    BAD_TYPE,
    CLOSED,
    NO_KEY,
    PLAINTEXT_REFUSED,
    TOO_LARGE,
    TRUNCATED,
    WRONG_LABEL,
)
from gossipd.wire.secure import NONCE_SIZE, encrypted_length

STATE_BYTES_MAX = 20 * 1024 * 1024          # of an encrypted payload, a user state, a user message (spec §19)
STREAM_BYTES_MAX = STATE_BYTES_MAX + 1024   # of all that is read from one connection: layers come on top (§20 H2)
DECOMPRESSED_MAX = 40 * 1024 * 1024         # bytes (spec §19)
ENTRIES_MAX = 262144                        # of a push/pull: more real ones do not fit into STATE_BYTES_MAX
MAP_BYTES_MAX = 64 * 1024                   # of a header, a node state, a ping; real ones stay below 2 KB
COMPRESS_BYTES_MAX = 16 * 1024              # longer messages go uncompressed: LZW costs us 0.1 ms per KB
_ENTRIES_PER_SLICE = 400
_CODES_PER_SLICE = 4096

_HEADER_ORDER = (b"Nodes", b"UserStateLen", b"Join")
_ENTRY_ORDER = (b"Name", b"Addr", b"Port", b"Meta", b"Incarnation", b"State", b"Vsn")
_USER_ORDER = (b"UserMsgLen",)
_REQUESTS = (PING, PUSH_PULL, USER)
_RESPONSES = (PUSH_PULL, ACK, ERR)

_Step = Generator[bool, None, None]     # yields True after a slice of work, False when it needs more input
_StepFor = Generator[bool, None, bytes]


class UnwrapError(WireError):
    """A stream's outer layers cannot be removed. The only kind of error that is answered, by an err message (§7.2)."""


class StreamDecoder:
    """One connection's incoming message, as it arrives:

        decoder.feed(data)
        while decoder.advance():
            let others run
        if decoder.message is None: read on; at the end of the stream call decoder.eof()
    """

    __slots__ = ("_buffer", "_dialled", "_envelope", "_keys", "_received", "_steps", "_unwrapped", "_whole", "message")

    def __init__(self, envelope: Envelope, *, dialled: bool) -> None:
        """`dialled`: we opened the connection, so this is the response, which has no label header."""
        self.message: Message | None = None
        self._envelope = envelope
        self._dialled = dialled
        self._keys = envelope.keyring.keys      # of when the peer began: one of them may be removed meanwhile
        self._buffer = bytearray()      # what has arrived or was unwrapped, and is not decoded yet
        self._received = 0              # bytes, in all
        self._whole = False             # the buffer holds all there is: further input means nothing
        self._unwrapped = False
        self._steps = self._read()

    def feed(self, data: bytes) -> None:
        """Take what arrived; `advance` works on it. Raises WireError at the cap on one connection's bytes."""
        if self._whole or self.message is not None:
            return
        self._received += len(data)
        if self._received > STREAM_BYTES_MAX:
            raise self._error(TOO_LARGE, f"more than {STREAM_BYTES_MAX} bytes")
        self._buffer += data

    def advance(self) -> bool:
        """Work for about 2 ms. True if there is more to do without further input. Raises WireError."""
        return next(self._steps, False)

    def eof(self) -> None:
        """The peer closed its side, and `advance` has nothing left to do. Raises WireError if there is no message."""
        if self.message is not None:
            return
        if not self._received:
            raise WireError(CLOSED, "before the first byte")
        raise self._error(TRUNCATED, f"closed after {self._received} bytes")

    def close(self) -> None:
        """Let go of what arrived. Its generator refers to the decoder: by itself that would take a full collection."""
        self._steps.close()
        self._buffer = bytearray()
        self._whole = True

    def _error(self, reason: str, detail: str) -> WireError:
        return (WireError if self._unwrapped else UnwrapError)(reason, detail)

    def _read(self) -> _Step:
        if not self._dialled:
            yield from self._strip_label()
        try:
            kind = yield from self._unwrap()
        except WireError as error:
            raise UnwrapError(error.reason, error.detail) from None
        self._unwrapped = True
        if kind not in (_RESPONSES if self._dialled else _REQUESTS):
            raise WireError(BAD_TYPE, f"message type {kind} on a stream")
        self.message = yield from self._read_message(kind)
        self._buffer = bytearray()

    # Layers

    def _strip_label(self) -> _Step:
        """A label other than ours closes the connection without an answer (spec §6.1)."""
        header = self._envelope.label_header
        while not self._buffer:
            yield False
        if self._buffer[0] != LABEL and not header:
            return
        while len(self._buffer) < len(header) and header.startswith(self._buffer):
            yield False
        if not header or not self._buffer.startswith(header):
            raise WireError(WRONG_LABEL)
        del self._buffer[:len(header)]

    def _unwrap(self) -> Generator[bool, None, int]:
        """Leaves the bare message without its type byte in the buffer. Returns that type, -1 if there is nothing."""
        kind = (yield from self._take(1))[0]
        if kind == ENCRYPT:
            yield from self._decrypt()
            if not self._buffer:
                return -1       # crashes every version of the reference (spec §20 H6)
            kind = (yield from self._take(1))[0]
        elif self._envelope.keyring and self._envelope.verify_incoming:
            raise WireError(PLAINTEXT_REFUSED)
        if kind == COMPRESS:
            yield from self._decompress()
            kind = (yield from self._take(1))[0]
        return kind

    def _decrypt(self) -> _Step:
        if not self._envelope.keyring:
            raise WireError(NO_KEY, "the stream is encrypted and encryption is not configured")
        size = yield from self._take(4)
        length = int.from_bytes(size, "big")
        if length > STATE_BYTES_MAX:
            raise WireError(TOO_LARGE, f"an encrypted stream of {length} bytes")
        box = yield from self._take(length)
        aad = bytes([ENCRYPT]) + size + self._envelope.label
        keyring = self._envelope.keyring
        removed = [key for key in self._keys if key not in keyring.keys]
        self._replace(bytearray(keyring.decrypt(box, aad, removed)))

    def _decompress(self) -> _Step:
        from gossipd.wire.lzw import Decompressor

        packed = yield from self._value(STREAM_BYTES_MAX)
        decompressor = Decompressor(compressed_stream(packed), DECOMPRESSED_MAX)
        plain = bytearray()
        while not decompressor.done:
            plain += decompressor.step(_CODES_PER_SLICE)
            yield True
        self._replace(plain)

    def _replace(self, plain: bytearray) -> None:
        self._buffer = plain
        self._whole = True

    # Messages

    def _read_message(self, kind: int) -> Generator[bool, None, Message]:
        if kind == PUSH_PULL:
            return (yield from self._push_pull())
        body = yield from self._value(MAP_BYTES_MAX)
        if kind == PING:
            return decode_ping(body)
        if kind == ACK:
            return decode_ack(body)
        if kind == ERR:
            return decode_err(body)
        length = _length(unpack_map(body, _USER_ORDER), b"UserMsgLen", STATE_BYTES_MAX)
        return User((yield from self._take(length)))

    def _push_pull(self) -> Generator[bool, None, PushPull]:
        header = unpack_map((yield from self._value(MAP_BYTES_MAX)), _HEADER_ORDER)
        count = _length(header, b"Nodes", ENTRIES_MAX)
        state_bytes = _length(header, b"UserStateLen", STATE_BYTES_MAX)
        message = PushPull(take_bool(header, b"Join"))
        yield from self._entries(count, message.entries)
        message.user_state = yield from self._take(state_bytes)
        return message

    def _entries(self, count: int, entries: list[PushPullEntry]) -> _Step:
        while count:
            window = bytes(self._buffer[:MAP_BYTES_MAX])
            read, used = _decode_entries(window, min(count, _ENTRIES_PER_SLICE), entries)
            del self._buffer[:used]
            count -= read
            if read:
                yield True
            elif len(window) == MAP_BYTES_MAX:
                raise WireError(TOO_LARGE, "a node state")
            else:
                yield from self._more()

    # Bytes

    def _more(self) -> _Step:
        """Wait for input."""
        if self._whole:
            raise WireError(TRUNCATED, "the message ends early")
        size = len(self._buffer)
        while len(self._buffer) == size:
            yield False

    def _take(self, size: int) -> _StepFor:
        while len(self._buffer) < size:
            yield from self._more()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _value(self, bytes_max: int) -> _StepFor:
        """The next MessagePack value, still packed. The search for its end goes on where the last input ended."""
        unpacker = skipper(bytes_max)
        fed = 0
        while True:
            if len(self._buffer) > fed:
                unpacker.feed(self._buffer[fed:bytes_max])
                fed = len(self._buffer)
            try:
                unpacker.skip()
                return (yield from self._take(unpacker.tell()))
            except OutOfData:
                if fed >= bytes_max:
                    raise WireError(TOO_LARGE, f"a value of more than {bytes_max} bytes") from None
            except Exception as error:
                raise translate(error) from None
            yield from self._more()


def _length(fields: dict[bytes, object], key: bytes, limit: int) -> int:
    """Signed or unsigned, but not negative (spec §3.1); nothing is allocated by it (§20 H7)."""
    length = take_uint(fields, key, 63)
    if length > limit:
        raise WireError(TOO_LARGE, f"{key.decode()} {length}")
    return length


def _decode_entries(window: bytes, count: int, entries: list[PushPullEntry]) -> tuple[int, int]:
    """Decode up to `count` node states that are wholly there. Returns how many, and their bytes. Raises WireError."""
    unpacker = skipper(MAP_BYTES_MAX)
    unpacker.feed(window)
    start = 0
    for read in range(count):
        try:
            unpacker.skip()
        except OutOfData:
            return read, start
        except Exception as error:
            raise translate(error) from None
        end = unpacker.tell()
        entry = _decode_entry(window[start:end])
        start = end
        if entry is not None:
            entries.append(entry)
    return count, start


def _decode_entry(packed: bytes) -> PushPullEntry | None:
    """Most of a peer's list is as it was the last time, so equal bytes may give one shared object: never change it."""
    return _decode_entry_cached(packed) if len(packed) <= _CACHED_BYTES_MAX else _decode_entry_anew(packed)


def _decode_entry_anew(packed: bytes) -> PushPullEntry | None:
    return _entry(unpack_map(packed, _ENTRY_ORDER))


_CACHED_BYTES_MAX = 1024
_decode_entry_cached = lru_cache(maxsize=2048)(_decode_entry_anew)


def _entry(fields: dict[bytes, object]) -> PushPullEntry | None:
    """None for one whose name or metadata no real node has: skipped, so that it does not spoil the rest (§20 H4)."""
    name, meta = take_bytes(fields, b"Name"), take_bytes(fields, b"Meta")
    entry = PushPullEntry(
        intern(name[:NAME_MAX].decode("utf-8", "surrogateescape")),
        take_bytes(fields, b"Addr"),
        take_uint(fields, b"Port", 16),
        meta,
        take_uint(fields, b"Incarnation"),
        take_uint(fields, b"State", 63),
        take_bytes(fields, b"Vsn"),
    )
    return entry if len(name) <= NAME_MAX and len(meta) <= META_MAX else None


# Writing

def encode_push_pull(join: bool, entries: Iterable[PushPullEntry], user_state: bytes) -> bytes:
    """A whole push/pull message, its type byte first. Raises ValueError for numbers that no peer can hold."""
    parts = [encode_entry(entry) for entry in entries]
    header = pack({b"Join": join, b"Nodes": len(parts), b"UserStateLen": len(user_state)})
    return b"".join((bytes([PUSH_PULL]), header, *parts, user_state))


def encode_entry(entry: PushPullEntry) -> bytes:
    return pack({
        b"Addr": entry.addr or None,
        b"Incarnation": check_u32(entry.incarnation),
        b"Meta": entry.meta or None,
        b"Name": entry.name,
        b"Port": entry.port,
        b"State": entry.state,
        b"Vsn": check_vsn(entry.vsn),
    })


def encode_stream_user(payload: bytes) -> bytes:
    """A user message as streams carry it, its type byte first."""
    return bytes([USER]) + pack({b"UserMsgLen": len(payload)}) + payload


def seal_stream(envelope: Envelope, message: bytes, dialled: bool, compress: bool = False) -> bytes:
    """Everything to write to a connection; `dialled`: we opened it, so the label header goes first.

    `compress` even if packets are not: it saves more than it costs where it happens rarely.
    """
    if (compress or envelope.compress) and len(message) <= COMPRESS_BYTES_MAX:
        message = wrap_compressed(message)
    if envelope.keyring and envelope.verify_outgoing:
        header = bytes([ENCRYPT]) + encrypted_length(len(message)).to_bytes(4, "big")
        box = envelope.keyring.encrypt(message, header + envelope.label, envelope.entropy(NONCE_SIZE))
        message = header + box
    return envelope.label_header + message if dialled else message
