"""Files and flags of `serf agent`, merged as Serf merges them (spec agent §2, §3), as settings of the daemon."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from gossipd.addresses import Address, format_address
from gossipd.config.kinds import read_duration
from gossipd.config.schema import Config, is_loopback
from gossipd.config.serfjson import HANDLERS, IGNORED, SERFS_RPC, SerfFile, SerfSettings, useless, with_serfs_port
from gossipd.config.source import Source
from gossipd.config.tagsfile import with_tags
from gossipd.config.textfile import Unreadable, read_bytes
from gossipd.config.toml import merge, serfs_files
from gossipd.daemon.interfaces import interface_exists, on_interface
from gossipd.errors import CommandError, ConfigError, GossipdError
from gossipd.hooks import Hook, parse_spec
from gossipd.rpc.keytext import key_bytes
from gossipd.serf.config import PROTOCOL_MAX, PROTOCOL_MIN, USER_EVENT_BYTES_MAX
from gossipd.serfcli.agent.flags import NO_COMPRESSION, PATHS, TAG, agent_flags, values_of
from gossipd.serfcli.agent.stores import read_keyring_file, read_tags_file
from gossipd.serfcli.dial import NotConnected, split_address
from gossipd.serfcli.flags import split_pair
from gossipd.swim.config import DEFAULT_PORT, PROFILES

LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERR")
LEAVE_TIMEOUT = "3s"            # of a goodbye (T8)
LOW_S = 1.0
WILDCARD = "0.0.0.0"
_LISTS = (HANDLERS, "start_join", "retry_join")

Say = Callable[[str], None]
"""Prints a line of output."""


class Refused(Exception):
    """The agent cannot run with these settings; the text says why, in Serf's words where it has some."""


@dataclass(slots=True)
class Wanted:
    """What files and flags ask for, by the keys of Serf's files; `role` is among the tags."""

    values: dict[str, Any] = field(default_factory=dict)
    compress: bool = True
    hooks: tuple[Hook, ...] = ()

    def text(self, key: str) -> str:
        return str(self.values.get(key) or "")

    def texts(self, key: str) -> list[str]:
        return list(self.values.get(key) or ())

    def switch(self, key: str) -> bool:
        return bool(self.values.get(key))

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.values.get("tags") or {})

    @property
    def rpc_addr(self) -> str:
        return self.text("rpc_addr") or SERFS_RPC


def read(argv: list[str], say: Say) -> Wanted:
    """Of the command line. Raises Refused and FlagError."""
    flags = agent_flags(argv)
    last = values_of(flags)
    last["tags"] = _pairs(flags.texts(TAG))
    for key in ("retry_interval", "broadcast_timeout"):
        _check_duration(str(last.get(key, "0")))
    wanted = Wanted(compress=not flags.switch(NO_COMPRESSION))
    for path in flags.texts(PATHS):
        for name in _files(path):
            _add(wanted.values, _read_file(name))
    _add(wanted.values, last)
    _check(wanted, say)
    return wanted


def _pairs(texts: Iterable[str]) -> dict[str, str]:
    tags = {}
    for text in texts:
        pair = split_pair(text)
        if pair is None:
            raise Refused(f"Error: Invalid tag: '{text}'")
        tags[pair[0]] = pair[1]
    return tags


def _check_duration(text: str) -> None:
    if text and read_duration(text) is None:
        wrong = "missing unit in" if text.lstrip("+-").replace(".", "", 1).isdigit() else "invalid"
        raise Refused(f'Error: time: {wrong} duration "{text}"')


def _files(path: str) -> list[str]:
    """What the path is decides, not which flag it came with."""
    if not os.path.isdir(path):
        return [path]
    try:
        return serfs_files(path, os.listdir(path))
    except OSError as error:
        raise Refused(f"Error reading '{path}': open {path}: {(error.strerror or str(error)).lower()}") from None


def _read_file(path: str) -> dict[str, Any]:
    try:
        if not read_bytes(path).strip():
            raise Refused(f"Error decoding '{path}': EOF")
        return SerfFile(path).given
    except Unreadable as error:
        raise Refused(f"Error reading '{path}': open {path}: {error.words.lower()}") from None
    except ConfigError as error:
        raise Refused(f"Error decoding '{path}': {error}") from None


