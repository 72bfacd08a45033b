"""Reading settings: files and flags become one checked Config, or one error that lists everything wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from gossipd.config.handlers import SECTION as HANDLER
from gossipd.config.handlers import read_specs, read_tables
from gossipd.config.schema import SETTINGS, Config, build, contradictions, useless
from gossipd.config.serfjson import SERFS_RPC, SerfFile
from gossipd.config.source import Source, did_you_mean
from gossipd.config.tagsfile import restore_tags
from gossipd.config.textfile import read_text
from gossipd.errors import ConfigError
from gossipd.hooks import Hook

OURS, SERFS = ".toml", ".json"


class File(Source):
    """One TOML file. Raises ConfigError if it cannot be read or is not TOML."""

    def __init__(self, path: str) -> None:
        import tomllib  # 5 ms that a daemon without files never pays

        self._path, self._text = path, read_text(path)
        try:
            super().__init__(tomllib.loads(self._text))
        except ValueError as error:         # also of a number that is too long for Python
            raise ConfigError(f"{path}: {error}") from None
        except RecursionError:
            raise ConfigError(f"{path}: is nested too deep") from None

    def where(self, section: str, key: str = "", table: int = 0) -> str:
        line = find_line(self._text, section, key, table)
        return f"{self._path}:{line}: {super().where(section, key)}" if line else \
            f"{self._path}: {super().where(section, key)}"


def load(paths: Iterable[str], flags: Source | None = None) -> Config:
    """The files in order, then the flags; what comes later wins, tags and handlers add up.

    A file `*.json` is one of Serf's, and then clients of Serf find the daemon where they find Serf by default. A
    directory stands for its `*.toml` files, or if there are none its `*.json` files, in the order of their names.
    The tags are those of the tags file if one is named and there.
    Raises ConfigError: one line for each thing that is wrong, with file, line, key and what was expected.
    """
    sources: list[Source] = []
    errors: list[str] = []
    for path in paths:
        try:
            names = config_files(path)
        except ConfigError as error:
            errors.append(str(error))
            continue
        for name in names:
            try:
                sources.append(SerfFile(name) if name.endswith(SERFS) else File(name))
            except ConfigError as error:
                errors.append(str(error))
    if any(isinstance(source, SerfFile) for source in sources):
        sources.insert(0, Source({"rpc": {"tcp": SERFS_RPC}}))
    return restore_tags(merge([*sources, flags] if flags else sources, errors))


def config_files(path: str) -> list[str]:
    """A file itself, or those of a directory by name: `*.toml` or, without any, `*.json`. Raises ConfigError.

    Directories that are called `*.json` do not count, as for Serf.
    """
    if not os.path.isdir(path):
        return [path]
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if chosen := [os.path.join(path, name) for name in names if name.endswith(OURS)]:
        return chosen
    return serfs_files(path, names)


def serfs_files(path: str, names: list[str]) -> list[str]:
    """What Serf reads of a directory of these names."""
    found = [os.path.join(path, name) for name in sorted(names, key=os.fsencode) if name.endswith(SERFS)]
    return [name for name in found if not os.path.isdir(name)]


def merge(sources: Iterable[Source], errors: Iterable[str] = ()) -> Config:
    """One Config of all sources. `errors` are those found before; raises ConfigError with them and its own."""
    found = list(errors)
    values: dict[str, dict[str, Any]] = {}
    origin: dict[tuple[str, str], Source] = {}
    hooks: list[Hook] = []
    notices: list[str] = []
    for source in sources:
        notices += source.notices
        hooks += _hooks(source, found)
        for section, key, raw in _settings(source, found):
            try:
                value = SETTINGS[section][key].kind.read(raw)
            except ValueError as error:
                found.append(f"{source.where(section, key)}: expected {error}{_instead(raw, section, key)}")
                continue
            chosen = values.setdefault(section, {})
            chosen[key] = _together(chosen.get(key), value, source.lists_add_up)
            origin[section, key] = source
    if not found:
        config = build(values, tuple(hooks))
        for section, key, wrong in contradictions(config):
            found.append(f"{origin.get((section, key), Source({})).where(section, key)}: {wrong}")
        for section, key, wrong in useless(config):
            source = origin[section, key]
            (notices if source.may_be_useless else found).append(f"{source.where(section, key)}: {wrong}")
        config = replace(config, notices=tuple(notices))
    if found:
        raise ConfigError("\n".join(found))
    return config


def _together(before: object, value: object, lists_add_up: bool) -> object:
    if isinstance(value, dict) and isinstance(before, dict):
        return before | value
    if lists_add_up and isinstance(value, tuple) and isinstance(before, tuple):
        return before + value
    return value


def _hooks(source: Source, errors: list[str]) -> Iterator[Hook]:
    """The handlers of a source; what is wrong with others is appended to `errors`."""
    for found in read_tables(source.values.get(HANDLER, [])):
        if isinstance(found, Hook):
            yield found
        else:
            number, key, wrong = found
            errors.append(f"{source.where(HANDLER, key, number)}: {wrong}")
    for given in read_specs(source.specs):
        if isinstance(given, Hook):
            yield given
        else:
            errors.append(f"{source.specs_where}: {given}")


def _settings(source: Source, errors: list[str]) -> Iterator[tuple[str, str, Any]]:
    """The settings of a source that exist; the others are appended to `errors`."""
    for section, table in source.values.items():
        if section == HANDLER:
            continue
        if section not in SETTINGS:
            errors.append(f"{source.where(section)}: {_unknown(section)}")
        elif not isinstance(table, dict):
            errors.append(f"{source.where(section)}: expected a table, [{section}]")
        else:
            for key, raw in table.items():
                if key in SETTINGS[section]:
                    yield section, key, raw
                else:
                    errors.append(f"{source.where(section, key)}: unknown setting{_nearest_key(section, key)}")


def _unknown(section: str) -> str:
    """What to say of a top-level name that is no section: perhaps it is a setting out of its section."""
    homes = [f"{name}.{section}" for name, settings in SETTINGS.items() if section in settings]
    if homes:
        return f"unknown section; did you mean {' or '.join(homes)}?"
    return "unknown section" + did_you_mean(section, [*SETTINGS, HANDLER])


def _nearest_key(section: str, key: str) -> str:
    homes = [f"{name}.{key}" for name, settings in SETTINGS.items() if key in settings]
    return f"; did you mean {' or '.join(homes)}?" if homes else did_you_mean(key, list(SETTINGS[section]))


def _instead(raw: object, section: str, key: str) -> str:
    """The refused value, unless it is long, a list, or a secret."""
    if "key" in key.split("_") or not isinstance(raw, str | int | float):
        return ""
    if isinstance(raw, int) and raw.bit_length() > 64:
        return ""       # Python does not show thousands of digits
    text = repr(raw).lower() if isinstance(raw, bool) else repr(raw)
    return f", not {text}" if len(text) <= 60 else ""


def find_line(text: str, section: str, key: str = "", nth: int = 0) -> int:
    """The line, from 1, on which a section or a setting begins; 0 if a simple look does not find it.

    `nth`: of which one of the tables [[section]], from 1.
    """
    wanted = f"{section}.{key}" if key else section
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line.startswith("["):
            name = table = _dotted(line.strip("[").partition("]")[0])
            nth -= name == section
        elif "=" in line and not line.startswith("#"):
            name = ".".join(filter(None, (table, _dotted(line.partition("=")[0]))))
        else:
            continue
        if nth <= 0 and (name == wanted or name.startswith(wanted + ".")):
            return number
    return 0


def _dotted(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))
