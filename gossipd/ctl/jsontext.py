"""JSON out, without the standard library's module: that one brings `re`, a third of the time of `gossipctl members`."""

from __future__ import annotations

import sys

_ESCAPES = {code: f"\\u{code:04x}" for code in (*range(32), 127)} | {
    ord("\b"): "\\b", ord("\t"): "\\t", ord("\n"): "\\n", ord("\f"): "\\f", ord("\r"): "\\r",
    ord('"'): '\\"', ord("\\"): "\\\\",
}


def json_text(value: object) -> str:
    """Indented, for documents."""
    return _encode(value, "\n") + "\n"


def json_line(value: object) -> str:
    """On one line, for streams of records."""
    return _encode(value, "") + "\n"


def _encode(value: object, line: str) -> str:
    """None, bool, int, finite float, str, and lists and dicts of these. `line` is the break before this value or ""."""
    if isinstance(value, str):
        return _string(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    inner = line and line + "  "
    if isinstance(value, dict):
        items = [f"{_string(key)}: {_encode(part, inner)}" for key, part in value.items()]
        return _bracketed("{", items, "}", line)
    if isinstance(value, list):
        return _bracketed("[", [_encode(part, inner) for part in value], "]", line)
    raise TypeError(f"no JSON for {type(value).__name__}")


def _bracketed(left: str, items: list[str], right: str, line: str) -> str:
    if not items:
        return left + right
    if not line:
        return left + ", ".join(items) + right
    return left + line + "  " + f",{line}  ".join(items) + line + right


def _string(text: str) -> str:
    """What a terminal could obey is escaped. A byte that is not UTF-8, a lone surrogate here, is `\\xNN` there."""
    text = text.translate(_ESCAPES)
    if not text.isascii() and not (text.isprintable() and _stdout_takes_unicode()):
        text = "".join(c if c.isascii() else _escaped(ord(c)) for c in text)
    return f'"{text}"'


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\\\x{code - 0xDC00:02x}"      # a byte that is not UTF-8, as `printable` shows it
    if 0xD800 <= code <= 0xDFFF:
        return "\\ufffd"          # no character: parsers refuse half a pair
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _stdout_takes_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