def _add(values: dict[str, Any], later: dict[str, Any]) -> None:
    """Later values win, but what is empty, zero or false takes nothing back (T3)."""
    for key, value in later.items():
        if not value:
            continue
        if key in _LISTS:
            value = [*values.get(key, ()), *value]
        elif key == "tags":
            value = values.get(key, {}) | value
        values[key] = value


def _check(wanted: Wanted, say: Say) -> None:
    """In Serf's order."""
    try:
        wanted.hooks = tuple(hook for spec in wanted.texts(HANDLERS) for hook in parse_spec(spec))
    except ConfigError as error:
        raise Refused(str(error)) from None
    if wanted.text("interface") and not interface_exists(wanted.text("interface")):
        raise Refused("Invalid network interface: route ip+net: no such network interface")
    _check_mdns(wanted)
    if wanted.text("role"):
        say("Deprecation warning: 'Role' has been replaced with 'Tags'")
        wanted.values["tags"] = wanted.tags | {"role": wanted.text("role")}
    for key, name in (("retry_interval", "RetryInterval"), ("broadcast_timeout", "BroadcastTimeout")):
        if 0 != (read_duration(wanted.text(key) or "0") or 0.0) < LOW_S:
            say(f"Warning: '{name}' is too low. Setting to 1s")
    if wanted.switch("rejoin_after_leave") and not wanted.text("snapshot_path"):
        say("Warning: 'RejoinAfterLeave' enabled without snapshot file")


def _check_mdns(wanted: Wanted) -> None:
    interface = wanted.text("mdns.interface")
    if not interface:
        return
    if not wanted.text("discover"):
        raise Refused("mDNS interface specified without enabling mDNS discovery")
    if not interface_exists(interface):
        raise Refused("Invalid mDNS network interface: route ip+net: no such network interface")
    if wanted.switch("mdns.disable_ipv4") and wanted.switch("mdns.disable_ipv6"):
        raise Refused("Invalid mDNS configuration: both IPv4 and IPv6 are disabled")


def log_level(wanted: Wanted) -> str:
    """One of LEVELS. Raises Refused."""
    level = wanted.text("log_level").upper() or "INFO"
    if level not in LEVELS:
        raise Refused(f"Invalid log level: {level}. Valid log levels are: [{' '.join(LEVELS)}]")
    return level


# --- before the agent says that it starts


def check_identity(wanted: Wanted, say: Say) -> None:
    """Addresses, key and profile. `bind` becomes the interface's address if one is named. Raises Refused."""
    bind = _address("bind", wanted.text("bind") or WILDCARD)
    if wanted.text("interface"):
        bind = _on_interface(wanted.text("interface"), bind, say)
    wanted.values["bind"] = format_address(bind)
    if wanted.text("advertise"):
        wanted.values["advertise"] = format_address(_address("advertise", with_serfs_port(wanted.text("advertise"))))
    try:
        key_bytes(wanted.text("encrypt_key"))
    except CommandError as error:
        raise Refused(f"Invalid encryption key: {error}") from None
    profile = wanted.text("profile")
    if profile and profile not in PROFILES:
        raise Refused(f"Unknown profile: {profile}")


def _address(what: str, text: str) -> Address:
    """Numeric. Raises Refused."""
    try:
        host, port = split_address(text if _has_port(text) else f"{text}:{DEFAULT_PORT}")
        answers = socket.getaddrinfo(host or WILDCARD, port, type=socket.SOCK_STREAM)
    except NotConnected as error:
        wrong = str(error).removeprefix("dial tcp: ").replace(f":{DEFAULT_PORT}:", ":")
        raise Refused(f"Invalid {what} address: {wrong}") from None
    except (OSError, UnicodeError):
        raise Refused(f"Invalid {what} address: lookup {host}: no such host") from None
    chosen = min(answers, key=lambda answer: answer[0] != socket.AF_INET)[4]
    return str(chosen[0]), int(chosen[1])


def _has_port(text: str) -> bool:
    """A bare IPv6 address counts as one with a port, and then has too many colons."""
    return ":" in (text.rpartition("]")[2] if text.startswith("[") else text)


