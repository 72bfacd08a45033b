"""Payloads: from the command line, as JSON, for people. They are bytes by nature."""

from __future__ import annotations

import sys

from gossipd.ctl.arguments import Arguments, UsageError
from gossipd.ctl.output import printable

STDIN_BYTES_MAX = 1 << 20       # more than any daemon takes


def payload_argument(arguments: Arguments, index: int = 1) -> bytes | None:
    """The bytes of this word; of standard input if it is "-"; None if it is not there. Raises UsageError."""
    if len(arguments.words) <= index:
        return None
    word = arguments.words[index]
    if word != "-":
        return word.encode("utf-8", "surrogateescape")
    if sys.stdin is None:
        raise UsageError("standard input is closed", arguments.command)
    try:
        data = sys.stdin.buffer.read(STDIN_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}", arguments.command) from None
    if len(data) > STDIN_BYTES_MAX:
        raise UsageError(f"more than {STDIN_BYTES_MAX} bytes on standard input", arguments.command)
    return data


def payload_json(payload: bytes | None) -> dict[str, str | None]:
    """Text where the payload is UTF-8, base64 where it is not; both null where there is none."""
    if payload is None:
        return {"payload": None, "payload_base64": None}
    try:
        return {"payload": payload.decode(), "payload_base64": None}
    except UnicodeDecodeError:
        from binascii import b2a_base64

        return {"payload": None, "payload_base64": b2a_base64(payload, newline=False).decode()}


def payload_lines(payload: bytes | None) -> list[str]:
    """For people: at least one line, without the last newline, with nothing that a terminal takes for an order."""
    text = (payload or b"").decode("utf-8", "surrogateescape").removesuffix("\n")
    return ["\t".join(map(printable, line.split("\t"))) for line in text.split("\n")]
