"""Help texts, made from the table."""

from __future__ import annotations

from gossipd.ctl.table import COMMANDS, GLOBAL_OPTIONS, Command, Option

WIDTH = 96

ENVIRONMENT = (
    ("GOSSIPCTL_RPC", "where the daemon is: a path if it holds a /, else HOST:PORT"),
    ("GOSSIPCTL_RPC_AUTH", "key that the daemon asks for: unlike --rpc-auth, other users cannot see it"),
    ("NO_COLOR", "if set, no colors on terminals either"),
    ("TERM", "if it is dumb, no colors and no progress on terminals"),
    ("XDG_RUNTIME_DIR", "where the socket of a daemon is that this user started"),
)
EXIT_CODES = (
    ("0", "done"), ("1", "it failed"), ("2", "wrong usage"), ("3", "nothing matched"), ("4", "only partly done"),
    ("5", "no answer in time"), ("6", "daemon not reachable"), ("130", "interrupted"),
)


def help_text(command: Command | None) -> str:
    return _general() if command is None else _of_command(command)


def _general() -> str:
    return "".join((
        "Usage: gossipctl COMMAND [OPTION...] [ARGUMENT...]\n",
        "\nAsk or command the gossipd that runs on this machine, or another one, or a Serf agent.\n",
        _section("Commands", [(command.name, command.summary) for command in COMMANDS.values()]),
        _section("Options of all commands", [_entry(option) for option in GLOBAL_OPTIONS]),
        _section("Environment", list(ENVIRONMENT)),
        _section("Exit status", list(EXIT_CODES)),
        "\n`gossipctl COMMAND --help` shows a command's options and examples.\n",
    ))


def _of_command(command: Command) -> str:
    usage = " ".join(filter(None, ("gossipctl", command.name, "[OPTION...]", command.arguments)))
    paragraphs = [f"Usage: {usage}\n", f"\n{command.summary[0].upper()}{command.summary[1:]}.\n"]
    if command.about:
        paragraphs.append("\n" + "".join(f"{line}\n" for line in _wrapped(command.about, WIDTH)))
    if command.options:
        paragraphs.append(_section("Options", [_entry(option) for option in command.options]))
    own = [option.key for option in command.options]
    others = [_entry(option) for option in GLOBAL_OPTIONS if option.key not in own]
    paragraphs.append(_section("Options of all commands", others))
    paragraphs.append("\nExamples:\n")
    paragraphs += [f"  # {what}\n  {line}\n" for line, what in command.examples]
    return "".join(paragraphs)


def _entry(option: Option) -> tuple[str, str]:
    return ", ".join(option.names) + (f" {option.metavar}" if option.metavar else ""), option.help


def _section(title: str, entries: list[tuple[str, str]]) -> str:
    margin = 2 + max(len(name) for name, _ in entries) + 2
    lines = [f"\n{title}:\n"]
    for name, text in entries:
        wrapped = _wrapped(text, WIDTH - margin)
        lines.append(f"  {name}".ljust(margin) + wrapped[0] + "\n")
        lines += [" " * margin + line + "\n" for line in wrapped[1:]]
    return "".join(lines)


def _wrapped(text: str, columns: int) -> list[str]:
    from textwrap import wrap

    return wrap(text, columns, break_on_hyphens=False)
