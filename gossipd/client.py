"""A client of gossipd and of Serf's agent: small, blocking, without dependencies.

    from gossipd.client import Client

    with Client() as client:        # or Client("/path/to/rpc.sock"), or Client("10.0.0.1:7373", auth_key="...")
        for member in client.members(status="alive"):
            print(member.name, member.address)
        for event in client.events("member-failed", "member-join"):
            print(event.kind, [member.name for member in event.members])

One client is one connection; it runs one call at a time. Text may hold surrogates: names and tags are bytes by nature.
"""

from __future__ import annotations

# The C half of `socket`: the rest (enums, selectors) takes 5 ms to import, a third of what `gossipctl members` has.
import _socket
from time import monotonic

from gossipd.errors import GossipdError
from gossipd.paths import default_socket, is_private, user_runtime_dir, user_socket
from gossipd.rpc.plain import NOTHING, Reader, pack

TYPE_CHECKING = False
if TYPE_CHECKING:       # importing these would take longer than the call
    from collections.abc import Iterator
    from typing import Any

DEFAULT_TIMEOUT_S = 10.0
READ_BYTES = 1 << 16


class ClientError(GossipdError):
    """A call failed. The text is the daemon's, or says what happened to the connection."""


class Unreachable(ClientError):
    """No daemon answers at the address."""


class ConnectionLost(ClientError):
    """The daemon closed the connection."""


class TimedOut(ClientError):
    """No answer in time. What was asked for may still happen."""


