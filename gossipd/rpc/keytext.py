"""Encryption keys as clients send them: base64 as Go reads it, and Go's words for what is wrong with it."""

from __future__ import annotations

from binascii import a2b_base64

from gossipd.errors import CommandError

KEY_SIZES = (16, 24, 32)
"""Bytes of a key that can be one."""
_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_BREAKS = frozenset(b"\r\n")         # skipped, wherever they are
_PADDING = ord("=")


def key_bytes(text: str) -> bytes:
    """Raises CommandError."""
    raw = text.encode("utf-8", "surrogateescape")
    wrong = _wrong_at(raw)
    if wrong >= 0:
        raise CommandError(f"illegal base64 data at input byte {wrong}")
    return a2b_base64(raw)


def check_size(key: bytes) -> None:
    """Raises CommandError for what no node would take."""
    if len(key) not in KEY_SIZES:
        raise CommandError("key size must be 16, 24 or 32 bytes", f"{len(key)} bytes")


def _wrong_at(raw: bytes) -> int:
    """The byte that Go complains of, -1 for none: where a group of four is cut off, where its last characters begin."""
    digits = at = 0         # digits of the group that is not complete
    while at < len(raw) and (raw[at] in _ALPHABET or raw[at] in _BREAKS):
        digits = (digits + (raw[at] in _ALPHABET)) % 4
        at += 1
    if at == len(raw):
        return at - digits if digits else -1
    if raw[at] != _PADDING or digits < 2:
        return at
    end = _past_breaks(raw, at + 1)
    if digits == 2:
        if end == len(raw):
            return end
        if raw[end] != _PADDING:
            return end - 1
        end = _past_breaks(raw, end + 1)
    return end if end < len(raw) else -1


def _past_breaks(raw: bytes, at: int) -> int:
    while at < len(raw) and raw[at] in _BREAKS:
        at += 1
    return at
