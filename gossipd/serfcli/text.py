"""Columns, JSON and Go literals, byte for byte as Serf's command line writes them."""

from __future__ import annotations

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_JSON_ESCAPES = {code: f"\\u{code:04x}" for code in (*range(32), *map(ord, "<>&"), 0x2028, 0x2029)} | {
    ord(char): escape for char, escape in _SHORT.items()}
_GO_ESCAPES = {**_SHORT, "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
_LONE = range(0xD800, 0xE000)       # a byte that is not UTF-8, as Python keeps it
_SMALL_MAX = 127                    # above, msgpack writes unsigned numbers, which Go shows in hexadecimal


def columns(lines: list[str]) -> str:
    """Cells between "|" under each other, two blanks apart; no white space around the whole."""
    table = [[cell.strip() for cell in line.split("|")] for line in lines]
    widths: dict[int, int] = {}
    for cells in table:
        for column, cell in enumerate(cells):
            widths[column] = max(widths.get(column, 0), len(cell))
    return "\n".join(
        "  ".join([*(cell.ljust(widths[column]) for column, cell in enumerate(cells[:-1])), cells[-1]])
        for cells in table).strip()


def go_json(value: object, indent: str = "\n") -> str:
    """Indented by two blanks. None, bool, int, str, and lists and dicts of these, in their order."""
    if isinstance(value, str):
        return _json_string(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    inner = indent + "  "
    if isinstance(value, dict):
        items = [f"{_json_string(key)}: {go_json(part, inner)}" for key, part in value.items()]
        return "{" + inner + f",{inner}".join(items) + indent + "}" if items else "{}"
    assert isinstance(value, list)
    parts = [go_json(part, inner) for part in value]
    return "[" + inner + f",{inner}".join(parts) + indent + "]" if parts else "[]"


def _json_string(text: str) -> str:
    text = text.translate(_JSON_ESCAPES)
    if not text.isascii():
        text = "".join("\\ufffd" if ord(c) in _LONE else c for c in text)
    return f'"{text}"'


def go_literal(value: object, nested: bool = False) -> str:
    """A value as it came from msgpack, in the syntax of Go's %#v. Keys of maps inside of others are sorted."""
    if value is None:
        return "interface {}(nil)" if nested else "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value <= _SMALL_MAX else hex(value)
    if isinstance(value, str):
        return go_quote(value)
    if isinstance(value, bytes):
        return ("[]uint8" if nested else "[]byte") + "{" + ", ".join(map(hex, value)) + "}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(go_literal(item, True) for item in value) + "}"
    if isinstance(value, dict):
        items = [f"{go_literal(key, True)}:{go_literal(value[key], True)}" for key in sorted(value)]
        return "map[interface {}]interface {}{" + ", ".join(items) + "}"
    return str(value)


def go_quote(text: str) -> str:
    return '"' + "".join(_GO_ESCAPES.get(c) or (c if c.isprintable() else _go_escape(ord(c))) for c in text) + '"'


def _go_escape(code: int) -> str:
    if code in _LONE:
        return f"\\x{code - 0xDC00 & 0xFF:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
