"""What a setting may hold: each kind turns a TOML value into the program's, or says what it expected."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping

from gossipd.addresses import parse_address
from gossipd.config.hosts import EVERYWHERE, unreachable, wrong_with_host

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION_MAX_S = float(1 << 63) / 1e9       # in Go nanoseconds in a signed 64-bit number
_STEP = r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)"


class Kind(ABC):
    """One kind of value. `expected` completes "expected ..."; `limits` is what a default does not show, a sentence."""

    expected = ""
    limits = ""

    @abstractmethod
    def read(self, value: object) -> object:
        """The value as the program keeps it. Raises ValueError with what was expected."""

    def show(self, value: object) -> str:
        """As it would be written in TOML; the inverse of `read`."""
        return quote(str(value))


class Text(Kind):
    """Without NULs, which neither paths nor environments hold."""

    def __init__(self, expected: str = "a string", bytes_max: int = 0) -> None:
        self.expected, self._bytes_max = expected, bytes_max

    def read(self, value: object) -> str:
        if not isinstance(value, str) or "\0" in value or (self._bytes_max and not self._fits(value)):
            raise ValueError(self.expected)
        return value

    def _fits(self, value: str) -> bool:
        try:
            return len(value.encode()) <= self._bytes_max
        except UnicodeError:
            return False


class Choice(Kind):
    """One of a few words, in any case. `others` maps further words that are understood."""

    def __init__(self, *words: str, others: Mapping[str, str] | None = None) -> None:
        self.words = words
        self._meaning = {**{word: word for word in words}, **(others or {})}
        self.expected = "one of " + ", ".join(quote(word) for word in words)
        self.limits = self.expected.capitalize() + "."

    def read(self, value: object) -> str:
        meaning = self._meaning.get(value.lower()) if isinstance(value, str) else None
        if meaning is None:
            raise ValueError(self.expected)
        return meaning


class Switch(Kind):
    expected = "true or false"

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError(self.expected)
        return value

    def show(self, value: object) -> str:
        return "true" if value else "false"


class Whole(Kind):
    """A whole number from `low` to `high`."""

    def __init__(self, low: int, high: int, unit: str = "") -> None:
        self._low, self._high = low, high
        self.expected = f"a whole number from {low} to {high}" + (f" ({unit})" if unit else "")
        self.limits = f"{low} to {high}" + (f" {unit}" if unit else "") + "."

    def read(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self._low <= value <= self._high:
            raise ValueError(self.expected)
        return value

    def show(self, value: object) -> str:
        return str(value)


class Seconds(Kind):
    """A duration of at least `low` seconds; with `off`, zero is allowed too and switches something off."""

    def __init__(self, low: float, off: bool = False) -> None:
        self._low, self._off = low, off
        least = f" of at least {show_duration(low)}" if low > 0 else ""
        zero = ', or "0s"' if off else ""
        self.limits = f"At least {show_duration(low)}{zero}." if low > 0 else ""
        self.expected = f'a duration{least} such as "1.5s", "200ms" or "1h30m"{zero}, or a number of seconds'

    def read(self, value: object) -> float:
        seconds = read_duration(value)
        if seconds is None or not (seconds >= self._low or (self._off and seconds == 0)):
            raise ValueError(self.expected)
        return seconds

    def show(self, value: object) -> str:
        assert isinstance(value, float | int)
        return quote(show_duration(value))


class Durations(Kind):
    """A list of durations, rising; exactly `count` of them if given."""

    def __init__(self, count: int = 0) -> None:
        self._count = count
        many = f"{count} durations" if count else "at least one duration"
        self.expected = f'a list of {many}, none shorter than the one before, such as ["0s", "10ms"]'

    def read(self, value: object) -> tuple[float, ...]:
        items = [read_duration(item) for item in value] if isinstance(value, list) else []
        seconds = [item for item in items if item is not None and item >= 0]
        right = len(seconds) == len(items) == (self._count or max(1, len(items)))
        if not right or seconds != sorted(seconds):
            raise ValueError(self.expected)
        return tuple(seconds)

    def show(self, value: object) -> str:
        assert isinstance(value, tuple)
        return "[" + ", ".join(quote(show_duration(item)) for item in value) + "]"


class AddressText(Kind):
    """`host`, `host:port`, `[v6]:port` or bare IPv6, kept as text; empty unless `needed`.

    `own`: of this node, so no multicast or broadcast address. `any_port`: port 0 leaves the choice to the system.
    `everywhere`: a port alone is one on all addresses.
    """

    def __init__(self, needed: bool = False, port_needed: bool = False, own: bool = False, any_port: bool = True,
                 everywhere: bool = False) -> None:
        self._needed, self._port_needed, self._own, self._any_port = needed, port_needed, own, any_port
        self._everywhere = everywhere
        self.expected = 'an address such as "192.0.2.10:7946"' if port_needed else \
            'an address such as "192.0.2.10", "192.0.2.10:7946" or "[2001:db8::1]:7946"'

    def read(self, value: object) -> str:
        if not isinstance(value, str) or (self._needed and not value):
            raise ValueError(self.expected)
        if self._everywhere and value.startswith(":") and value.count(":") == 1:
            value = f"[{EVERYWHERE}]{value}"
        if value:
            try:
                host, port = parse_address(value, -1)
            except ValueError as error:
                raise ValueError(f"{self.expected} ({error})") from None
            if port < 0 and self._port_needed:
                raise ValueError(self.expected)
            if wrong := self._wrong(host, port):
                raise ValueError(f"{self.expected} ({wrong})")
        return value

    def _wrong(self, host: str, port: int) -> str:
        if port == 0 and not self._any_port:
            return "nobody can reach port 0"
        wrong = unreachable(host) if self._own else ""
        return f"{host} is {wrong}" if wrong else wrong_with_host(host)


class Addresses(Kind):
    expected = 'a list of addresses such as ["192.0.2.10", "db1.example:7946"]'
    _each = AddressText(needed=True, any_port=False)

    def read(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ValueError(self.expected)
        for item in value:
            if not self.is_one(item):
                raise ValueError(f"{self.expected}; {item!r} is none" if isinstance(item, str) else self.expected)
        return tuple(value)

    def is_one(self, item: object) -> bool:
        """Serf's `name/host:port` is one too."""
        name, slash, address = item.partition("/") if isinstance(item, str) else ("", "", "")
        try:
            self._each.read(address if name and slash else item)
        except ValueError:
            return False
        return True

    def show(self, value: object) -> str:
        assert isinstance(value, tuple)
        return "[" + ", ".join(quote(item) for item in value) + "]"


