"""Serf's own configuration files, as the settings they mean (spec agent §1-§3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gossipd.addresses import format_address, parse_address
from gossipd.config.kinds import read_duration
from gossipd.config.source import Source, did_you_mean
from gossipd.errors import ConfigError
from gossipd.swim.config import DEFAULT_PORT

SERFS_RPC = "127.0.0.1:7373"
"""Where Serf's clients find an agent that nobody told otherwise."""
MDNS = "mdns"
WHOLE_MAX = 1 << 63     # in Serf a signed 64-bit number; also keeps out what JSON calls 1e999
AT_LEAST_S = 1.0        # Serf raises the shorter intervals of two keys to this

Reader = Callable[[Any], Any]


def text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError("a string")
    return raw


def switch(raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise ValueError("true or false")
    return raw


def whole(raw: Any) -> int:
    """Numbers are cut to whole ones."""
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not abs(raw) < WHOLE_MAX:
        raise ValueError("a number")
    return int(raw)


def count(raw: Any) -> int:
    """Negative ones mean zero."""
    return max(0, whole(raw))


def texts(raw: Any) -> list[str]:
    if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
        raise ValueError("a list of strings")
    return list(raw)


def mapping(raw: Any) -> dict[str, str]:
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise ValueError("an object of strings")
    return dict(raw)


def duration(raw: Any) -> str:
    """In Go's syntax; "" for one of no length."""
    seconds = read_duration(raw or "0") if isinstance(raw, str) else None
    if seconds is None:
        raise ValueError('a duration such as "1.5s" or "1h30m"')
    return str(raw) if seconds else ""


def not_(value: bool) -> bool:
    return not value


def at_least(value: str) -> str:
    return value if (read_duration(value) or 0.0) >= AT_LEAST_S else f"{AT_LEAST_S:.0f}s"


def with_serfs_port(value: str) -> str:
    """Serf advertises its default port, not the one it is bound to, unless told (T9). An unusable address stays."""
    try:
        return format_address(parse_address(value, DEFAULT_PORT))
    except ValueError:
        return value


@dataclass(frozen=True, slots=True)
class Meaning:
    read: Reader
    setting: str                        # "section.key"
    convert: Reader = lambda value: value


MEANINGS: dict[str, Meaning] = {
    "node_name": Meaning(text, "node.name"),
    "protocol": Meaning(count, "node.protocol"),
    "tags": Meaning(mapping, "node.tags"),
    "role": Meaning(text, "node.tags", lambda value: {"role": value}),      # below tags: it wins over them
    "bind": Meaning(text, "network.bind"),
    "advertise": Meaning(text, "network.advertise", with_serfs_port),
    "profile": Meaning(text, "network.profile"),
    "discover": Meaning(text, "discovery.cluster"),
    "mdns.interface": Meaning(text, "discovery.interfaces", lambda value: [value]),
    "mdns.disable_ipv4": Meaning(switch, "discovery.ipv4", not_),
    "mdns.disable_ipv6": Meaning(switch, "discovery.ipv6", not_),
    "encrypt_key": Meaning(text, "encryption.key"),
    "keyring_file": Meaning(text, "encryption.keyring_file"),
    "start_join": Meaning(texts, "join.seeds"),
    "retry_join": Meaning(texts, "join.seeds"),
    "retry_interval": Meaning(duration, "join.retry_interval", at_least),
    "retry_max_attempts": Meaning(count, "join.retry_max"),
    "replay_on_join": Meaning(switch, "join.replay"),
    "snapshot_path": Meaning(text, "snapshot.path"),
    "rejoin_after_leave": Meaning(switch, "snapshot.rejoin_after_leave"),
    "rpc_addr": Meaning(text, "rpc.tcp"),
    "rpc_auth": Meaning(text, "rpc.auth_key"),
    "log_level": Meaning(text, "log.level"),
    "leave_on_terminate": Meaning(switch, "leave.on_terminate"),
    "skip_leave_on_interrupt": Meaning(switch, "leave.on_interrupt", not_),
    "broadcast_timeout": Meaning(duration, "serf.broadcast_timeout", at_least),
    "reconnect_interval": Meaning(duration, "serf.reconnect_interval"),
    "reconnect_timeout": Meaning(duration, "serf.reconnect_timeout"),
    "tombstone_timeout": Meaning(duration, "serf.tombstone_timeout"),
    "disable_name_resolution": Meaning(switch, "serf.resolve_name_conflicts", not_),
    "query_response_size_limit": Meaning(whole, "serf.query_response_size_limit"),
    "query_size_limit": Meaning(whole, "serf.query_size_limit"),
    "user_event_size_limit": Meaning(whole, "serf.user_event_size_limit"),
}

HANDLERS = "event_handlers"

NO_EFFECT: dict[str, Reader] = dict.fromkeys(       # in Serf neither
    ("enable_compression", "disable_coordinates", "validate_node_names", "msgpackusenewtimeformat"), switch)

IGNORED: dict[str, tuple[Reader, str]] = {
    "enable_syslog": (switch, "the log goes to standard error"),
    "syslog_facility": (text, "the log goes to standard error"),
    "statsd_addr": (text, "gossipd sends nothing to statsd"),
    "statsite_addr": (text, "gossipd sends nothing to statsite"),
}

REFUSED: dict[str, tuple[Reader, str]] = {
    "interface": (text, "gossipd cannot do that; set bind to the address of the interface"),
    "tags_file": (text, "gossipd cannot do that; put what the file says into tags"),
}

READERS: dict[str, Reader] = {
    **{name: meaning.read for name, meaning in MEANINGS.items()}, HANDLERS: texts, **NO_EFFECT,
    **{name: reader for name, (reader, _) in (IGNORED | REFUSED).items()},
}


class SerfSettings(Source):
    """Values by the names that Serf's files give them, of the types that `READERS` give, as settings of ours.

    What is empty, zero or false changes nothing, as in Serf: it cannot take back what an earlier file said.
    """

    lists_add_up = True

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__({}, values.get(HANDLERS) or ())
        self.given = {name: value for name, value in values.items() if value is not None}
        self._names: dict[str, str] = {}        # what Serf calls a setting
        for name, meaning in MEANINGS.items():
            if values.get(name):
                self._set(name, meaning.setting, meaning.convert(values[name]))

    def _set(self, name: str, setting: str, value: Any) -> None:
        section, _, key = setting.partition(".")
        chosen = self.values.setdefault(section, {})
        if isinstance(value, dict):
            value = chosen.get(key, {}) | value
        elif isinstance(value, list):
            value = chosen.get(key, []) + value
        chosen[key] = value
        self._names[setting] = name

    def where(self, section: str, key: str = "", table: int = 0) -> str:
        setting = super().where(section, key)
        return self._names.get(setting, setting)


class SerfFile(SerfSettings):
    """One file. Raises ConfigError with a line for each thing that is wrong with it; `refused` is what we cannot do."""

    def __init__(self, path: str, refused: Mapping[str, tuple[Reader, str]] = REFUSED) -> None:
        self._path, self._text = path, _read(path)
        given = _flat(_first_value(self._text, path))
        wrong = [f"{self._where(name)}: unknown key{did_you_mean(name, READERS)}" for name in given
                 if name not in READERS]
        values: dict[str, Any] = {}
        for name, reader in READERS.items():
            try:
                values[name] = reader(given[name]) if given.get(name) is not None else None
            except ValueError as error:
                wrong.append(f"{self._where(name)}: expected {error}")
        wrong += [f"{self._where(name)}: {why}" for name, (_, why) in refused.items() if values.get(name)]
        if wrong:
            raise ConfigError("\n".join(wrong))
        super().__init__(values)
        self.specs_where = self._where(HANDLERS)
        self.notices = [f"{self._where(name)}: ignored, {why}" for name, (_, why) in IGNORED.items() if values[name]]

    def where(self, section: str, key: str = "", table: int = 0) -> str:
        return self._where(super().where(section, key, table))

    def _where(self, name: str) -> str:
        word = f'"{name.rpartition(".")[2]}"'
        line = next((number for number, line in enumerate(self._text.splitlines(), 1) if word in line.lower()), 0)
        return f"{self._path}:{line}: {name}" if line else f"{self._path}: {name}"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _first_value(document: str, path: str) -> dict[str, Any]:
    """The object that the file begins with; what follows is of no interest. `null` is an empty one."""
    import json  # 2 ms that only users of these files pay

    try:
        value, _ = json.JSONDecoder().raw_decode(document.lstrip(" \t\r\n"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON: {error}") from None
    if not isinstance(value, dict | None):
        raise ConfigError(f"{path}: expected an object")
    return value or {}


def _flat(given: dict[str, Any]) -> dict[str, Any]:
    """Keys in lower case, as any case will do; those of `mdns` behind `mdns.`."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = key.lower()
        if name == MDNS and isinstance(value, dict):
            found |= {f"{MDNS}.{inner.lower()}": item for inner, item in value.items()}
        elif name != MDNS or value is not None:
            found[name] = value
    return found
