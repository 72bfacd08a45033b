"""What users hear about: handlers, RPC streams and the snapshot get these."""

from __future__ import annotations

from dataclasses import dataclass, field

MEMBER_JOIN = "member-join"
MEMBER_LEAVE = "member-leave"
MEMBER_FAILED = "member-failed"
MEMBER_UPDATE = "member-update"
MEMBER_REAP = "member-reap"


@dataclass(slots=True)
class MemberInfo:
    """One member as Serf's users know it, at one moment.

    Text may hold surrogates (`surrogateescape`): names and tags are bytes by nature.
    """

    name: str
    addr: bytes             # 4 or 16 raw bytes, as advertised
    port: int
    tags: dict[str, str]
    status: str             # "none", "alive", "leaving", "left", "failed": Serf's words
    versions: bytes         # memberlist min, max, current; Serf min, max, current
    # what only gossipd's own view shows
    state: str = ""         # SWIM's word: "alive", "suspect", "dead", "left"; "" if SWIM forgot the record
    incarnation: int = 0
    changed: float = 0.0    # when status or state last changed: seconds, monotonic
    reason: str = ""        # why: who says so and how it was noticed
    rtt_s: float | None = None


@dataclass(slots=True)
class MemberEvent:
    """One kind of change for one or more members. `kind` is one of the MEMBER_* words."""

    kind: str
    members: list[MemberInfo] = field(default_factory=list)


@dataclass(slots=True)
class UserEvent:
    name: str
    payload: bytes | None
    ltime: int
    coalesce: bool


@dataclass(slots=True)
class QueryEvent:
    """A query to answer, by `commands.Respond` with this id, before `deadline` (seconds, monotonic)."""

    id: int
    name: str
    payload: bytes | None
    ltime: int
    source: str             # the asking node
    deadline: float


Event = MemberEvent | UserEvent | QueryEvent