class Names(Kind):
    """A list of texts, none of them empty."""

    def __init__(self, expected: str) -> None:
        self.expected = expected

    def read(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise ValueError(self.expected)
        return tuple(value)

    def show(self, value: object) -> str:
        assert isinstance(value, tuple)
        return "[" + ", ".join(quote(item) for item in value) + "]"


class InterfaceName(Kind):
    expected = 'the name of a network interface such as "eth0"'
    _BYTES_MAX = 15     # linux/if.h, IFNAMSIZ

    def read(self, value: object) -> str:
        if not isinstance(value, str) or len(value.encode(errors="replace")) > self._BYTES_MAX \
                or any(c.isspace() or c in "/\0" for c in value):
            raise ValueError(self.expected)
        return value


class ClusterName(Kind):
    """What discovery looks for. With "_serf_" before it, it becomes labels of a DNS name; dots divide."""

    _BYTES_MAX = 57     # a label has 63 at most
    expected = f"a name of at most {_BYTES_MAX} bytes, no blanks or backslashes, no dot at either end"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or (value and not self._is_good(value)):
            raise ValueError(self.expected)
        return value

    def _is_good(self, value: str) -> bool:
        return value.isprintable() and len(value.encode()) <= self._BYTES_MAX and all(value.split(".")) \
            and not any(c.isspace() or c == "\\" for c in value)


class Tags(Kind):
    expected = 'a table of strings such as { role = "web" }'

    def read(self, value: object) -> dict[str, str]:
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise ValueError(self.expected)
        return dict(value)

    def show(self, value: object) -> str:
        assert isinstance(value, dict)
        inside = ", ".join(f"{quote(key)} = {quote(text)}" for key, text in value.items())
        return f"{{ {inside} }}" if inside else "{}"


class Key(Kind):
    """An encryption key in base64, perhaps with line breaks; empty for none. It never appears in a message."""

    expected = "16, 24 or 32 bytes in base64"
    _lengths = (16, 24, 32)

    def read(self, value: object) -> bytes:
        from binascii import Error, a2b_base64

        try:
            key = a2b_base64("".join(value.splitlines()), strict_mode=True) if isinstance(value, str) else b"?"
        except (Error, ValueError):
            key = b"?"
        if key and len(key) not in self._lengths:
            raise ValueError(self.expected)
        return key

    def show(self, value: object) -> str:
        from binascii import b2a_base64

        assert isinstance(value, bytes)
        return quote(b2a_base64(value, newline=False).decode())


def read_duration(value: object) -> float | None:
    """Seconds of a number of seconds or of a string in Go's syntax ("1h30m", "1.5s", "0"); None if it is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < DURATION_MAX_S else None        # no infinity, no nan
    if not isinstance(value, str):
        return None
    sign, digits = (-1.0, value[1:]) if value.startswith("-") else (1.0, value.removeprefix("+"))
    if digits == "0":
        return 0.0
    if not re.fullmatch(f"(?:{_STEP})+", digits, re.ASCII):
        return None
    seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_STEP, digits, re.ASCII))
    return sign * round(seconds, 9) if seconds < DURATION_MAX_S else None


def show_duration(seconds: float) -> str:
    """The shortest usual way to write it: 0.2 is "200ms", 5400 is "1h30m"."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.6g}ms"
    if seconds < 60 or seconds % 60:
        return f"{seconds:.9g}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")


def quote(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
