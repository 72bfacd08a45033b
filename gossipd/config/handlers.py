"""Handlers in settings: `[[handler]]` tables, and Serf's strings on the command line and in Serf's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gossipd.config.kinds import Kind, Seconds, quote
from gossipd.config.schema import Setting
from gossipd.errors import CommandError, ConfigError
from gossipd.filters import ANY, EventFilter, parse_filter
from gossipd.hooks import TIMEOUT_S, Hook, parse_spec

SECTION = "handler"


class Filters(Kind):
    expected = 'a list of events such as ["member-join", "user:deploy", "query:load"], or ["*"]'

    def read(self, value: object) -> tuple[EventFilter, ...]:
        if not isinstance(value, list) or not value:
            raise ValueError(self.expected)
        try:
            return tuple(parse_filter(word) for word in value)
        except (CommandError, AttributeError):
            raise ValueError(self.expected) from None

    def show(self, value: object) -> str:
        assert isinstance(value, tuple)
        return "[" + ", ".join(quote(f"{kind}:{name}" if name else kind) for kind, name in value) + "]"


class Script(Kind):
    expected = "a command for /bin/sh"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError(self.expected)
        return value


HANDLER_SETTINGS: dict[str, Setting] = {
    "on": Setting(
        Filters(), ((ANY, ""),),
        "Events that run it: member-join, member-leave, member-failed, member-update, member-reap, user, user:NAME, "
        "query, query:NAME, or * for all."),
    "run": Setting(Script(), "", "What /bin/sh -c runs. It cannot be left out."),
    "timeout": Setting(Seconds(0.1), TIMEOUT_S, "A run that takes longer is ended, with all processes it began."),
}


def read_tables(tables: object) -> Iterator[Hook | tuple[int, str, str]]:
    """Of each table a Hook, or what is wrong with it: its number from 1, the key or "", and a sentence."""
    if not isinstance(tables, list):
        yield 1, "", f"expected tables, [[{SECTION}]]"
        return
    for number, table in enumerate(tables, 1):
        if not isinstance(table, dict):
            yield number, "", f"expected a table, [[{SECTION}]]"
            continue
        wrong = list(_wrong(table))
        if wrong:
            yield from ((number, key, sentence) for key, sentence in wrong)
        else:
            yield _hook(table)


def _wrong(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, raw in table.items():
        if key not in HANDLER_SETTINGS:
            yield key, f"unknown setting; there are {', '.join(HANDLER_SETTINGS)}"
            continue
        try:
            HANDLER_SETTINGS[key].kind.read(raw)
        except ValueError as error:
            yield key, f"expected {error}"
    if "run" not in table:
        yield "", f"run is missing, {Script.expected}"


def _hook(table: dict[str, Any]) -> Hook:
    chosen: dict[str, Any] = {
        key: about.kind.read(table[key]) if key in table else about.default
        for key, about in HANDLER_SETTINGS.items()}
    return Hook(chosen["on"], chosen["run"], chosen["timeout"])


def read_specs(specs: Sequence[str]) -> Iterator[Hook | str]:
    """Of each of Serf's strings its hooks, or what is wrong with it."""
    for spec in specs:
        try:
            yield from parse_spec(spec)
        except ConfigError as error:
            yield str(error)
