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

from gossipd.clientrecords import Answer, Coordinate, Discovered, Event, KeyResult, Member, Query, Sighting
from gossipd.errors import GossipdError
from gossipd.paths import default_socket, is_private, user_runtime_dir, user_socket
from gossipd.rpc.plain import NOTHING, Reader, pack

TYPE_CHECKING = False
if TYPE_CHECKING:       # importing these would take longer than the call
    from collections.abc import Iterator
    from typing import Any, Self

__all__ = [
    "Answer", "Client", "ClientError", "ConnectionLost", "Coordinate", "Discovered", "Event", "JoinFailed", "KeyResult",
    "Member", "Query", "Sighting", "TimedOut", "Unreachable",
]

DEFAULT_TIMEOUT_S = 15.0        # a leave may take 11 s, keys of 9999 nodes 12.8 s
QUERY_TIMEOUT_MAX_S = 60.0      # of one that leaves it to the daemon: 3.2 s for 9 nodes, 12.8 s for 9999
READ_BYTES = 1 << 16
DENIED = "Permission denied: "      # gossipd's word on the unix socket for what this user may not do


class ClientError(GossipdError):
    """A call failed. The text is the daemon's, or says what happened to the connection."""


class Unreachable(ClientError):
    """No daemon answers at the address."""


class ConnectionLost(ClientError):
    """The daemon closed the connection."""


class TimedOut(ClientError):
    """No answer in time. What was asked for may still happen. If it was a call's, that ends the connection."""


