"""Sockets: one UDP port that never blocks, streams in and out. The seam that tests replace."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

import trio

from gossipd.addresses import Address, format_address
from gossipd.errors import GossipdError

DATAGRAM_BYTES_MAX = 65536      # what memberlist reads (spec memberlist §5.2)
BATCH_MAX = 64                  # datagrams taken before other tasks get a turn
REFUSALS_MAX = 64               # entries of the error queue taken at a time
RECEIVE_BUFFER_BYTES = 4 << 20  # asked for; the kernel gives at most net.core.rmem_max
BACKLOG = 1024                  # connections that may wait for accept
PORT_TRIES_MAX = 20             # when any port will do

# linux/in.h, linux/in6.h, linux/errqueue.h: Python has no names for them.
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_SOCK_EXTENDED_ERR = struct.Struct("=IBBBBII")      # errno, origin, type, code, pad, info, data
_ORIGIN_ICMP, _ORIGIN_ICMP6 = 2, 3
_MAPPED = "::ffff:"

_SOFT = frozenset({
    errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EACCES,
    errno.EPERM, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EPROTO, errno.ENOBUFS, errno.ENOMEM, errno.ETIMEDOUT,
    errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ENONET, errno.EADDRNOTAVAIL, errno.EINVAL,
})
"""What a network may do to one datagram. Anything else means that the socket itself is broken."""


class Port(Protocol):
    """Where datagrams come from and go to."""

    address: Address
    counters: dict[str, int]
    has_errors: bool            # the error queue is worth reading

    async def wait(self) -> None:
        """Until `drain` or `refusals` has something."""

    def drain(self, receive: Callable[[bytes, Address], None]) -> int:
        """Hand over what waits, at most BATCH_MAX datagrams. Returns how many."""

    def refusals(self) -> list[Address]:
        """Where a datagram of ours met a closed port, according to the host itself."""

    def send(self, data: bytes, to: Address) -> None:
        """At once or never; what cannot be sent is counted."""


class Listener(Protocol):
    async def accept(self) -> tuple[trio.abc.Stream, Address]:
        """The next connection. Raises OSError, EMFILE for one."""


Connect = Callable[[Address], Awaitable[trio.abc.Stream]]
"""Dial by TCP. Raises OSError."""


class UdpPort:
    """A bound UDP socket.

    Plain non-blocking calls after one `wait_readable` cost 10 µs a datagram where an await for each costs 35.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._v6 = sock.family == socket.AF_INET6
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        if self._v6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        self._sock, self._recvfrom, self._sendto = sock, sock.recvfrom, sock.sendto
        self.address: Address = plain_source(sock.getsockname())
        self.counters: dict[str, int] = {}
        self.has_errors = False

    async def wait(self) -> None:
        await trio.lowlevel.wait_readable(self._sock)

    def drain(self, receive: Callable[[bytes, Address], None]) -> int:
        recvfrom, v6 = self._recvfrom, self._v6
        for count in range(BATCH_MAX):
            try:
                data, source = recvfrom(DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                if count == 0:
                    self.has_errors = True      # something woke us, and it was no datagram
                return count
            except OSError as error:
                self._pending(error)
                continue
            receive(data, plain_source(source) if v6 else source)
        return BATCH_MAX

    def send(self, data: bytes, to: Address) -> None:
        if self._v6 and ":" not in to[0]:
            to = (_MAPPED + to[0], to[1])
        try:
            self._sendto(data, to)
        except BlockingIOError:
            self._count("send buffer full")
        except OSError as error:
            self._pending(error)
            self._send_again(data, to)

    def _send_again(self, data: bytes, to: Address) -> None:
        """The first error may have been an older datagram's, reported late (ip(7), IP_RECVERR)."""
        try:
            self._sendto(data, to)
        except OSError as error:
            if error.errno not in _SOFT and not isinstance(error, (BlockingIOError, socket.gaierror)):
                raise
            self._count("send " + errno.errorcode.get(error.errno or 0, "address family"))

    def _pending(self, error: OSError) -> None:
        if error.errno not in _SOFT and not isinstance(error, socket.gaierror):
            raise error
        self.has_errors = True

    def _count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1

    def refusals(self) -> list[Address]:
        self.has_errors = False
        return list(self._read_errors())

    def _read_errors(self) -> Iterator[Address]:
        for _ in range(REFUSALS_MAX):
            try:
                _, ancillary, _, to = self._sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return
            for level, kind, data in ancillary:
                if (level, kind) in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)):
                    if to and port_unreachable(data, to[0]):
                        yield plain_source(to)
        self.has_errors = True

    def close(self) -> None:
        self._sock.close()


