"""Command lines to values, by the table. Options may stand before or after the command word and between arguments."""

from __future__ import annotations

from gossipd.ctl.table import COMMANDS, FLAG, GLOBAL_OPTIONS, LIST, Command, Option

Values = dict[str, str | bool | list[str]]


class UsageError(Exception):
    """A command line that means nothing. `command` is set if it got that far."""

    def __init__(self, text: str, command: Command | None = None) -> None:
        super().__init__(text)
        self.command = command


class Arguments:
    """What the user said. `command` is None if no command word was there."""

    __slots__ = ("command", "words", "values")

    def __init__(self, command: Command | None, words: list[str], values: Values) -> None:
        self.command, self.words, self.values = command, words, values

    def text(self, key: str) -> str:
        """A VALUE; "" if it was not given."""
        value = self.values.get(key, "")
        assert isinstance(value, str)
        return value

    def flag(self, key: str) -> bool:
        return self.values.get(key, False) is True

    def texts(self, key: str) -> list[str]:
        value = self.values.get(key, [])
        assert isinstance(value, list)
        return value

    def tag_filters(self) -> dict[str, str]:
        """Expressions by tag, of all `--tag KEY=REGEX`. Raises UsageError."""
        tags = {}
        for text in self.texts("tag"):
            key, equals, expression = text.partition("=")
            if not equals or not key:
                raise UsageError(f"option --tag: {text!r} is not KEY=REGEX", self.command)
            tags[key] = expression
        return tags


def parse(argv: list[str]) -> Arguments:
    """Raises UsageError. The number of words is not checked where help is asked for."""
    command: Command | None = None
    known = _by_name(GLOBAL_OPTIONS)
    words: list[str] = []
    values: Values = {}
    rest = iter(argv)
    for word in rest:
        if word == "--":
            words += rest
        elif word.startswith("-") and word != "-":
            _take_option(word, rest, known, values, command)
        elif command is None and not words:
            command = COMMANDS.get(word)
            if command is None:
                words.append(word)
            else:
                known |= _by_name(command.options)
        else:
            words.append(word)
    arguments = Arguments(command, words, values)
    if not arguments.flag("help") and not arguments.flag("version"):
        _check_count(arguments)
    return arguments


def _by_name(options: tuple[Option, ...]) -> dict[str, Option]:
    return {name: option for option in options for name in option.names}


def _take_option(word: str, rest: object, known: dict[str, Option], values: Values, command: Command | None) -> None:
    name, equals, value = word.partition("=")
    if not word.startswith("--"):
        name, value = word[:2], word[2:].removeprefix("=")      # -ojson, -o json, -o=json
        equals = value
    option = known.get(name)
    if option is None:
        if command is None and any(name in _by_name(one.options) for one in COMMANDS.values()):
            raise UsageError(f"option {name} stands after the command")
        raise UsageError(_unknown("option", name, list(known)), command)
    if option.kind == FLAG:
        if equals:
            raise UsageError(f"option {name} takes no value", command)
        values[option.key] = True
        return
    if not equals:
        given = next(rest, None)    # type: ignore[call-overload]
        if given is None:
            raise UsageError(f"option {name} needs a value: {name} {option.metavar}", command)
        value = given
    _store(option, name, value, values, command)


def _store(option: Option, name: str, value: str, values: Values, command: Command | None) -> None:
    if option.choices and value not in option.choices:
        raise UsageError(f"option {name}: {value!r} is not one of {', '.join(option.choices)}", command)
    if option.kind == LIST:
        collected = values.setdefault(option.key, [])
        assert isinstance(collected, list)
        collected.append(value)
    else:
        values[option.key] = value


def _check_count(arguments: Arguments) -> None:
    command, count = arguments.command, len(arguments.words)
    if command is None:
        if count:
            raise UsageError(unknown_command(arguments.words[0]))
        raise UsageError("which command?")
    if count < command.least:
        raise UsageError(f"{command.name} needs {command.arguments}", command)
    if count > command.most:
        raise UsageError(f"{command.name}: unexpected argument {arguments.words[command.most]!r}", command)


def unknown_command(word: str) -> str:
    return _unknown("command", word, list(COMMANDS))


def _unknown(what: str, word: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1)
    return f"unknown {what} {word!r}" + (f"; did you mean {near[0]}?" if near else "")


def whole_number(text: str, most: int) -> int:
    """Decimal digits, from 0 to `most`; -1 for anything else. Python refuses to read thousands of them."""
    if not (text.isascii() and text.isdigit()) or len(text.lstrip("0")) > len(str(most)):
        return -1
    number = int(text.lstrip("0") or "0")
    return number if number <= most else -1


def seconds(text: str, default: float) -> float:
    """The value of --timeout. Raises UsageError."""
    if not text:
        return default
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise UsageError(f"option --timeout: {text!r} is not a number of seconds")
    return value