class JoinFailed(ClientError):
    """Not one of the addresses could be joined. `reasons` has one line each."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        self.reasons = [line[2:] for line in lines if line.startswith("* ")] or [text.strip()]
        super().__init__("; ".join(self.reasons))


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

    __slots__ = ("kind", "members", "name", "payload", "ltime", "coalesce", "id")

    kind: str                           # "member-join", "member-leave", "member-failed", "member-update",
    #                                     "member-reap", "user" or "query"
    members: list[Member]
    name: str                           # of a user event or query
    payload: bytes | None
    ltime: int | None                   # Lamport time
    coalesce: bool | None
    id: int | None                      # of a query

    def __init__(self, record: dict[str, Any]) -> None:
        self.kind = record.get("Event") or ""
        self.members = [Member(one) for one in record.get("Members") or ()]
        self.name = record.get("Name") or ""
        self.payload = record.get("Payload")
        self.ltime = record.get("LTime")
        self.coalesce = record.get("Coalesce")
        self.id = record.get("ID")

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


class Client:
    """A connection. `address` is the path of a unix socket if it holds a "/", else HOST:PORT; None: the default socket.

    `timeout_s` is for each call, from its start to the end of its answer. Every method raises ClientError.
    """

    def __init__(self, address: str | None = None, *, auth_key: str = "", timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.address = default_socket() if address is None else address
        self.timeout_s = timeout_s
        self._deadline: float | None = None
        self._reader = Reader()
        self._seq = 0
        self._set_timeout(timeout_s)
        self._socket = self._connect()
        # Greetings travel with the first request: one round trip less.
        self._unsent = b""
        self._greetings = [self._write("handshake", {"Version": 1, "View": "gossipd"})]
        if auth_key:
            self._greetings.append(self._write("auth", {"AuthKey": auth_key}))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    # --- calls ---

    def members(
        self, *, status: str = "", name: str = "", tags: dict[str, str] | None = None,
    ) -> list[Member]:
        """The members that match every regular expression given (RE2 syntax, matched in full), sorted by name.

        Serf's agent closes the connection on a bad expression, and gossipd does as it does: ConnectionLost.
        """
        filters: dict[str, object] = {"Tags": tags or {}, "Status": status, "Name": name}
        records = self._records("members-filtered", filters)
        return sorted(map(Member, records), key=_name_of)

    def join(self, addresses: list[str], *, replay: bool = False) -> int:
        """Join through `addresses`; how many could be contacted. Raises JoinFailed if none."""
        error, body = self._call("join", {"Existing": addresses, "Replay": replay}, body_wanted=True)
        if error:
            raise JoinFailed(error)
        return int(body["Num"])

    def leave(self) -> None:
        """Make the daemon leave the cluster and end. Takes seconds."""
        self._do("leave")

    def force_leave(self, name: str, *, prune: bool = False) -> None:
        """Declare a failed member left; with `prune`, make the cluster forget it. Unknown names are no error."""
        self._do("force-leave", {"Node": name, "Prune": prune})

    def change_tags(self, changes: dict[str, str] | None = None, delete: list[str] | None = None) -> None:
        """Change the daemon's own tags: drop those of `delete`, then set `changes`. Returns when that was gossiped."""
        self._do("tags", {"Tags": changes or {}, "DeleteTags": delete or []})

    def stats(self) -> dict[str, dict[str, str]]:
        """Sections of names and values, all of them text."""
        error, body = self._call("stats", body_wanted=True)
        _check(error)
        return body

    def discovered(self, *, ask: bool = False) -> Discovered:
        """Whom gossipd's discovery has heard of; with `ask` it asks again, and answers come within a second."""
        error, _ = self._call("discovered", {"Ask": ask}, body_wanted=False)
        _check("this daemon cannot discover" if error == "Unsupported command" else error)
        return Discovered(self._read())

    def events(self, *kinds: str) -> Iterator[Event]:
        """Follow what happens, from the call on, for as long as the connection lasts; then raises ConnectionLost.

        `kinds` as in Serf: "member-join", "user", "user:deploy", "query" and so on; none for everything. The
        connection is of no other use while the iterator is.
        """
        error, _ = self._call("stream", {"Type": ",".join(kinds) or "*"}, body_wanted=False)
        _check(error)
        return self._follow(self._seq)

    def _follow(self, seq: int) -> Iterator[Event]:
        self._set_timeout(None)
        while True:
            header = self._read()
            if header.get("Seq") == seq:
                yield Event(self._read())

    def _records(self, command: str, body: dict[str, object]) -> list[dict[str, Any]]:
        error, reply = self._call(command, body, body_wanted=True)
        _check(error)
        return reply.get("Members") or []

    def _do(self, command: str, body: dict[str, object] | None = None) -> None:
        _check(self._call(command, body, body_wanted=False)[0])

    # --- the connection ---

    def _call(
        self, command: str, body: dict[str, object] | None = None, *, body_wanted: bool,
    ) -> tuple[str, dict[str, Any]]:
        """Error and body of the reply. An error may come with a body too, but for a missing key (spec rpc T1, T2)."""
        self._set_timeout(self.timeout_s)
        seq = self._write(command, body)
        self._send()
        while self._greetings:
            _check(self._error_of(self._greetings.pop(0)))
        error = self._error_of(seq)
        wanted = body_wanted and error != "Authentication required"
        return error, self._read() if wanted else {}

    def _error_of(self, seq: int) -> str:
        header = self._read()
        if header.get("Seq") != seq:
            raise ClientError("the daemon answered something that was not asked")
        return header.get("Error") or ""

    def _write(self, command: str, body: dict[str, object] | None = None) -> int:
        self._seq += 1
        self._unsent += pack({"Command": command, "Seq": self._seq})
        if body is not None:
            self._unsent += pack(body)
        return self._seq

    def _send(self) -> None:
        try:
            self._socket.settimeout(self._time_left())
            self._socket.sendall(self._unsent)
        except TimeoutError:
            raise TimedOut(f"{self.address}: cannot send, the daemon does not read") from None
        except OSError as error:
            if not isinstance(error, (BrokenPipeError, ConnectionResetError)):
                raise ConnectionLost(f"{self.address}: {error.strerror}") from None
            # What it said before it closed can still be read.
        self._unsent = b""

    def _read(self) -> dict[str, Any]:
        while (value := self._next()) is NOTHING:
            self._receive()
        if not isinstance(value, dict):
            raise ClientError(f"{self.address}: what answers there is not gossipd or Serf")
        return value

    def _next(self) -> object:
        try:
            return self._reader.next()
        except ValueError:
            raise ClientError(f"{self.address}: what answers there is not gossipd or Serf") from None

    def _receive(self) -> None:
        try:
            self._socket.settimeout(self._time_left())
            data = self._socket.recv(READ_BYTES)
        except TimeoutError:
            raise TimedOut(f"no answer from {self.address} within {self.timeout_s:g} s") from None
        except ConnectionResetError:
            data = b""
        except OSError as error:
            raise ConnectionLost(f"{self.address}: {error.strerror}") from None
        if not data:
            raise ConnectionLost(f"{self.address}: the daemon closed the connection")
        self._reader.feed(data)

    def _set_timeout(self, timeout_s: float | None) -> None:
        self._deadline = None if timeout_s is None else monotonic() + timeout_s

    def _time_left(self) -> float | None:
        return None if self._deadline is None else max(self._deadline - monotonic(), 0.001)

    def _connect(self) -> _socket.socket:
        try:
            return self._connect_unix() if "/" in self.address else self._connect_tcp()
        except TimeoutError:
            raise TimedOut(f"no answer from {self.address} within {self.timeout_s:g} s") from None
        except OSError as error:
            raise Unreachable(f"{self.address}: {error.strerror or error}") from None

    def _connect_unix(self) -> _socket.socket:
        if self.address == user_socket() and self.address.startswith("/tmp/") and not is_private(user_runtime_dir()):
            raise Unreachable(f"{self.address}: no such directory, or not this user's own")
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.settimeout(self._time_left())
        connection.connect(self.address)
        return connection

    def _connect_tcp(self) -> _socket.socket:
        host, colon, port = self.address.rpartition(":")
        if not colon or not port.isdigit():
            raise Unreachable(f"{self.address}: expected HOST:PORT, or a path")
        failure = OSError("no address")
        # As bytes: for text, Python would load its IDNA tables (7 ms) even if there is nothing to encode.
        name = host.strip("[]").encode("ascii" if host.isascii() else "idna")
        found = _socket.getaddrinfo(name, int(port), 0, _socket.SOCK_STREAM)
        for family, kind, protocol, _, where in found:
            connection = _socket.socket(family, kind, protocol)
            try:
                connection.settimeout(self._time_left())
                connection.connect(where)
                connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
                return connection
            except OSError as error:
                failure = error
                connection.close()
        raise failure


def _check(error: str) -> None:
    if error:
        raise ClientError(error)


def _name_of(member: Member) -> str:
    return member.name


def _host(raw: bytes) -> str:
    """Numeric form of 4 or 16 raw bytes; old agents send an IPv4 address in either."""
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "surrogateescape")
    if len(raw) == 16 and raw.startswith(bytes(10) + b"\xff\xff"):
        raw = raw[12:]
    if len(raw) == 4:
        return ".".join(map(str, raw))
    return _socket.inet_ntop(_socket.AF_INET6, raw) if len(raw) == 16 else "?" + raw.hex()
