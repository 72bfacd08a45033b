"""Datagrams: label(encrypt(crc(compress(compound(messages))))), put on and taken off (spec memberlist §5, §6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from struct import pack as pack_struct
from zlib import crc32

from gossipd.errors import WireError
from gossipd.wire.codec import pack, take_bytes, take_uint, unpack_fields
from gossipd.wire.messages import COMPOUND, COMPRESS, HAS_CRC, LABEL
from gossipd.wire.reasons import BAD_ALGORITHM, BAD_CRC, TOO_DEEP, TOO_LARGE, TRUNCATED, WRONG_LABEL
from gossipd.wire.secure import NONCE_SIZE, OVERHEAD, Keyring

LABEL_MAX = 255             # bytes: one byte of length
COMPOUND_PARTS_MAX = 127    # that we write: serf 0.9.4 misreads more (spec §21); we read 255
PART_BYTES_MAX = 65535
LAYERS_MAX = 4              # compounds and compressions within each other (spec §20 H1); real packets have two
PARTS_MAX = 1024            # messages in one datagram, all compounds together (H1)
DECOMPRESSED_MAX = 256 * 1024   # bytes of all compressed parts of one datagram (H1); real packets hold a few KB
_LZW = 0                    # `Algo`, the only one
_COMPRESS_ORDER = (b"Algo", b"Buf")
_CRC = Struct(">BI")
_NO_ERRORS: tuple[WireError, ...] = ()


def compound(parts: Sequence[bytes]) -> bytes:
    """One message out of 1 to 127, none of them empty: legacy peers crash or misread otherwise (spec §21)."""
    assert 0 < len(parts) <= COMPOUND_PARTS_MAX and all(parts)
    return pack_struct(f">BB{len(parts)}H", COMPOUND, len(parts), *map(len, parts)) + b"".join(parts)


def split_compound(message: bytes) -> tuple[list[bytes], WireError | None]:
    """The parts that are wholly there and not empty, and what is wrong with the rest. Raises WireError if all is."""
    if len(message) < 2 or len(message) < 2 + 2 * message[1]:
        raise WireError(TRUNCATED, "a compound without its lengths")
    position = 2 + 2 * message[1]
    parts: list[bytes] = []
    for at in range(2, position, 2):
        end = position + (message[at] << 8 | message[at + 1])
        if end > len(message):
            return parts, WireError(TRUNCATED, "a compound whose parts end early")
        if end > position:
            parts.append(message[position:end])
        position = end
    return parts, None


def wrap_compressed(message: bytes) -> bytes:
    """`message` as a compress message, whether shorter or not."""
    from gossipd.wire.lzw import compress

    assert message, "a compressed empty message crashes peers"
    return bytes([COMPRESS]) + pack({b"Algo": _LZW, b"Buf": compress(message)})


def compressed_stream(body: bytes) -> bytes:
    """The LZW stream inside a compress message, given without its type byte. Raises WireError."""
    fields = unpack_fields(body, _COMPRESS_ORDER)
    if take_uint(fields, b"Algo", 8) != _LZW:
        raise WireError(BAD_ALGORITHM, f"algorithm {fields[b'Algo']}")
    return take_bytes(fields, b"Buf")


class Envelope:
    """The outer layers of everything a node sends and receives, by its keys, label and taste for compression."""

    __slots__ = ("compress", "entropy", "keyring", "label", "label_header", "verify_incoming", "verify_outgoing")

    def __init__(
        self,
        keyring: Keyring | None,
        label: bytes,
        compress: bool,
        entropy: Callable[[int], bytes],
        verify_incoming: bool = True,
        verify_outgoing: bool = True,
    ) -> None:
        """`entropy` gives nonces. The keyring may fill or change later; none at all is an empty one."""
        if len(label) > LABEL_MAX:
            raise ValueError(f"a label has at most {LABEL_MAX} bytes, not {len(label)}")
        self.keyring = keyring if keyring is not None else Keyring()
        self.label = label
        self.label_header = bytes([LABEL, len(label)]) + label if label else b""
        self.compress = compress
        self.entropy = entropy
        self.verify_incoming = verify_incoming
        self.verify_outgoing = verify_outgoing

    @property
    def overhead(self) -> int:
        """Bytes of a datagram's budget that label and encryption take. The CRC counts towards no budget (§5.3)."""
        return len(self.label_header) + (OVERHEAD if self.keyring else 0)

    def seal(self, message: bytes, crc: bool) -> bytes:
        """The datagram for one message, which may be a compound. `crc` as spec §5.1 says for each kind of packet."""
        assert message, "an empty message crashes peers under some layers"
        if self.compress:
            shorter = wrap_compressed(message)
            if len(shorter) < len(message):
                message = shorter
        if crc:
            message = _CRC.pack(HAS_CRC, crc32(message)) + message
        if self.keyring and self.verify_outgoing:
            message = self.keyring.encrypt(message, self.label, self.entropy(NONCE_SIZE))
        return self.label_header + message if self.label_header else message

    def open(self, datagram: bytes) -> tuple[list[bytes], Sequence[WireError]]:
        """The messages of one datagram, type byte first, and what was wrong with parts that are left out.

        Raises WireError if nothing of it can be used.
        """
        if datagram[:1] == b"\xf4" or self.label:
            datagram = self._strip_label(datagram)
        if self.keyring:
            datagram = self._decrypt(datagram)
        if not datagram:
            raise WireError(TRUNCATED, "an empty packet")
        if datagram[0] == HAS_CRC:
            datagram = _check_crc(datagram)
        if datagram[0] != COMPOUND and datagram[0] != COMPRESS:
            return [datagram], _NO_ERRORS
        return _Expansion().expand(datagram)

    def _strip_label(self, datagram: bytes) -> bytes:
        header = self.label_header
        if (datagram.startswith(header) if header else datagram[:1] != b"\xf4"):
            return datagram[len(header):]
        raise WireError(WRONG_LABEL)

    def _decrypt(self, datagram: bytes) -> bytes:
        try:
            return self.keyring.decrypt(datagram, self.label)
        except WireError:
            if self.verify_incoming:
                raise
            return datagram


