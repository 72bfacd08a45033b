"""Requests to the core, by RPC clients, signals and discovery. `id` is the caller's; the `Reply` carries it."""

from __future__ import annotations

from dataclasses import dataclass, field

from gossipd.addresses import Address


@dataclass(slots=True)
class Join:
    """Push/pull with each of these addresses (names are looked up before). Result: how many answered (int).

    Fails only if none did; the error then has one line for each. User events from before the join are ignored
    unless `replay`. `intent` is False for joins that retry what was known: they send no join intent (spec serf §6.9).
    """

    id: int
    addresses: list[Address]
    replay: bool = False
    intent: bool = True


@dataclass(slots=True)
class Leave:
    """Leave gracefully. The reply comes when the goodbye has been gossiped and had time to spread."""

    id: int


@dataclass(slots=True)
class ForceLeave:
    """Declare a failed member left; with `prune` forget it. The reply comes when the intent was gossiped."""

    id: int
    name: str
    prune: bool = False


@dataclass(slots=True)
class SetTags:
    """Give this node these tags, and take away `deleted` before that; others stay. Commands at the same time lose
    nothing of each other. The reply comes when the announcement was gossiped."""

    id: int
    tags: dict[str, str]
    deleted: list[str] = field(default_factory=list)


@dataclass(slots=True)
class SendEvent:
    """Send a user event. The reply comes at once."""

    id: int
    name: str
    payload: bytes | None = None
    coalesce: bool = True


@dataclass(slots=True)
class StartQuery:
    """Ask the cluster, or those with these names and with tags that match these expressions.

    An effect `Part` with a `QueryAnswer` for each ack and answer; the reply with a `QueryOutcome` when it is over.
    """

    id: int
    name: str
    payload: bytes | None = None
    nodes: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)      # tag -> regular expression
    ack: bool = False
    relay_factor: int = 0
    timeout_s: float = 0.0      # 0: by the size of the cluster
    early: bool = False         # over as soon as everyone asked has answered, instead of at the deadline


@dataclass(slots=True)
class QueryAnswer:
    source: str
    payload: bytes | None = None
    ack: bool = False
    ltime: int = 0              # of the query


@dataclass(slots=True)
class QueryOutcome:
    """Names, in order of arrival. `silent`: who was asked and did neither. None unless the query was an early one, and
    of an early one that others may read in other ways than we do."""

    acked: list[str]
    answered: list[str]
    silent: list[str] | None


@dataclass(slots=True)
class Respond:
    """Answer the `QueryEvent` with id `query`. The reply comes at once."""

    id: int
    query: int
    payload: bytes | None = None


@dataclass(slots=True)
class Decline:
    """Nobody here will answer the `QueryEvent` with id `query`, though somebody might have. The reply comes at once."""

    id: int
    query: int


@dataclass(slots=True)
class ChangeKeys:
    """Have every member `install`, `use` or `remove` a key, or `list` its keys. Result: a `KeyOutcome`, even if some
    failed: then the reply has an error too."""

    id: int
    action: str
    key: bytes = b""            # raw, 16, 24 or 32 bytes; for "list" empty
    relay_factor: int = 0


@dataclass(slots=True)
class KeyOutcome:
    nodes: int                  # that were asked
    responses: int = 0
    errors: int = 0
    messages: dict[str, str] = field(default_factory=dict)      # by node, of those that had something to say
    keys: dict[str, int] = field(default_factory=dict)          # base64 -> on how many nodes
    primaries: dict[str, int] = field(default_factory=dict)     # base64 -> on how many nodes it is the primary
    done: list[str] = field(default_factory=list)               # names of those that did it
    silent: list[str] = field(default_factory=list)             # that did not respond


Command = Join | Leave | ForceLeave | SetTags | SendEvent | StartQuery | Respond | Decline | ChangeKeys
