"""gossipctl migrate: a configuration file of Serf's as one of ours. Needs no daemon."""

from __future__ import annotations

import os
import sys

from gossipd.client import ClientError
from gossipd.config.handlers import HANDLER_SETTINGS, SECTION, Filters
from gossipd.config.schema import SETTINGS
from gossipd.config.serfjson import SERFS_RPC, SerfFile
from gossipd.config.source import Source
from gossipd.config.textfile import opened, whole_text
from gossipd.config.toml import merge
from gossipd.ctl.arguments import Arguments
from gossipd.ctl.output import EXIT_OK, EXIT_PARTLY, complain, printable
from gossipd.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from gossipd.client import Client
    from gossipd.hooks import Hook

COLUMNS = 118
START_JOIN = "Serf's agent ends if none of start_join answers, and retries retry_join alone; gossipd retries them all."
LINE_BYTES_MAX = 1 << 16                # of a file that has no lines
SNAPSHOT_LINES = (b"alive: ", b"not-alive: ", b"failed: ", b"clock: ", b"event-clock: ", b"query-clock: ",
                  b"coordinate: ", b"leave", b"#")


def run_migrate(arguments: Arguments, connect: Callable[[], Client]) -> int:
    path = arguments.words[0]
    try:
        file = SerfFile(path)
        values = settings_of(file)
        lost = list(file.notices)
        if len(arguments.words) > 1:
            values.setdefault("snapshot", {})["path"] = os.path.abspath(arguments.words[1])
            lost += _about_snapshot(arguments.words[1])
        config = merge([Source(values, file.specs)])
    except ConfigError as error:
        raise ClientError("; ".join(str(error).splitlines())) from None
    sys.stdout.write("".join(document(path, values, config.hooks, lost, different(file))))
    for line in lost:
        complain(line)
    return EXIT_PARTLY if lost else EXIT_OK


def settings_of(file: SerfFile) -> dict[str, dict[str, Any]]:
    """By section and key, with what Serf does where its file says nothing and gossipd does otherwise."""
    values = {section: dict(chosen) for section, chosen in file.values.items()}
    values.setdefault("rpc", {}).setdefault("tcp", SERFS_RPC)
    return values


def different(file: SerfFile) -> dict[str, str]:
    """By `section.key`: where gossipd does something else than Serf does with the same file."""
    return {"join.seeds": START_JOIN} if file.given.get("start_join") else {}


def _about_snapshot(path: str) -> list[str]:
    """What is wrong with it. Raises ConfigError if it cannot be read, or its path cannot be written down."""
    if whole_text(os.path.abspath(path)) != os.path.abspath(path):
        raise ConfigError(f"{path}: TOML has no words for a path that is not UTF-8")
    strange = 0
    with opened(path) as file:
        while line := file.readline(LINE_BYTES_MAX):
            strange += bool(line.strip()) and not line.startswith(SNAPSHOT_LINES)
    return [f"{path}: {strange} lines are no lines of a snapshot and will be skipped"] if strange else []


def document(path: str, values: dict[str, dict[str, Any]], hooks: Sequence[Hook], lost: list[str],
             remarks: dict[str, str]) -> Iterator[str]:
    """TOML with the meaning of each setting as comments, and `remarks` by `section.key`."""
    yield from _comment(f"Settings of gossipd, made from {path} by gossipctl migrate. See gossipd.toml(5).")
    if values.get("encryption", {}).get("key") or values.get("rpc", {}).get("auth_key"):
        yield from _comment("It holds a key: let nobody read it who should not.")
    for line in lost:
        yield from _comment(f"No equivalent: {line}.")
    for section, settings in SETTINGS.items():
        if chosen := values.get(section):
            yield from _section(section, [(key, chosen[key]) for key in settings if key in chosen], remarks)
    for hook in hooks:
        yield f"\n[[{SECTION}]]\n"
        yield from _comment(HANDLER_SETTINGS["timeout"].help + " Serf's agent waits for ever.")
        yield from _comment(f'timeout = "{hook.timeout_s:.0f}s"')
        yield f"on = {Filters().show(hook.filters)}\n"
        yield _toml({"run": hook.script})


def _section(section: str, chosen: list[tuple[str, Any]], remarks: dict[str, str]) -> Iterator[str]:
    """Tables come last: what follows them would be theirs."""
    yield f"\n[{section}]\n"
    for key, value in sorted(chosen, key=lambda one: isinstance(one[1], dict)):
        yield from _comment(f"{SETTINGS[section][key].help} {remarks.get(f'{section}.{key}', '')}")
        yield _toml({section: {key: value}}) if isinstance(value, dict) else _toml({key: value})


def _toml(value: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(value)


def _comment(text: str) -> Iterator[str]:
    from textwrap import wrap

    lines = wrap(printable(text), COLUMNS, break_on_hyphens=False, break_long_words=False)
    yield from (f"# {line}\n" for line in lines)
