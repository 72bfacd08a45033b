"""Event handlers as Serf knows them: which script an event runs, with what environment and input (spec agent §11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gossipd.addresses import unpack_ip
from gossipd.errors import CommandError, ConfigError
from gossipd.events import Event, MemberEvent, MemberInfo, QueryEvent, UserEvent
from gossipd.filters import ANY, EventFilter, kind_and_name, parse_filter, wanted

TIMEOUT_S = 60.0
ROLE = "role"
_UNDERSCORE = "_"
_IN_NAMES = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


@dataclass(frozen=True, slots=True)
class Hook:
    """A script for the events that pass one of the filters; it runs once for each of them."""

    filters: tuple[EventFilter, ...]
    script: str                     # for /bin/sh -c
    timeout_s: float = TIMEOUT_S

    def wants(self, event: Event) -> bool:
        return wanted(self.filters, event)


def parse_spec(spec: str) -> tuple[Hook, ...]:
    """`[FILTER[,FILTER]=]SCRIPT`, a hook for each filter: `*,user=x.sh` runs twice for a user event.

    Raises ConfigError with Serf's words.
    """
    words, equals, script = spec.partition("=")
    if not equals:
        words, script = ANY, spec
    return tuple(Hook((_filter(word, script),), script) for word in (words or ANY).split(","))


def _filter(word: str, script: str) -> EventFilter:
    try:
        return parse_filter(word)
    except CommandError:
        raise ConfigError(f"Invalid event script: Event '{word}' invoking '{script}'") from None


def describe(hooks: tuple[Hook, ...]) -> dict[str, str]:
    """Script by `KIND:NAME`, as Serf's stats show handlers; the last one of those alike."""
    return {f"{kind}:{name}": hook.script for hook in hooks for kind, name in hook.filters}


def variables(event: Event, node: str, tags: Mapping[str, str]) -> dict[bytes, bytes]:
    """What the script finds in its environment besides the agent's own; `node` and `tags` are of this node.

    Without NULs, which no environment holds. Of tags whose names are the same once made fit for a variable, the last
    by name wins (in Serf any).
    """
    found = {"SERF_EVENT": kind_and_name(event)[0], "SERF_SELF_NAME": node, "SERF_SELF_ROLE": tags.get(ROLE, "")}
    if isinstance(event, UserEvent):
        found |= {"SERF_USER_EVENT": event.name, "SERF_USER_LTIME": str(event.ltime)}
    elif isinstance(event, QueryEvent):
        found |= {"SERF_QUERY_NAME": event.name, "SERF_QUERY_LTIME": str(event.ltime)}
    for name in sorted(tags):
        found["SERF_TAG_" + variable_name(name)] = tags[name]
    return {_raw(key): _raw(value).replace(b"\0", b"") for key, value in found.items()}


def variable_name(tag: str) -> str:
    """One character for each of the tag's: its upper case if that is an ASCII letter, digit or _, else _.

    Serf upper-cases rune by rune, so the sharp s, two letters in upper case, is one underscore.
    """
    return "".join(upper if (upper := c.upper()) in _IN_NAMES else _UNDERSCORE for c in tag)


def standard_input(event: Event) -> bytes:
    """What the script reads: a line for each member, or the payload, ended by a newline unless it is empty."""
    if isinstance(event, MemberEvent):
        return b"".join(map(member_line, event.members))
    payload = event.payload or b""
    return payload if not payload or payload.endswith(b"\n") else payload + b"\n"


def member_line(member: MemberInfo) -> bytes:
    """Name, address, role and tags, between tabs. Tabs and newlines in them are written `\\t` and `\\n`."""
    tags = ",".join(f"{key}={value}" for key, value in member.tags.items())
    fields = (member.name, unpack_ip(member.addr), member.tags.get(ROLE, ""), tags)
    return _raw("\t".join(map(_escaped, fields)) + "\n")


def _escaped(text: str) -> str:
    return text.replace("\t", "\\t").replace("\n", "\\n")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
