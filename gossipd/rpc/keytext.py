"""Encryption keys as clients send them: base64 as Go reads it, and Go's words for what is wrong with it."""

from __future__ import annotations

from binascii import a2b_base64

from gossipd.errors import CommandError

_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_PADDING = ord("=")


def key_bytes(text: str) -> bytes:
    """Raises CommandError."""
    raw = text.encode("utf-8", "surrogateescape")
    wrong = _wrong_at(raw)
    if wrong >= 0:
        raise CommandError(f"illegal base64 data at input byte {wrong}")
    return a2b_base64(raw)


def _wrong_at(raw: bytes) -> int:
    """The byte that Go complains of, -1 for none: where a group of four is cut off, where its last characters begin."""
    digits = next((i for i, byte in enumerate(raw) if byte not in _ALPHABET), len(raw))
    over = digits % 4
    if digits == len(raw):
        return digits - over if over else -1
    if raw[digits] != _PADDING or over < 2:
        return digits
    end = digits + 4 - over
    if end > len(raw):
        return len(raw)
    if raw[end - 1] != _PADDING:
        return digits
    return end if end < len(raw) else -1
