"""Serf's own configuration files, as the settings they mean (spec agent §1-§3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gossipd.addresses import format_address, parse_address
from gossipd.config.advertise import WILDCARDS
from gossipd.config.hosts import EVERYWHERE, unreachable
from gossipd.config.kinds import Addresses, read_duration, show_duration
from gossipd.config.schema import COUNT_MAX
from gossipd.config.source import Source, did_you_mean, in_line
from gossipd.config.textfile import read_text, whole_text
from gossipd.errors import ConfigError
from gossipd.swim.config import DEFAULT_PORT

SERFS_RPC = "127.0.0.1:7373"
"""Where Serf's clients find an agent that nobody told otherwise."""
MDNS = "mdns"
NOT_SERFS = ", in Serf too; see gossipd-from-serf(7)"
WHOLE_MAX = 1 << 63     # in Serf a signed 64-bit number; also keeps out what JSON calls 1e999
AT_LEAST_S = 1.0        # Serf raises the shorter intervals of two keys to this
SHORTEST_S = 0.01       # others it takes as they are, also those that would keep it busy and nothing else

Reader = Callable[[Any], Any]


def text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError("a string")
    return whole_text(raw)


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
    """`null` is an empty one."""
    if not isinstance(raw, list) or not all(isinstance(item, str | None) for item in raw):
        raise ValueError("a list of strings")
    return [whole_text(item or "") for item in raw]


def mapping(raw: Any) -> dict[str, str]:
    """`null` is an empty string."""
    if not isinstance(raw, dict) or not all(isinstance(value, str | None) for value in raw.values()):
        raise ValueError("an object of strings")
    return {whole_text(key): whole_text(value or "") for key, value in raw.items()}


def duration(raw: Any) -> str:
    """In Go's syntax; "" for one of no length."""
    seconds = read_duration(raw or "0") if isinstance(raw, str) else None
    if seconds is None:
        raise ValueError('a duration such as "1.5s" or "1h30m"')
    return str(raw) if seconds else ""


def not_(value: bool) -> bool:
    return not value


def at_least(value: str, seconds: float = AT_LEAST_S) -> str:
    return value if (read_duration(value) or 0.0) >= seconds else show_duration(seconds)


def no_shorter(value: str) -> str:
    return at_least(value, SHORTEST_S)


def size(value: int) -> int:
    """Less than nothing keeps everything out, and so does nothing."""
    return min(max(value, 0), COUNT_MAX)


def size_of_event(value: int) -> int:
    return max(value, 1)


def with_host(value: str) -> str:
    """A port alone is one on all addresses."""
    return f"0.0.0.0{value}" if value.startswith(":") else value


def everywhere(value: str) -> str:
    """To Serf's listener for clients any wildcard, and no host, means both families."""
    host, colon, port = value.rpartition(":")
    return f"[{EVERYWHERE}]:{port}" if colon and host in ("", *WILDCARDS) else value


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
    "tags_file": Meaning(text, "node.tags_file"),
    "bind": Meaning(text, "network.bind", with_host),
    "interface": Meaning(text, "network.interface"),
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
    "retry_max_attempts": Meaning(count, "join.retry_max", size),
    "replay_on_join": Meaning(switch, "join.replay"),
    "snapshot_path": Meaning(text, "snapshot.path"),
    "rejoin_after_leave": Meaning(switch, "snapshot.rejoin_after_leave"),
    "rpc_addr": Meaning(text, "rpc.tcp", everywhere),
    "rpc_auth": Meaning(text, "rpc.auth_key"),
    "log_level": Meaning(text, "log.level"),
    "leave_on_terminate": Meaning(switch, "leave.on_terminate"),
    "skip_leave_on_interrupt": Meaning(switch, "leave.on_interrupt", not_),
    "broadcast_timeout": Meaning(duration, "serf.broadcast_timeout", at_least),
    "reconnect_interval": Meaning(duration, "serf.reconnect_interval", no_shorter),
    "reconnect_timeout": Meaning(duration, "serf.reconnect_timeout", no_shorter),
    "tombstone_timeout": Meaning(duration, "serf.tombstone_timeout", no_shorter),
    "disable_name_resolution": Meaning(switch, "serf.resolve_name_conflicts", not_),
    "query_response_size_limit": Meaning(whole, "serf.query_response_size_limit", size),
    "query_size_limit": Meaning(whole, "serf.query_size_limit", size),
    "user_event_size_limit": Meaning(whole, "serf.user_event_size_limit", size_of_event),
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

READERS: dict[str, Reader] = {
    **{name: meaning.read for name, meaning in MEANINGS.items()}, HANDLERS: texts, **NO_EFFECT,
    **{name: reader for name, (reader, _) in IGNORED.items()},
}


def useless(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(name, value, why) of addresses that Serf takes, though nobody can ever be reached there."""
    advertise = values.get("advertise") or ""
    if why := _nowhere(advertise):
        yield "advertise", advertise, why
    for name in ("start_join", "retry_join"):
        yield from ((name, item, "is no address") for item in values.get(name) or () if not Addresses().is_one(item))


def _nowhere(address: str) -> str:
    """Why nobody can reach it; "" also if it is no address, which Serf refuses as well."""
    try:
        host, port = parse_address(address, DEFAULT_PORT)
    except ValueError:
        return ""
    why = "a wildcard" if host in WILDCARDS else unreachable(host)
    return f"is {why}" if why else "" if port else "has port 0"


class SerfSettings(Source):
    """Values by the names that Serf's files give them, of the types that `READERS` give, as settings of ours.

    What is empty, zero or false changes nothing, as in Serf: it cannot take back what an earlier file said. Nor does
    what is `useless`.
    """

    lists_add_up = may_be_useless = True

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__({}, values.get(HANDLERS) or ())
        self.given = {name: value for name, value in values.items() if value is not None}
        self._names: dict[str, str] = {}        # what Serf calls a setting
        dropped = {(name, value) for name, value, _ in useless(values)}
        for name, meaning in MEANINGS.items():
            value = values.get(name)
            if isinstance(value, list):
                value = [item for item in value if (name, item) not in dropped]
            elif isinstance(value, str) and (name, value) in dropped:
                continue
            if value:
                self._set(name, meaning.setting, meaning.convert(value))

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
    """One file. Raises ConfigError with a line for each thing that is wrong with it."""

    def __init__(self, path: str) -> None:
        self._path, self._text = path, read_text(path, errors="replace")
        given = _flat(_first_value(self._text, path))
        wrong = [f"{self._where(name)}: unknown key{did_you_mean(name, READERS, NOT_SERFS)}" for name in given
                 if name not in READERS]
        values: dict[str, Any] = {}
        for name, reader in READERS.items():
            try:
                values[name] = reader(given[name]) if given.get(name) is not None else None
            except ValueError as error:
                wrong.append(f"{self._where(name)}: expected {error}")
        if wrong:
            raise ConfigError("\n".join(wrong))
        super().__init__(values)
        self.specs_where = self._where(HANDLERS)
        self.notices = [f"{self._where(name)}: ignored, {why}" for name, (_, why) in IGNORED.items() if values[name]]
        self.notices += [f"{self._where(name)}: ignored, {value!r} {why}" for name, value, why in useless(values)]

    def where(self, section: str, key: str = "", table: int = 0) -> str:
        return self._where(super().where(section, key, table))

    def _where(self, name: str) -> str:
        word = f'"{name.rpartition(".")[2]}"'
        line = next((number for number, line in enumerate(self._text.splitlines(), 1) if word in line.lower()), 0)
        return f"{self._path}:{line}: {in_line(name)}" if line else f"{self._path}: {in_line(name)}"


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
