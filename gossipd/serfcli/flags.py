"""Command lines as Go reads them: `-x` is `--x`, values are `-x=v` or `-x v`, the first other word ends the flags."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SWITCH, TEXT, LIST, WHOLE, DURATION = "switch", "text", "list", "whole", "duration"
"""Kinds of flags. A LIST may come several times; a DURATION is seconds."""

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_WHOLE_MAX = 1 << 63


class FlagError(Exception):
    """A command line that cannot be read. The text is for standard error; it may be empty."""


class Flags:
    """What a command line says: `given` has the flags that were there, `words` what follows them."""

    __slots__ = ("given", "words")

    def __init__(self, given: dict[str, object], words: list[str]) -> None:
        self.given, self.words = given, words

    def text(self, name: str) -> str:
        value = self.given.get(name, "")
        assert isinstance(value, str)
        return value

    def texts(self, name: str) -> list[str]:
        value = self.given.get(name, [])
        assert isinstance(value, list)
        return value

    def switch(self, name: str) -> bool:
        return bool(self.given.get(name, False))

    def whole(self, name: str) -> int:
        value = self.given.get(name, 0)
        assert isinstance(value, int)
        return value

    def seconds(self, name: str) -> float:
        value = self.given.get(name, 0.0)
        assert isinstance(value, float)
        return value


def parse_flags(kinds: Mapping[str, str], argv: Sequence[str]) -> Flags:
    """`kinds` of all flags by name, which may name others that share its list: "list:NAME". Raises FlagError."""
    given: dict[str, object] = {}
    rest = list(argv)
    while rest:
        word = rest[0]
        if len(word) < 2 or word[0] != "-":
            break
        del rest[0]
        if word == "--":
            break
        name, equals, value = word[2 if word[1] == "-" else 1:].partition("=")
        if not name or name[0] == "-":
            raise FlagError(f"bad flag syntax: {word}")
        if name not in kinds:
            raise FlagError("" if name in ("h", "help") else f"flag provided but not defined: -{name}")
        kind, _, shared = kinds[name].partition(":")
        if kind == SWITCH:
            given[name] = _switch(name, value) if equals else True
            continue
        if not equals:
            if not rest:
                raise FlagError(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        if kind == LIST:
            values = given.setdefault(shared or name, [])
            assert isinstance(values, list)
            values.append(value)
        else:
            given[name] = _value(kind, name, value)
    return Flags(given, rest)


def _switch(name: str, value: str) -> bool:
    if value not in _TRUE and value not in _FALSE:
        raise FlagError(f'invalid boolean value "{value}" for -{name}: parse error')
    return value in _TRUE


def _value(kind: str, name: str, value: str) -> object:
    wrong = "parse error"
    if kind == TEXT:
        return value
    if kind == WHOLE:
        try:
            whole = _whole(value)
        except ValueError:
            pass
        else:
            if -_WHOLE_MAX <= whole < _WHOLE_MAX:
                return whole
            wrong = "value out of range"
    else:
        from gossipd.config.kinds import read_duration

        seconds = read_duration(value)
        if seconds is not None:
            return seconds
    raise FlagError(f'invalid value "{value}" for flag -{name}: {wrong}')


def _whole(value: str) -> int:
    """Go's and Python's prefixes and underscores are the same, but Go knows a bare 0 in front as octal."""
    digits = value.lstrip("+-")
    if value.strip() != value or len(value) - len(digits) > 1:
        raise ValueError(value)
    if len(digits) > 1 and digits[0] == "0" and (digits[1].isdigit() or digits[1] == "_"):
        return int(value, 8)
    return int(value, 0)


def split_pair(text: str) -> tuple[str, str] | None:
    """`key=value` at its first "="; None if there is none, or no key."""
    key, equals, value = text.partition("=")
    return (key, value) if key and equals else None