def _on_interface(interface: str, bind: Address, say: Say) -> Address:
    try:
        found = on_interface(interface, bind)
    except GossipdError as error:
        raise Refused(str(error)) from None
    if found != bind:
        say(f"Using interface '{interface}' address '{found[0]}'")
    return found


# --- after that


def to_config(wanted: Wanted, info: Say) -> Config:
    """What the daemon runs with. `info` hears what was restored from files. Raises Refused."""
    values = dict(wanted.values)
    for key in ("start_join", "retry_join", "log_level", "role", HANDLERS, "bind"):
        values.pop(key, None)       # the agent's own business, or checked by now
    try:
        tags = _restore(wanted, info)
    except ConfigError as error:
        raise Refused(f"Failed to setup the Serf agent: {error}") from None
    cannot = "Failed to start the Serf agent: Error creating Serf: "
    values["protocol"] = protocol = max(int(values.get("protocol") or 0), 0) or PROTOCOL_MAX
    if not PROTOCOL_MIN <= protocol <= PROTOCOL_MAX:
        which = "low" if protocol < PROTOCOL_MIN else "high"
        raise Refused(f"{cannot}Protocol version '{protocol}' too {which}. "
                      f"Must be in range: [{PROTOCOL_MIN}, {PROTOCOL_MAX}]")
    if len(key_bytes(wanted.text("encrypt_key"))) not in (0, 16, 24, 32):
        raise Refused(f"{cannot}Failed to create memberlist: key size must be 16, 24 or 32 bytes")
    if int(values.get("user_event_size_limit") or 0) > USER_EVENT_BYTES_MAX:
        raise Refused(f"{cannot}user event size limit exceeds limit of {USER_EVENT_BYTES_MAX} bytes")
    values["rpc_addr"] = check_rpc(wanted)
    try:
        return with_tags(merge([SerfSettings(values), _own(wanted)]), tags)
    except ConfigError as error:
        raise Refused(cannot + str(error)) from None


def _own(wanted: Wanted) -> Source:
    """What Serf's keys do not say, or say differently."""
    own = Source({
        "network": {"bind": wanted.text("bind") or WILDCARD, "compression": wanted.compress},
        "leave": {"timeout": LEAVE_TIMEOUT},
    }, wanted.texts(HANDLERS))
    own.may_be_useless = True       # as in SerfSettings
    return own


def _restore(wanted: Wanted, info: Say) -> dict[str, str] | None:
    """The tags that are kept in a file of their own, if they are; keys are kept so too. Raises ConfigError."""
    tags = None
    path = wanted.text("tags_file")
    if path:
        if wanted.tags:
            raise ConfigError("Tags config not allowed while using tag files")
        tags = read_tags_file(path)
        if tags is not None:
            info(f"Restored {len(tags)} tag(s) from {path}")
    path = wanted.text("keyring_file")
    if path:
        if wanted.text("encrypt_key"):
            raise ConfigError("Encryption key not allowed while using a keyring")
        info(f"Restored keyring with {len(read_keyring_file(path))} keys from {path}")
    return tags


def check_rpc(wanted: Wanted) -> str:
    """The address for clients. RPC may do anything: unlike Serf we want a key where others could reach it."""
    failed = "Error starting RPC listener: "
    try:
        host, port = split_address(wanted.rpc_addr)
    except NotConnected as error:
        raise Refused(failed + str(error).replace("dial tcp", "listen tcp", 1)) from None
    if not (is_loopback(host) or wanted.text("rpc_auth")):
        raise Refused(f"{failed}{wanted.rpc_addr} can be reached from outside: set rpc_auth in a configuration file, "
                      "or use a loopback address")
    return format_address((host, port))


def unsupported(wanted: Wanted) -> list[str]:
    """What is accepted and has no effect, though it has one in Serf."""
    lost = [f"{key}: {IGNORED[key][1]}" for key in ("statsd_addr", "statsite_addr") if wanted.text(key)]
    advertise = wanted.text("advertise")
    return lost + [f"{key}: {value!r} {why}" for key, value, why in useless({"advertise": advertise})]
