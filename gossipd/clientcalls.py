"""What the clients ask of a daemon and make of its answers, without the connection: `client` and `trioclient` add that.

A call is a value: command, body of the request (None: has none), whether the reply has a body, and what becomes of it.
"""

from __future__ import annotations

from gossipd.clientrecords import Coordinate, Discovered, Event, KeyResult, Member
from gossipd.errors import GossipdError
from gossipd.paths import is_private, user_runtime_dir, user_socket

TYPE_CHECKING = False
if TYPE_CHECKING:       # importing these would take longer than the call
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")
    Body = dict[str, Any]
    Call = tuple[str, dict[str, object] | None, int, Callable[[str, Body], T]]

DEFAULT_TIMEOUT_S = 15.0        # a leave may take 11 s, keys of 9999 nodes 12.8 s
QUERY_TIMEOUT_MAX_S = 60.0      # of one that leaves it to the daemon: 3.2 s for 9 nodes, 12.8 s for 9999
DENIED = "Permission denied: "      # gossipd's word on the unix socket for what this user may not do
NEVER, UNLESS_REFUSED, ALWAYS = range(3)
"""Replies that have a body. ALWAYS: with an error too, unless it says that the client may not ask (spec rpc T1, T2)."""


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
        self.text = text        # the daemon's own
        super().__init__("; ".join(self.reasons))


NONSENSE = (ValueError, TypeError, KeyError, AttributeError, IndexError)
"""What reading may raise of an answer that neither gossipd nor Serf gives."""
NO_DAEMON = "what answers there is not gossipd or Serf"
NO_ADDRESS = "no path, and no name of a host"
RETRY_S = 0.02      # to connect, where the daemon has many clients to take


def has_body(which: int, error: str) -> bool:
    """Does the body of the reply follow its header?"""
    if which == ALWAYS:
        return error != "Authentication required" and not error.startswith(DENIED)
    return which == UNLESS_REFUSED and not error


def check(error: str) -> None:
    if error:
        raise ClientError(error)


def is_strangers(path: str) -> bool:
    """Somebody else may have made this socket of ours in /tmp."""
    return path == user_socket() and path.startswith("/tmp/") and not is_private(user_runtime_dir())


def host_and_port(address: str) -> tuple[str, int]:
    """Raises Unreachable."""
    host, colon, port = address.rpartition(":")
    bare = ":" in host and not (host.startswith("[") and host.endswith("]"))     # IPv6, perhaps without port
    if not (colon and not bare and port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 1 << 16):
        raise Unreachable(f"{address}: expected HOST:PORT, or a path")
    return host.strip("[]"), int(port)


# --- calls ---

def handshake(own_view: bool) -> Call[None]:
    return "handshake", {"Version": 1, "View": "gossipd"} if own_view else {"Version": 1}, NEVER, _nothing


def auth(key: str) -> Call[None]:
    return "auth", {"AuthKey": key}, NEVER, _nothing


def members(status: str, name: str, tags: dict[str, str] | None) -> Call[list[Member]]:
    return "members-filtered", {"Tags": tags or {}, "Status": status, "Name": name}, ALWAYS, _members


def join(addresses: list[str], replay: bool) -> Call[int]:
    return "join", {"Existing": addresses, "Replay": replay}, ALWAYS, _joined


def leave() -> Call[None]:
    return "leave", None, NEVER, _nothing


def force_leave(name: str, prune: bool) -> Call[None]:
    return "force-leave", {"Node": name, "Prune": prune}, NEVER, _nothing


def change_tags(changes: dict[str, str] | None, delete: list[str] | None) -> Call[None]:
    return "tags", {"Tags": changes or {}, "DeleteTags": delete or []}, NEVER, _nothing


def stats() -> Call[dict[str, dict[str, str]]]:
    return "stats", None, ALWAYS, _body


def discovered(ask: bool) -> Call[Discovered]:
    return "discovered", {"Ask": ask}, UNLESS_REFUSED, _discovered


def send_event(name: str, payload: bytes | None, coalesce: bool) -> Call[None]:
    return "event", {"Name": name, "Payload": payload, "Coalesce": coalesce}, NEVER, _nothing


def respond(id: int | None, payload: bytes | None) -> Call[None]:
    return "respond", {"ID": id, "Payload": payload}, NEVER, _nothing


def answer_query(query: int, payload: bytes | None) -> Call[None]:
    return "respond", {"ID": 0, "Payload": payload, "Query": query}, NEVER, _nothing


def change_keys(command: str, key: str) -> Call[KeyResult]:
    return command, {"Key": key}, ALWAYS, _keys


def list_keys() -> Call[KeyResult]:
    return "list-keys", None, ALWAYS, _keys


def coordinate(name: str) -> Call[Coordinate | None]:
    return "get-coordinate", {"Node": name}, ALWAYS, _coordinate


# these are followed by records

def events(kinds: tuple[str, ...], watch: bool) -> Call[None]:
    request: dict[str, object] = {"Type": ",".join(kinds) or "*"}
    return "stream", request | {"Watch": True} if watch else request, NEVER, _nothing


def logs(level: str) -> Call[None]:
    return "monitor", {"LogLevel": level}, NEVER, _nothing


def stop(seq: int) -> Call[None]:
    """No more records for the request of this number; some may be under way."""
    return "stop", {"Stop": seq}, NEVER, _nothing


def query(
    name: str, payload: bytes | None, nodes: list[str] | None, tags: dict[str, str] | None, ack: bool,
    relay_factor: int, timeout_s: float,
) -> Call[None]:
    return "query", {
        "FilterNodes": nodes, "FilterTags": tags, "RequestAck": ack, "RelayFactor": relay_factor,
        "Timeout": int(timeout_s * 1e9), "Name": name, "Payload": payload,
    }, NEVER, _nothing


def event_of(record: Body) -> Event:
    try:
        return Event(record)
    except NONSENSE:
        raise ClientError(NO_DAEMON) from None


def line_of(record: Body) -> str:
    return str(record.get("Log") or "")


# --- replies ---

def _nothing(error: str, body: Body) -> None:
    check(error)


def _body(error: str, body: Body) -> Body:
    check(error)
    return body


def _members(error: str, body: Body) -> list[Member]:
    check(error)
    return sorted(map(Member, body.get("Members") or []), key=_name_of)


def _joined(error: str, body: Body) -> int:
    if error:
        raise JoinFailed(error)
    return int(body["Num"])


def _discovered(error: str, body: Body) -> Discovered:
    check("this daemon cannot discover" if error == "Unsupported command" else error)
    return Discovered(body)


def _keys(error: str, body: Body) -> KeyResult:
    if not body.get("NumNodes"):
        check(error)
    return KeyResult(error, body)


def _coordinate(error: str, body: Body) -> Coordinate | None:
    check(error)
    return Coordinate(body["Coord"]) if body["Ok"] else None


def _name_of(member: Member) -> str:
    return member.name