class JoinFailed(ClientError):
    """Not one of the addresses could be joined. `reasons` has one line each."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        self.reasons = [line[2:] for line in lines if line.startswith("* ")] or [text.strip()]
        self.text = text        # the daemon's own
        super().__init__("; ".join(self.reasons))


class Client:
    """A connection. `address` is the path of a unix socket if it holds a "/", else HOST:PORT; None: the default socket.

    `timeout_s` is for each call, from its start to the end of its answer. Every method raises ClientError.
    """

    def __init__(
        self, address: str | None = None, *, auth_key: str = "", timeout_s: float = DEFAULT_TIMEOUT_S,
        own_view: bool = True,
    ) -> None:
        """Without `own_view` the daemon shows what Serf's agent would show, and no more."""
        self.address = default_socket() if address is None else address
        self.timeout_s = timeout_s
        self._deadline: float | None = None
        self._reader = Reader()
        self._seq = 0
        self._waiting: dict[int, list[dict[str, Any]]] = {}     # records of what is followed, by the request's number
        self._unwanted: set[int] = set()                        # and of what is not followed any more
        self._set_timeout(timeout_s)
        self._socket = self._connect()
        # Greetings travel with the first request: one round trip less.
        self._unsent = b""
        handshake: dict[str, object] = {"Version": 1}
        if own_view:
            handshake["View"] = "gossipd"
        self._greetings = [self._write("handshake", handshake)]
        if auth_key:
            self._greetings.append(self._write("auth", {"AuthKey": auth_key}))

    def __enter__(self) -> Self:
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

    def events(self, *kinds: str, watch: bool = False) -> Iterator[Event]:
        """Follow what happens, from the call on, for as long as the connection lasts; then raises ConnectionLost.

        `kinds` as in Serf: "member-join", "user", "user:deploy", "query" and so on; none for everything. Other calls
        may be made meanwhile. With `watch` nobody waits for an answer of ours to the queries that we hear of.
        """
        request: dict[str, object] = {"Type": ",".join(kinds) or "*"}
        if watch:
            request["Watch"] = True
        return map(Event, self._open("stream", request, None))

    def logs(self, level: str = "info") -> Iterator[str]:
        """The last lines of the daemon's log, at most 512, and further ones as long as the connection lasts.

        `level`: "debug", "info", "warn" or "err", whatever the daemon itself writes.
        """
        return map(_line_of, self._open("monitor", {"LogLevel": level}, None))

    # --- events, queries, keys ---

    def send_event(self, name: str, payload: bytes | None = None, *, coalesce: bool = True) -> None:
        """Send a user event to all nodes. With `coalesce` those who listen may get the last of several."""
        self._do("event", {"Name": name, "Payload": payload, "Coalesce": coalesce})

    def query(
        self, name: str, payload: bytes | None = None, *, nodes: list[str] | None = None,
        tags: dict[str, str] | None = None, ack: bool = True, relay_factor: int = 0, timeout_s: float = 0.0,
    ) -> Query:
        """Ask all nodes, or `nodes` by name, or those whose tags contain a match of these expressions (RE2).

        gossipd's query is over as soon as every live node that was asked has answered, or has acked and said that
        nobody there will; Serf's after `timeout_s`, which is longer for larger clusters if it is 0.
        """
        request: dict[str, object] = {
            "FilterNodes": nodes, "FilterTags": tags, "RequestAck": ack, "RelayFactor": relay_factor,
            "Timeout": int(timeout_s * 1e9), "Name": name, "Payload": payload,
        }
        return Query(self._open("query", request, (timeout_s or QUERY_TIMEOUT_MAX_S) + self.timeout_s))

    def respond(self, event: Event, payload: bytes | None = None) -> None:
        """Answer a query that `events` of this connection told of. Only the first answer of a node counts."""
        self._do("respond", {"ID": event.id, "Payload": payload})

    def answer_query(self, query: int, payload: bytes | None = None) -> None:
        """Answer a query by `Event.query`, on any connection. gossipd only."""
        self._do("respond", {"ID": 0, "Payload": payload, "Query": query})

    def install_key(self, key: str) -> KeyResult:
        """Have all nodes take a key, in base64: they understand it from then on, and do not use it yet."""
        return self._change_keys("install-key", {"Key": key})

    def use_key(self, key: str) -> KeyResult:
        """Have all nodes encrypt with a key that they have."""
        return self._change_keys("use-key", {"Key": key})

    def remove_key(self, key: str) -> KeyResult:
        """Have all nodes drop a key that they do not encrypt with."""
        return self._change_keys("remove-key", {"Key": key})

    def list_keys(self) -> KeyResult:
        """Ask all nodes for their keys."""
        return self._change_keys("list-keys", None)

    def coordinate(self, name: str) -> Coordinate | None:
        """Where a node lies. None: no such member, or it was never measured."""
        error, body = self._call("get-coordinate", {"Node": name}, body_wanted=True)
        _check(error)
        return Coordinate(body["Coord"]) if body["Ok"] else None

    def _change_keys(self, command: str, request: dict[str, object] | None) -> KeyResult:
        error, body = self._call(command, request, body_wanted=True)
        if not body.get("NumNodes"):
            _check(error)
        return KeyResult(error, body)

    # --- records that come after a reply ---

    def _open(self, command: str, request: dict[str, object], timeout_s: float | None) -> Iterator[dict[str, Any]]:
        """Records from now on; all of them within `timeout_s`, or whenever they come."""
        _check(self._call(command, request, body_wanted=False)[0])
        self._waiting[self._seq] = []
        return self._follow(self._seq, None if timeout_s is None else monotonic() + timeout_s)

    def _follow(self, seq: int, deadline: float | None) -> Iterator[dict[str, Any]]:
        try:
            while True:
                waiting = self._waiting[seq]
                while waiting:
                    yield waiting.pop(0)
                self._deadline = deadline
                self._take_record(self._read())
        finally:
            del self._waiting[seq]
            self._unwanted.add(seq)

    def _take_record(self, header: dict[str, Any]) -> None:
        seq = header.get("Seq")
        if seq in self._waiting:
            self._waiting[seq].append(self._read())
        elif seq in self._unwanted:
            self._read()
        else:
            raise ClientError("the daemon answered something that was not asked")

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
        try:
            seq = self._write(command, body)
            self.greet()
            error = self._error_of(seq)
            wanted = body_wanted and error != "Authentication required" and not error.startswith(DENIED)
            return error, self._read() if wanted else {}
        except TimedOut:
            self.close()        # the next call would take this one's late answer for its own
            raise

    def greet(self) -> None:
        """Find out now whether the daemon lets us in, instead of with the first call."""
        self._send()
        while self._greetings:
            _check(self._error_of(self._greetings.pop(0)))

    def _error_of(self, seq: int) -> str:
        while (header := self._read()).get("Seq") != seq:
            self._take_record(header)
        return header.get("Error") or ""

    def _write(self, command: str, body: dict[str, object] | None = None) -> int:
        self._seq += 1
        self._unsent += pack({"Command": command, "Seq": self._seq})
        if body is not None:
            self._unsent += pack(body)
        return self._seq

    def _send(self) -> None:
        self._check_open()
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
        self._check_open()
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

    def _check_open(self) -> None:
        if self._socket.fileno() < 0:
            raise ConnectionLost(f"{self.address}: this connection was closed, as one is after a call that timed out")

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


def _line_of(record: dict[str, Any]) -> str:
    return record.get("Log") or ""


def _name_of(member: Member) -> str:
    return member.name
