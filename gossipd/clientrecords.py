"""What a daemon tells, as `gossipd.client` gives it."""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Member:
    """One member of the cluster. What only gossipd knows is None when Serf's agent answers."""

    __slots__ = ("name", "host", "port", "status", "tags", "protocol", "state", "incarnation", "since", "reason",
                 "rtt_s")

    name: str
    host: str                           # numeric
    port: int
    status: str                         # Serf's word: "alive", "leaving", "left" or "failed"
    tags: dict[str, str]
    protocol: tuple[int, int, int]      # of Serf: lowest, highest, spoken
    state: str | None                   # SWIM's word: "alive", "suspect", "dead" or "left"
    incarnation: int | None
    since: float | None                 # when status or state last changed: unix seconds
    reason: str | None                  # of that change
    rtt_s: float | None                 # round trip from the daemon that answers

    def __init__(self, record: dict[str, Any]) -> None:
        self.name = record.get("Name") or ""
        self.host = _host(record.get("Addr") or b"")
        self.port = record.get("Port") or 0
        self.status = record.get("Status") or ""
        self.tags = record.get("Tags") or {}
        self.protocol = record.get("DelegateMin", 0), record.get("DelegateMax", 0), record.get("DelegateCur", 0)
        self.state = record.get("State")
        self.incarnation = record.get("Incarnation")
        self.since = record.get("Since")
        self.reason = record.get("Reason")
        self.rtt_s = record.get("RTT")

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def shown_status(self) -> str:
        """`status`, but "suspect" for an alive member that may have crashed."""
        return "suspect" if self.state == "suspect" and self.status == "alive" else self.status

    def __repr__(self) -> str:
        return f"Member({self.name!r}, {self.address!r}, {self.shown_status!r})"


class Event:
    """Something that happened. Fields that its kind does not have are empty or None."""

    __slots__ = ("kind", "members", "name", "payload", "ltime", "coalesce", "id", "query", "source")

    kind: str                           # "member-join", "member-leave", "member-failed", "member-update",
    #                                     "member-reap", "user" or "query"
    members: list[Member]
    name: str                           # of a user event or query
    payload: bytes | None
    ltime: int | None                   # Lamport time
    coalesce: bool | None
    id: int | None                      # of a query, on this connection
    query: int | None                   # of a query, for `Client.answer_query`: good on every connection. None from
    #                                     Serf's agent
    source: str | None                  # of a query: the node that asks. None from Serf's agent

    def __init__(self, record: dict[str, Any]) -> None:
        self.kind = record.get("Event") or ""
        self.members = [Member(one) for one in record.get("Members") or ()]
        self.name = record.get("Name") or ""
        self.payload = record.get("Payload")
        self.ltime = record.get("LTime")
        self.coalesce = record.get("Coalesce")
        self.id = record.get("ID")
        self.query = record.get("Query")
        self.source = record.get("Source")

    def __repr__(self) -> str:
        about = [member.name for member in self.members] if self.members else self.name
        return f"Event({self.kind!r}, {about!r})"


class Sighting:
    """A member that discovery hears of."""

    __slots__ = ("name", "host", "port", "interfaces", "source", "heard", "expires", "status", "failures")

    name: str
    host: str                           # numeric
    port: int
    interfaces: list[str]               # where it is heard
    source: str                         # the numeric host that said so last
    heard: float                        # when: unix seconds
    expires: float                      # when it is forgotten unless it is heard again: unix seconds
    status: str                         # "member", "joining", "waiting" or "failed": the last join did not help
    failures: int                       # joins in a row that did not help

    def __init__(self, record: dict[str, Any]) -> None:
        self.name, self.host, self.port = record["Name"], _host(record["Addr"]), record["Port"]
        self.interfaces, self.source = record["Interfaces"], record["Source"]
        self.heard, self.expires = record["Heard"], record["Expires"]
        self.status, self.failures = record["Status"], record["Failures"]

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Sighting({self.name!r}, {self.address!r}, {self.status!r})"


class Discovered:
    """What discovery by multicast DNS knows. `cluster` is empty if it is off."""

    __slots__ = ("cluster", "links", "seen")

    cluster: str
    links: list[tuple[str, str, str]]   # interface, "ipv4" or "ipv6", what is wrong there or ""
    seen: list[Sighting]

    def __init__(self, body: dict[str, Any]) -> None:
        self.cluster = body["Cluster"]
        self.links = [(link["Interface"], link["Family"], link["Trouble"]) for link in body["Links"]]
        self.seen = [Sighting(record) for record in body["Seen"]]


