"""What completion offers where, for all shells: tuples of words, MEMBERS, FILES, or "" where anything may stand."""

from __future__ import annotations

from gossipd.ctl.table import FLAG, GLOBAL_OPTIONS, Command, Option

ASK = "completion members 2>/dev/null"
"""What follows `gossipctl` and the options that say which daemon."""

Hint = str | tuple[str, ...]


def header(shell: str, program: str) -> str:
    """A line that says where the script comes from."""
    return f"{shell} completion for {program}: gossipctl completion {shell} {program}"


def of_value(option: Option) -> Hint:
    return option.choices or option.hint


def of_arguments(command: Command) -> list[Hint]:
    """By position. Of "list | set KEY=VALUE...", the first is list or set."""
    if command.hint:
        return [command.hint] * command.most
    if " | " in command.arguments:
        return [tuple(part.split()[0] for part in command.arguments.split(" | "))]
    return list(command.words)


def options_of(command: Command) -> list[Option]:
    """Its own and those of all commands that it does not mean otherwise."""
    own = {name for option in command.options for name in option.names}
    return [*command.options, *(option for option in GLOBAL_OPTIONS if not own & set(option.names))]


def where_options() -> list[str]:
    """Those that say which daemon is meant."""
    return [name for option in GLOBAL_OPTIONS if option.key.startswith("rpc_") for name in option.names]


def with_value(options: list[Option], commands: dict[str, Command]) -> list[str]:
    """The names of all options that take one, of whatever command."""
    every = [*options, *(option for command in commands.values() for option in command.options)]
    return sorted({name for option in every if option.kind != FLAG for name in option.names})
