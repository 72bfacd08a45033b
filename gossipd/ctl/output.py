"""How gossipctl writes: tables, colors, ages, errors; and its exit codes."""

from __future__ import annotations

import os
import sys

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_NOTHING = 3            # nothing matched
EXIT_PARTLY = 4
EXIT_TIMEOUT = 5
EXIT_UNREACHABLE = 6
EXIT_INTERRUPTED = 130      # 128 + SIGINT, as shells have it

RED, GREEN, YELLOW, DIM, BOLD = "31", "32", "33", "2", "1"
STATUS_COLORS = {"alive": GREEN, "suspect": YELLOW, "leaving": YELLOW, "left": DIM, "failed": RED}


def complain(text: str) -> None:
    """One line on stderr, whatever the text holds."""
    _say(f"gossipctl: {printable(' '.join(text.split()))}\n")


def _say(line: str) -> None:
    """The exit code says it too, should nobody hear it."""
    try:
        sys.stderr.write(line)
    except OSError:
        pass


def fail(code: int, error: str, as_json: bool, advice: str = "") -> int:
    """Say it in one line on stderr: for people, with advice, or as JSON (docs/json.md). Returns the exit code."""
    if as_json:
        from gossipd.ctl.jsontext import json_line

        _say(json_line({"error": error, "exit_status": code}))
    else:
        complain(error + advice)
    return code


def result(as_json: bool, record: dict[str, object], text: str) -> str:
    """What a command writes that has little to say: JSON, or a line for people. `text` must be printable."""
    if not as_json:
        return text + "\n"
    from gossipd.ctl.jsontext import json_text

    return json_text(record)


def colors_wanted() -> bool:
    """Colors are for terminals, and for people who did not say no (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def colored(text: str, color: str) -> str:
    return f"\x1b[{color}m{text}\x1b[0m"


def printable(text: str) -> str:
    """Names and tags may hold any bytes: nothing that a terminal could take for an order gets through."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(c: str) -> str:
    code = ord(c)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"    # a byte that is not UTF-8
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def table(heading: list[str], rows: list[list[str]], color_column: int = -1) -> str:
    """Columns two blanks apart. Cells must be printable. Where wanted, the status column gets its colors."""
    lines = [heading, *rows]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    paint = colors_wanted()
    text = []
    for number, line in enumerate(lines):
        cells = [cell + " " * (widths[i] - width(cell)) for i, cell in enumerate(line[:-1])] + line[-1:]
        if paint and number == 0:
            cells = [colored(cell, BOLD) for cell in cells]
        elif paint and line[color_column] in STATUS_COLORS and color_column >= 0:
            cells[color_column] = colored(cells[color_column], STATUS_COLORS[line[color_column]])
        text.append("  ".join(cells).rstrip() + "\n")
    return "".join(text)


def width(text: str) -> int:
    """Columns on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def age(seconds: float) -> str:
    """Two units at most: 42s, 3m10s, 5h2m, 12d4h."""
    whole = max(int(seconds), 0)
    for unit, size, smaller, below in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size}{unit}{rest}{smaller}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


def rfc3339(moment: float) -> str:
    """UTC, in milliseconds."""
    from time import gmtime, strftime

    whole, milliseconds = divmod(int(moment * 1000), 1000)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(whole))}.{milliseconds:03d}Z"