def _check_crc(datagram: bytes) -> bytes:
    if len(datagram) <= _CRC.size:
        raise WireError(TRUNCATED, "a CRC of nothing")
    message = datagram[_CRC.size:]
    if crc32(message) != _CRC.unpack_from(datagram)[1]:
        raise WireError(BAD_CRC)
    return message


class _Expansion:
    """Takes one datagram's compounds and compressions apart, within bounds that hold for all of it together."""

    __slots__ = ("errors", "messages", "parts_left", "plain_left")

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.errors: list[WireError] = []
        self.parts_left = PARTS_MAX
        self.plain_left = DECOMPRESSED_MAX

    def expand(self, datagram: bytes) -> tuple[list[bytes], Sequence[WireError]]:
        self._open(datagram, LAYERS_MAX)
        return self.messages, self.errors or _NO_ERRORS

    def _open(self, message: bytes, layers_left: int) -> None:
        """Raises WireError if nothing of `message` can be used."""
        if message[0] == COMPOUND:
            _deeper(layers_left)
            self._open_parts(message, layers_left - 1)
        elif message[0] == COMPRESS:
            _deeper(layers_left)
            self._open(self._decompress(message), layers_left - 1)
        else:
            self.messages.append(message)

    def _open_parts(self, message: bytes, layers_left: int) -> None:
        parts, error = split_compound(message)
        if error is not None:
            self.errors.append(error)
        self.parts_left -= len(parts)
        if self.parts_left < 0:
            raise WireError(TOO_LARGE, f"more than {PARTS_MAX} parts in one packet")
        for part in parts:
            if part[0] != COMPOUND and part[0] != COMPRESS:
                self.messages.append(part)
                continue
            try:
                self._open(part, layers_left)
            except WireError as error:
                self.errors.append(WireError(error.reason, error.detail))     # its traceback would keep all buffers

    def _decompress(self, message: bytes) -> bytes:
        from gossipd.wire.lzw import decompress

        plain = decompress(compressed_stream(message[1:]), self.plain_left)
        self.plain_left -= len(plain)
        return plain


def _deeper(layers_left: int) -> None:
    if not layers_left:
        raise WireError(TOO_DEEP, f"more than {LAYERS_MAX} layers in one packet")
