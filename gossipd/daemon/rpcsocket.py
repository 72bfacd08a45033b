"""Listening sockets for RPC: a unix socket with a file to look after, and TCP where it is configured."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from typing import Any

from gossipd.addresses import format_address, parse_address
from gossipd.config.hosts import EVERYWHERE
from gossipd.daemon.net import BACKLOG, plain_source
from gossipd.daemon.rights import Rights
from gossipd.errors import GossipdError
from gossipd.paths import SYSTEM_SOCKET, is_private, user_runtime_dir, user_socket

DEFAULT_RPC_PORT = 7373     # Serf's
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
SOCKET_MODE, SHARED_SOCKET_MODE = 0o600, 0o666
SHARED_DIRECTORY_MODE = 0o755
PRIVATE_DIRECTORY_MODE = 0o700


class RpcListener:
    """A socket that listens: who connects before anybody accepts just waits. Closing removes a unix socket's file."""

    def __init__(self, sock: socket.socket, auth_key: str, rights: Rights, path: str = "") -> None:
        """Clients must present `auth_key` unless it is empty. Those of a unix socket may do what `rights` says."""
        self.sock, self.auth_key, self.rights, self.path = sock, auth_key, rights, path
        sock.setblocking(False)
        sock.listen(BACKLOG)
        self._inode = os.stat(path).st_ino if path else 0

    @property
    def name(self) -> str:
        return self.path or format_address(plain_source(self.sock.getsockname()))

    def close(self) -> None:
        self.sock.close()
        with suppress(OSError):
            if self.path and os.stat(self.path).st_ino == self._inode:     # else another daemon put its own there
                os.unlink(self.path)


def bind_rpc_unix(path: str, rights: Rights | None = None) -> RpcListener:
    """Raises GossipdError.

    Anybody may connect if there is anybody but root and us with a right: who may do what is asked at each call.
    """
    rights = rights or Rights(os.getuid())
    make_directory(os.path.dirname(path) or ".")
    return RpcListener(_bind(path, SHARED_SOCKET_MODE if rights.others else SOCKET_MODE), "", rights, path)


def make_directory(directory: str) -> None:
    """In /tmp anybody may have made it first: there it must be ours alone. Raises GossipdError."""
    private = directory == user_runtime_dir()
    try:
        os.makedirs(directory, mode=PRIVATE_DIRECTORY_MODE if private else SHARED_DIRECTORY_MODE, exist_ok=True)
    except OSError as error:
        raise GossipdError(f"cannot make the directory of the RPC socket, {directory}: {error.strerror}") from None
    if private and not is_private(directory):
        raise GossipdError(f"will not put the RPC socket into {directory}: it is not this user's alone")


def _bind(path: str, mode: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(path)
            sock.bind(path)
        os.chmod(path, mode)     # nobody can connect before listen
    except OSError as error:
        sock.close()
        raise GossipdError(f"cannot bind the RPC socket {path}: {error.strerror or error}") from None
    except GossipdError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens on. Raises GossipdError if it is anything else, OSError."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise GossipdError(f"cannot bind the RPC socket {path}: a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass        # its backlog is full
    raise GossipdError(f"cannot bind the RPC socket {path}: another daemon is listening on it")


def bind_rpc_tcp(text: str, auth_key: str) -> RpcListener:
    """Loopback, or any address with an auth key: RPC is plain text and may do anything. Raises GossipdError.

    EVERYWHERE is all of IPv4 where the system has no IPv6.
    """
    name = text
    try:
        family, _, _, _, target = socket.getaddrinfo(*parse_address(text, DEFAULT_RPC_PORT), type=socket.SOCK_STREAM)[0]
        if not auth_key and not is_loopback(str(target[0])):
            raise GossipdError(f"RPC on {name} can be reached from outside: set an auth key, or use a loopback address")
        try:
            sock = _bind_tcp(family, target)
        except OSError as error:
            if target[0] != EVERYWHERE or error.errno not in NO_IPV6:
                raise
            sock = _bind_tcp(socket.AF_INET, ("0.0.0.0", target[1]))
    except OSError as error:
        raise GossipdError(f"cannot bind the RPC address {name}: {error.strerror or error}") from None
    return RpcListener(sock, auth_key, Rights(os.getuid()))


def _bind_tcp(family: int, target: tuple[Any, ...]) -> socket.socket:
    """EVERYWHERE takes clients of both families, whatever the system's default is. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, target[0] != EVERYWHERE)
        sock.bind(target)
    except OSError:
        sock.close()
        raise
    return sock


def is_loopback(host: str) -> bool:
    """Of a numeric host."""
    return host.startswith("127.") or host == "::1"


def rpc_socket_path(configured: str) -> str:
    """Where gossipctl looks too: the packaged service's directory if we may write there, else the user's own."""
    if configured:
        return configured
    directory = os.path.dirname(SYSTEM_SOCKET)
    return SYSTEM_SOCKET if os.path.isdir(directory) and os.access(directory, os.W_OK) else user_socket()
