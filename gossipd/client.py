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
from time import monotonic, sleep

from gossipd import clientcalls as calls
from gossipd.clientcalls import (
    DEFAULT_TIMEOUT_S,
    QUERY_TIMEOUT_MAX_S,
    RETRY_S,
    ClientError,
    ConnectionLost,
    JoinFailed,
    TimedOut,
    Unreachable,
    check,
)
from gossipd.clientrecords import Answer, Coordinate, Discovered, Event, KeyResult, Member, Query, Sighting
from gossipd.clientwire import Conversation, Records, Reply
from gossipd.paths import default_socket

TYPE_CHECKING = False
if TYPE_CHECKING:       # importing these would take longer than the call
    from collections.abc import Iterator
    from typing import Any, Self, TypeVar

    T = TypeVar("T")

__all__ = [
    "Answer", "Client", "ClientError", "ConnectionLost", "Coordinate", "Discovered", "Event", "JoinFailed", "KeyResult",
    "Member", "Query", "Sighting", "TimedOut", "Unreachable",
]

READ_BYTES = 1 << 16
WAIT_MAX_S = 2e6            # 23 days: the system counts milliseconds in 31 bits, and Python does not look


class Client:
    """A connection. `address` is the path of a unix socket if it holds a "/", else HOST:PORT; None: the default socket.

    `timeout_s` is for each call, from its start to the end of its answer; running out of it ends the connection. Every
    method raises ClientError.
    """

    def __init__(
        self, address: str | None = None, *, auth_key: str = "", timeout_s: float = DEFAULT_TIMEOUT_S,
        own_view: bool = True,
    ) -> None:
        """Without `own_view` the daemon shows what Serf's agent would show, and no more."""
        self.address = default_socket() if address is None else address
        self.timeout_s = timeout_s
        self._deadline: float | None = None
        self._talk = Conversation()
        self._set_timeout(timeout_s)
        self._socket = self._connect()
        self._unsent = b""      # greetings travel with the first request: one round trip less
        self._greetings = [self._ask(calls.handshake(own_view))]
        if auth_key:
            self._greetings.append(self._ask(calls.auth(auth_key)))

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
        return self._do(calls.members(status, name, tags))

    def join(self, addresses: list[str], *, replay: bool = False) -> int:
        """Join through `addresses`; how many could be contacted. Raises JoinFailed if none."""
        return self._do(calls.join(addresses, replay))

    def leave(self) -> None:
        """Make the daemon leave the cluster and end. Takes seconds."""
        self._do(calls.leave())

    def force_leave(self, name: str, *, prune: bool = False) -> None:
        """Declare a failed member left; with `prune`, make the cluster forget it. Unknown names are no error."""
        self._do(calls.force_leave(name, prune))

    def change_tags(self, changes: dict[str, str] | None = None, delete: list[str] | None = None) -> None:
        """Change the daemon's own tags: drop those of `delete`, then set `changes`. Returns when that was gossiped."""
        self._do(calls.change_tags(changes, delete))

    def stats(self) -> dict[str, dict[str, str]]:
        """Sections of names and values, all of them text."""
        return self._do(calls.stats())

    def discovered(self, *, ask: bool = False) -> Discovered:
        """Whom gossipd's discovery has heard of; with `ask` it asks again, and answers come within a second."""
        return self._do(calls.discovered(ask))

    def events(self, *kinds: str, watch: bool = False) -> Iterator[Event]:
        """Follow what happens, from the call on, for as long as the connection lasts; then raises ConnectionLost.

        `kinds` as in Serf: "member-join", "user", "user:deploy", "query" and so on; none for everything. Other calls
        may be made meanwhile. With `watch` nobody waits for an answer of ours to the queries that we hear of.
        """
        return map(calls.event_of, self._open(calls.events(kinds, watch), None))

    def logs(self, level: str = "info") -> Iterator[str]:
        """The last lines of the daemon's log, at most 512, and further ones as long as the connection lasts.

        `level`: "debug", "info", "warn" or "err", whatever the daemon itself writes.
        """
        return map(calls.line_of, self._open(calls.logs(level), None))

    # --- events, queries, keys ---

    def send_event(self, name: str, payload: bytes | None = None, *, coalesce: bool = True) -> None:
        """Send a user event to all nodes. With `coalesce` those who listen may get the last of several."""
        self._do(calls.send_event(name, payload, coalesce))

    def query(
        self, name: str, payload: bytes | None = None, *, nodes: list[str] | None = None,
        tags: dict[str, str] | None = None, ack: bool = True, relay_factor: int = 0, timeout_s: float = 0.0,
    ) -> Query:
        """Ask all nodes, or `nodes` by name, or those whose tags contain a match of these expressions (RE2).

        gossipd's query is over as soon as every live node that was asked has answered, or has acked and said that
        nobody there will; Serf's after `timeout_s`, which is longer for larger clusters if it is 0.
        """
        call = calls.query(name, payload, nodes, tags, ack, relay_factor, timeout_s)
        return Query(self._open(call, (timeout_s or QUERY_TIMEOUT_MAX_S) + self.timeout_s))

    def respond(self, event: Event, payload: bytes | None = None) -> None:
        """Answer a query that `events` of this connection told of. Only the first answer of a node counts."""
        self._do(calls.respond(event.id, payload))

    def answer_query(self, query: int, payload: bytes | None = None) -> None:
        """Answer a query by `Event.query`, on any connection. gossipd only."""
        self._do(calls.answer_query(query, payload))

    def install_key(self, key: str) -> KeyResult:
        """Have all nodes take a key, in base64: they understand it from then on, and do not use it yet."""
        return self._do(calls.change_keys("install-key", key))

    def use_key(self, key: str) -> KeyResult:
        """Have all nodes encrypt with a key that they have."""
        return self._do(calls.change_keys("use-key", key))

    def remove_key(self, key: str) -> KeyResult:
        """Have all nodes drop a key that they do not encrypt with."""
        return self._do(calls.change_keys("remove-key", key))

    def list_keys(self) -> KeyResult:
        """Ask all nodes for their keys."""
        return self._do(calls.list_keys())

    def coordinate(self, name: str) -> Coordinate | None:
        """Where a node lies. None: no such member, or it was never measured."""
        return self._do(calls.coordinate(name))

    # --- records that come after a reply ---

    def _open(self, call: calls.Call[None], timeout_s: float | None) -> Iterator[dict[str, Any]]:
        """Records from now on; all of them within `timeout_s`, or whenever they come."""
        records = Records()
        self._do(call, records)
        return self._follow(records, None if timeout_s is None else monotonic() + timeout_s)

    def _follow(self, records: Records, deadline: float | None) -> Iterator[dict[str, Any]]:
        try:
            while True:
                while records.waiting:
                    yield records.waiting.popleft()
                self._deadline = deadline
                self._receive()
        finally:
            records.ignore()

    # --- the connection ---

    def _do(self, call: calls.Call[T], records: Records | None = None) -> T:
        self._set_timeout(self.timeout_s)
        try:
            reply = self._ask(call, records)
            self.greet()
            self._wait(reply)
        except TimedOut:
            self.close()        # nobody knows what became of the request, perhaps half of it is out
            raise
        try:
            return call[3](reply.error, reply.body)
        except calls.NONSENSE:
            raise ClientError(f"{self.address}: {calls.NO_DAEMON}") from None

    def greet(self) -> None:
        """Find out now whether the daemon lets us in, instead of with the first call."""
        self._send()
        while self._greetings:
            self._wait(self._greetings[0])
            check(self._greetings.pop(0).error)

    def _ask(self, call: calls.Call[Any], records: Records | None = None) -> Reply:
        data, reply = self._talk.request(call, records)
        self._unsent += data
        return reply

    def _wait(self, reply: Reply) -> None:
        while not reply.done:
            self._receive()

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
        try:
            self._talk.feed(data)
        except calls.NONSENSE:
            raise ClientError(f"{self.address}: {calls.NO_DAEMON}") from None

    def _check_open(self) -> None:
        if self._socket.fileno() < 0:
            raise ConnectionLost(f"{self.address}: this connection was closed, as one is after a call that timed out")

    def _set_timeout(self, timeout_s: float | None) -> None:
        self._deadline = None if timeout_s is None else monotonic() + timeout_s

    def _time_left(self) -> float | None:
        return None if self._deadline is None else min(max(self._deadline - monotonic(), 0.001), WAIT_MAX_S)

    def _connect(self) -> _socket.socket:
        try:
            return self._connect_unix() if "/" in self.address else self._connect_tcp()
        except TimeoutError:
            raise TimedOut(f"no answer from {self.address} within {self.timeout_s:g} s") from None
        except OSError as error:
            raise Unreachable(f"{self.address}: {error.strerror or error}") from None
        except UnicodeError:
            raise Unreachable(f"{self.address}: {calls.NO_ADDRESS}") from None

    def _connect_unix(self) -> _socket.socket:
        if calls.is_strangers(self.address):
            raise Unreachable(f"{self.address}: no such directory, or not this user's own")
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        while True:
            connection.settimeout(self._time_left())
            try:
                connection.connect(self.address)
                return connection
            except BlockingIOError:     # more clients wait than the socket's queue takes
                if self._deadline is not None and monotonic() >= self._deadline:
                    raise TimeoutError from None
                sleep(RETRY_S)

    def _connect_tcp(self) -> _socket.socket:
        host, port = calls.host_and_port(self.address)
        failure = OSError("no address")
        # As bytes: for text, Python would load its IDNA tables (7 ms) even if there is nothing to encode.
        name = host.encode("ascii" if host.isascii() else "idna")
        for family, kind, protocol, _, where in _look_up(name, port, self._time_left()):
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


def _look_up(host: bytes, port: int, within_s: float | None) -> list[Any]:
    """As getaddrinfo answers, whose patience is its own: a name is looked up in a thread. Raises OSError."""
    def ask(flags: int = 0) -> list[Any]:
        return _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM, 0, flags)

    def ask_and_tell() -> None:
        try:
            found.extend(ask())
        except OSError as error:
            failed.append(error)
        over.release()

    try:
        return ask(_socket.AI_NUMERICHOST)
    except _socket.gaierror:
        pass
    if within_s is None:
        return ask()
    import _thread

    found: list[Any] = []
    failed: list[OSError] = []
    over = _thread.allocate_lock()
    over.acquire()
    try:
        _thread.start_new_thread(ask_and_tell, ())
    except RuntimeError as error:
        raise OSError(str(error)) from None
    if not over.acquire(timeout=within_s):
        raise TimeoutError
    if failed:
        raise failed[0]
    return found