class Answer:
    """What one node says to a query: first that it got it, if acks were asked for, then perhaps an answer."""

    __slots__ = ("node", "ack", "payload")

    node: str
    ack: bool
    payload: bytes | None               # None for an ack, and for an empty answer

    def __init__(self, record: dict[str, Any]) -> None:
        self.node = record.get("From") or ""
        self.ack = record.get("Type") == "ack"
        self.payload = record.get("Payload")

    def __repr__(self) -> str:
        return f"Answer({self.node!r}, {'ack' if self.ack else repr(self.payload)})"


class Outcome:
    """What is known of a query so far."""

    __slots__ = ("acked", "answered", "silent", "over")

    acked: list[str]                    # names so far, in order of arrival
    answered: list[str]
    silent: list[str] | None            # once it is over: who was asked and did neither. None from Serf's agent, and
    #                                     where it cannot be told who was asked
    over: bool

    def __init__(self) -> None:
        self.acked, self.answered, self.silent, self.over = [], [], None, False

    def take(self, record: dict[str, Any]) -> Answer | None:
        """None for the end, and for what is none: there may be other types one day; without a name they are noise that
        Serf's agent makes at the deadline."""
        kind = record.get("Type")
        if kind == "done":
            self.silent, self.over = record.get("Silent"), True
        elif record.get("From") and kind in ("ack", "response"):
            answer = Answer(record)
            (self.acked if answer.ack else self.answered).append(answer.node)
            return answer
        return None


class Query(Outcome):
    """A query that runs: iterating gives each Answer as it comes, until it is over."""

    __slots__ = ("_records",)

    def __init__(self, records: Iterator[dict[str, Any]]) -> None:
        super().__init__()
        self._records = records

    def __iter__(self) -> Query:
        return self

    def __next__(self) -> Answer:
        for record in self._records:
            if (answer := self.take(record)) is not None:
                return answer
            if self.over:
                self._records.close()   # type: ignore[attr-defined]
        raise StopIteration


class KeyResult:
    """How a change or listing of keys went. What only gossipd knows is None when Serf's agent answers."""

    __slots__ = ("error", "nodes", "responses", "errors", "messages", "keys", "primaries", "done", "silent")

    error: str                          # "" if every node did it
    nodes: int                          # that were asked
    responses: int
    errors: int
    messages: dict[str, str]            # by node, of those that had something to say
    keys: dict[str, int]                # listing only: base64 -> on how many nodes it is
    primaries: dict[str, int] | None    # listing only: base64 -> on how many nodes it is the primary one
    done: list[str] | None              # names of those that did it
    silent: list[str] | None            # names of those that did not respond

    def __init__(self, error: str, body: dict[str, Any]) -> None:
        self.error = error
        self.nodes, self.responses, self.errors = body["NumNodes"], body["NumResp"], body["NumErr"]
        self.messages, self.keys = body.get("Messages") or {}, body.get("Keys") or {}
        self.primaries, self.done, self.silent = body.get("Primaries"), body.get("Done"), body.get("Silent")


class Coordinate:
    """Where a node lies in the network: seconds, but for `error`."""

    __slots__ = ("vec", "height", "adjustment", "error")

    vec: list[float]
    height: float
    adjustment: float
    error: float                        # 1.5: it knows nothing yet

    def __init__(self, record: dict[str, Any]) -> None:
        self.vec, self.height = record.get("Vec") or [], record["Height"]
        self.adjustment, self.error = record["Adjustment"], record["Error"]

    def rtt_s(self, other: Coordinate) -> float:
        """The estimated round trip, in whole nanoseconds as Serf computes it."""
        square = 0.0
        for here, there in zip(self.vec, other.vec, strict=True):
            square += (here - there) * (here - there)
        raw = square ** 0.5 + self.height + other.height
        adjusted = raw + self.adjustment + other.adjustment
        return int((adjusted if adjusted > 0.0 else raw) * 1e9) / 1e9


def _host(raw: bytes) -> str:
    """Numeric form of 4 or 16 raw bytes; old agents send an IPv4 address in either."""
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "surrogateescape")
    if len(raw) == 16 and raw.startswith(bytes(10) + b"\xff\xff"):
        raw = raw[12:]
    if len(raw) == 4:
        return ".".join(map(str, raw))
    return _socket.inet_ntop(_socket.AF_INET6, raw) if len(raw) == 16 else "?" + raw.hex()