def port_unreachable(data: bytes, to: str) -> bool:
    """Does this sock_extended_err say "port unreachable", and does the host `to` say so itself?

    A firewall between us that rejects on behalf of a host names itself as the offender: no evidence of anything.
    """
    if len(data) < _SOCK_EXTENDED_ERR.size + 8:
        return False
    number, origin, kind, code, *_ = _SOCK_EXTENDED_ERR.unpack_from(data)
    if number != errno.ECONNREFUSED or (origin, kind, code) not in ((_ORIGIN_ICMP, 3, 3), (_ORIGIN_ICMP6, 1, 4)):
        return False
    offender = data[_SOCK_EXTENDED_ERR.size:]
    family = int.from_bytes(offender[:2], sys.byteorder)
    raw = offender[4:8] if family == socket.AF_INET else offender[8:24]
    return raw == _pack(to)


def plain_source(name: Any) -> Address:
    """Our form of a socket name: IPv4-mapped as IPv4, the scope of a link-local address as `%N` behind the host."""
    if len(name) == 2:
        return name[0], name[1]
    host, port, _, scope = name
    if host.startswith(_MAPPED) and "." in host:
        return host[len(_MAPPED):], port
    return (f"{host}%{scope}" if scope and "%" not in host else host), port


def _pack(host: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])


class TcpListener:
    """A listening socket of any family."""

    def __init__(self, sock: socket.socket) -> None:
        sock.listen(BACKLOG)
        self.address: Address = plain_source(sock.getsockname()) if sock.family != socket.AF_UNIX else ("", 0)
        self._sock = trio.socket.from_stdlib_socket(sock)

    async def accept(self) -> tuple[trio.abc.Stream, Address]:
        sock, name = await self._sock.accept()
        return trio.SocketStream(sock), plain_source(name) if isinstance(name, tuple) else ("", 0)

    def close(self) -> None:
        self._sock.close()


async def connect_tcp(to: Address) -> trio.abc.Stream:
    family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        await sock.connect(to)
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


def bind_tcp(address: Address) -> TcpListener:
    """Raises GossipdError with a sentence."""
    return TcpListener(_bound(socket.SOCK_STREAM, address))


def bind_gossip(address: Address) -> tuple[UdpPort, TcpListener]:
    """One port number for datagrams and streams. Port 0 takes any that is free for both. Raises GossipdError."""
    for _ in range(1 if address[1] else PORT_TRIES_MAX):
        udp = _bound(socket.SOCK_DGRAM, address)
        try:
            listener = bind_tcp((address[0], udp.getsockname()[1]))
        except GossipdError:
            udp.close()
            if address[1]:
                raise
            continue
        return UdpPort(udp), listener
    raise GossipdError(f"cannot bind {format_address(address)}: no port is free for both UDP and TCP")


def _bound(kind: int, address: Address) -> socket.socket:
    v6 = ":" in address[0]
    try:
        sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, kind)
        try:
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if v6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
            sock.bind(address)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        transport = "TCP" if kind == socket.SOCK_STREAM else "UDP"
        reason = error.strerror or str(error)
        raise GossipdError(f"cannot bind {format_address(address)} ({transport}): {reason}") from None
    return sock
