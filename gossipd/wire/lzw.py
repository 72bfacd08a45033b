"""LZW as Go's compress/lzw writes it: least significant bit first, 8-bit literals (spec memberlist §6.4)."""

from __future__ import annotations

from gossipd.errors import WireError
from gossipd.wire.reasons import BAD_LZW, TOO_LARGE

_CLEAR = 256
_EOF = 257
_FIRST = 258            # the first code that stands for more than one byte
_WIDTH_MIN = 9
_WIDTH_MAX = 12
_LAST = 4095            # the encoder clears when it gets here; the decoder may fill the table up to and with it
_CODES_PER_STEP = 4096
_STEP_BYTES_MAX = 256 * 1024     # of plaintext: one code may stand for 4 KB


def compress(plain: bytes) -> bytes:
    """The stream that the reference writes, byte for byte. About 8 MB/s."""
    table: dict[int, int] = {}
    out = bytearray()
    pending, pending_bits = _CLEAR, _WIDTH_MIN      # bits not written yet, the first at the bottom
    width, high = _WIDTH_MIN, _EOF
    code = -1
    for byte in plain:
        if code < 0:
            code = byte
            continue
        key = code << 8 | byte
        known = table.get(key)
        if known is not None:
            code = known
            continue
        pending |= code << pending_bits
        pending_bits += width
        code = byte
        high += 1
        if high == 1 << width:
            width += 1
        if high == _LAST:
            pending |= _CLEAR << pending_bits
            pending_bits += width
            width, high = _WIDTH_MIN, _EOF
            table = {}
        else:
            table[key] = high
        if pending_bits >= 32:
            out += (pending & 0xFFFFFFFF).to_bytes(4, "little")
            pending >>= 32
            pending_bits -= 32
    if code >= 0:
        pending |= code << pending_bits
        pending_bits += width
        high += 1
        if high == 1 << width:
            width += 1
        if high == _LAST:
            pending |= _CLEAR << pending_bits
            pending_bits += width
            width = _WIDTH_MIN
    pending |= _EOF << pending_bits
    pending_bits += width
    return bytes(out + pending.to_bytes((pending_bits + 7) // 8, "little"))


def decompress(data: bytes, limit: int) -> bytes:
    """The whole plaintext. Raises WireError: not such a stream, empty, or more than `limit` bytes."""
    decompressor = Decompressor(data, limit)
    parts = []
    while not decompressor.done:
        parts.append(decompressor.step(_CODES_PER_STEP))
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Decompressor:
    """Works a stream off piece by piece, for callers that must not hold up everybody else for long."""

    __slots__ = ("_bits", "_data", "_limit", "_position", "_previous", "_size", "_table", "_value", "_width", "done")

    def __init__(self, data: bytes, limit: int) -> None:
        self._data = data
        self._limit = limit                     # bytes of plaintext
        self._position = 0                      # of the next byte to read
        self._value, self._bits = 0, 0          # read but not used
        self._width = _WIDTH_MIN
        self._table: list[bytes] = _SINGLES.copy()
        self._previous = b""                    # what the last code stood for; empty after CLEAR or in a full table
        self._size = 0
        self.done = False                       # EOF was read; what follows it is ignored

    def step(self, codes: int) -> bytes:
        """The plaintext of the next `codes` codes or fewer, about 256 KB at most, perhaps nothing. Raises WireError."""
        out: list[bytes] = []
        try:
            self._run(codes, out)
        except IndexError:
            raise WireError(BAD_LZW, "a code out of nowhere") from None
        plain = b"".join(out)
        self._size += len(plain)
        if self._size > self._limit:
            raise WireError(TOO_LARGE, f"expands to more than {self._limit} bytes")
        if self.done and not self._size:
            raise WireError(BAD_LZW, "an empty stream")
        return plain

    def _run(self, codes: int, out: list[bytes]) -> None:
        data, position, value, bits = self._data, self._position, self._value, self._bits
        table, previous, width = self._table, self._previous, self._width
        room = min(self._limit - self._size, _STEP_BYTES_MAX)
        mask = (1 << width) - 1
        for _ in range(codes):
            if bits < width:
                chunk = data[position:position + 4]
                value |= int.from_bytes(chunk, "little") << bits
                position += 4
                bits += 8 * len(chunk)
                if bits < width:
                    raise WireError(BAD_LZW, "ends without its end code")
            code = value & mask
            value >>= width
            bits -= width
            if code < _CLEAR or code > _EOF:
                if previous:
                    if code == len(table):
                        text = previous + previous[:1]
                        table.append(text)
                    else:
                        text = table[code]
                        table.append(previous + text[:1])
                    if len(table) > mask:
                        if width < _WIDTH_MAX:
                            width += 1
                            mask = (1 << width) - 1
                            previous = text
                        else:
                            previous = b""      # full: frozen until CLEAR
                    else:
                        previous = text
                else:
                    text = table[code]
                    if len(table) <= _LAST:
                        previous = text
                out.append(text)
                room -= len(text)
                if room < 0:
                    break
            elif code == _CLEAR:
                del table[_FIRST:]
                previous, width = b"", _WIDTH_MIN
                mask = (1 << width) - 1
            else:
                self.done = True
                break
        self._position, self._value, self._bits = position, value, bits
        self._previous, self._width = previous, width


_SINGLES = [bytes([byte]) for byte in range(256)] + [b"", b""]
