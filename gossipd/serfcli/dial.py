"""The connection to an agent, and Go's words for what may go wrong on the way there."""

from __future__ import annotations

import _socket
import os

from gossipd import clientcalls as calls
from gossipd.client import Client, ClientError, ConnectionLost, JoinFailed
from gossipd.clientwire import Records
from gossipd.serfcli.flags import Flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_ADDRESS = "127.0.0.1:7373"
CONNECT_TIMEOUT_S = 10.0
FOR_EVER_S = 20 * 86400.0       # Serf's client waits without end; sockets take 24 days at most
PORT_MAX = 65535


class NotConnected(ClientError):
    """The text goes behind `Error connecting to Serf agent: `."""


def connect(flags: Flags) -> SerfClient:
    """To the agent that flags or environment name; its handshake and the key are through. Raises NotConnected."""
    given = flags.given
    address = given.get("rpc-addr") if "rpc-addr" in given else os.environ.get("SERF_RPC_ADDR") or DEFAULT_ADDRESS
    auth_key = given.get("rpc-auth") if "rpc-auth" in given else os.environ.get("SERF_RPC_AUTH", "")
    try:
        return SerfClient(str(address), str(auth_key))
    except NotConnected:
        raise
    except ClientError as error:
        raise NotConnected(reason(error)) from None


def reason(error: ClientError) -> str:
    """What Serf says after its prefix."""
    if isinstance(error, ConnectionLost):
        return "client closed"
    return error.text if isinstance(error, JoinFailed) else str(error)


class SerfClient(Client):
    """A client that is greeted when it is made, has no time limit then, and sees nothing that Serf does not show."""

    def __init__(self, address: str, auth_key: str) -> None:
        super().__init__(address, auth_key=auth_key, timeout_s=CONNECT_TIMEOUT_S, own_view=False)
        self._streams: list[Records] = []
        self.greet()
        self.timeout_s = FOR_EVER_S

    def _connect(self) -> _socket.socket:
        host, port = split_address(self.address)
        failure = ""
        for family, where in _look_up(host, port):
            connection = _socket.socket(family, _socket.SOCK_STREAM)
            try:
                connection.settimeout(CONNECT_TIMEOUT_S)
                connection.connect(where)
                connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
                return connection
            except OSError as error:
                connection.close()
                shown = f"[{where[0]}]" if ":" in where[0] else where[0]
                failure = failure or f"dial tcp {shown if host else ''}:{port}: {_words(error)}"
        raise NotConnected(failure)

    # --- streams, as records ---

    def open_stream(self) -> int:
        """Everything that happens, from now on: the number of its records."""
        return self._follow_raw(calls.events((), watch=False))

    def open_monitor(self, level: str) -> int:
        """The log: the number of its records."""
        return self._follow_raw(calls.logs(level))

    def _follow_raw(self, call: calls.Call[None]) -> int:
        records = Records()
        self._do(call, records)
        self._streams.append(records)
        return records.seq

    def next_record(self) -> tuple[int, dict[str, Any]]:
        """The next record of any stream, whenever it comes, and the stream's number."""
        self._set_timeout(None)
        while True:
            for records in self._streams:
                if records.waiting:
                    return records.seq, records.waiting.popleft()
            self._receive()


def split_address(address: str) -> tuple[str, int]:
    """Host, perhaps empty, and port. Raises NotConnected."""
    host, colon, port = address.rpartition(":")
    if not address:
        raise NotConnected("dial tcp: missing address")
    wrong = ""
    if address.startswith("["):
        if "]" not in address:
            wrong = "missing ']' in address"
        elif not address.partition("]")[2].startswith(":"):
            wrong = "missing port in address"
    elif not colon:
        wrong = "missing port in address"
    elif ":" in host:
        wrong = "too many colons in address"
    if wrong:
        raise NotConnected(f"dial tcp: address {address}: {wrong}")
    return host.strip("[]"), _port(port)


def _port(text: str) -> int:
    """Of a number, the name of a service, or nothing, which is 0. Raises NotConnected."""
    digits = text[text.startswith(("+", "-")):]
    if not (digits.isascii() and digits.isdigit()):
        try:
            return _socket.getservbyname(text, "tcp") if text else 0
        except (OSError, ValueError):
            raise NotConnected(f"dial tcp: address tcp/{text}: unknown port") from None
    digits = digits.lstrip("0")     # Python refuses to read thousands of them
    if len(digits) > len(str(PORT_MAX)) or int(digits or "0") > PORT_MAX or (digits and text[0] == "-"):
        raise NotConnected(f"dial tcp: address {text}: invalid port")
    return int(digits or "0")


def _look_up(host: str, port: int) -> list[tuple[int, Any]]:
    """Family and socket address of each address, IPv4 first, as Go tries them."""
    try:
        name = (host or "127.0.0.1").encode("ascii" if host.isascii() else "idna")
        found = _socket.getaddrinfo(name, port, 0, _socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotConnected(f"dial tcp: lookup {host}: no such host") from None
    return sorted(((family, where) for family, _, _, _, where in found), key=lambda one: one[0] != _socket.AF_INET)


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError) and not error.errno:
        return "i/o timeout"
    return f"connect: {(error.strerror or str(error)).lower()}"
