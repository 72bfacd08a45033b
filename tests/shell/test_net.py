"""Real sockets on loopback. What a kernel cannot be made to do comes from a fake socket."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

import pytest
import trio

from gossipd.addresses import Address
from gossipd.daemon import net
from gossipd.daemon.net import (
    BATCH_MAX,
    PORT_TRIES_MAX,
    RECEIVE_BUFFER_BYTES,
    REFUSALS_MAX,
    UdpPort,
    bind_gossip,
    connect_tcp,
    plain_source,
)
from gossipd.errors import GossipdError
from tests.support.require import need
from tests.support.virtual import in_real_time

LOOPBACK = ("127.0.0.1", 0)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def bound(host: str = "127.0.0.1") -> tuple[UdpPort, net.TcpListener]:
    if ":" in host:
        need(has_ipv6(), "IPv6 sockets: no IPv6 here")
    return bind_gossip((host, 0))


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


def received(port: UdpPort) -> list[tuple[bytes, Address]]:
    got: list[tuple[bytes, Address]] = []
    port.drain(lambda data, source: got.append((data, source)))
    return got


async def refusals_at(port: UdpPort, to: Address) -> list[Address]:
    """What the kernel says after one datagram to `to`."""
    port.send(b"anybody there?", to)
    await port.wait()
    assert received(port) == [] and port.has_errors
    return port.refusals()


@in_real_time
async def test_datagrams_come_with_their_source():
    port, _ = bound()
    other, _ = bound()
    other.send(b"hello", port.address)
    await port.wait()
    assert received(port) == [(b"hello", other.address)]


@in_real_time
async def test_a_batch_is_limited_and_the_rest_comes_next():
    port, _ = bound()
    other, _ = bound()
    for number in range(BATCH_MAX + 6):
        other.send(b"%d" % number, port.address)
    await port.wait()
    assert len(received(port)) == BATCH_MAX
    await port.wait()
    assert [data for data, _ in received(port)] == [b"%d" % number for number in range(BATCH_MAX, BATCH_MAX + 6)]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_closed_port_is_reported_by_its_host(host):
    @in_real_time
    async def run() -> None:
        port, _ = bound(host)
        closed = (host, free_port(host))
        assert await refusals_at(port, closed) == [closed]
        assert not port.has_errors
    run()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_one_socket_for_both_families_reports_closed_ports_in_their_own_form(host):
    @in_real_time
    async def run() -> None:
        port, _ = bound("::")
        closed = (host, free_port(host))
        assert await refusals_at(port, closed) == [closed]
    run()


@in_real_time
async def test_an_old_error_does_not_eat_the_next_datagram():
    port, _ = bound()
    other, _ = bound()
    port.send(b"lost", ("127.0.0.1", free_port()))
    await port.wait()       # the error is pending now: the next call on the socket gets it
    port.send(b"hello", other.address)
    await other.wait()
    assert received(other) == [(b"hello", port.address)]
    assert port.has_errors and len(port.refusals()) == 1 and port.counters == {}


@in_real_time
async def test_one_socket_for_both_families_hears_and_speaks_both():
    port, listener = bound("::")
    four, _ = bound("127.0.0.1")
    six, _ = bound("::1")
    for other, host in ((four, "127.0.0.1"), (six, "::1")):
        other.send(b"hello", (host, port.address[1]))
        await port.wait()
        assert received(port) == [(b"hello", other.address)]
        port.send(b"back", other.address)
        await other.wait()
        assert received(other) == [(b"back", (host, port.address[1]))]
        stream = await connect_tcp((host, listener.address[1]))
        _, source = await listener.accept()
        assert source[0] == host
        await stream.aclose()


def test_a_datagram_that_the_network_refuses_is_counted_and_not_more():
    port, _ = bound()
    port.send(b"x" * 70000, ("127.0.0.1", 9))
    port.send(b"x", ("127.0.0.1", 0))
    port.send(b"x", ("::1", 9))
    assert port.counters == {"send EMSGSIZE": 1, "send EINVAL": 1, "send address family": 1}


class SendSocket:
    """Fails to send as told."""

    family = socket.AF_INET

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.sent: list[bytes] = []

    def sendto(self, data: bytes, to: Address) -> int:
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, "")
        self.sent.append(data)
        return len(data)

    def recvfrom(self, size: int) -> Any:
        raise BlockingIOError

    recvmsg = sendto

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def setsockopt(self, *args: Any) -> None:
        pass

    def getsockname(self) -> Address:
        return "127.0.0.1", 7946


@pytest.mark.parametrize("name", ["ENOBUFS", "EPERM", "ENETUNREACH", "EHOSTUNREACH", "ENOMEM", "EACCES"])
def test_a_lasting_error_of_the_network_is_counted_by_its_name(name):
    sock = SendSocket(*[getattr(errno, name)] * 2)
    port = UdpPort(sock)  # type: ignore[arg-type]
    port.send(b"x", ("127.0.0.2", 7946))
    assert port.counters == {f"send {name}": 1} and sock.sent == []


def test_a_full_send_buffer_drops_the_datagram_and_counts_it():
    port = UdpPort(SendSocket(errno.EAGAIN))  # type: ignore[arg-type]
    port.send(b"x", ("127.0.0.2", 7946))
    assert port.counters == {"send buffer full": 1}


def test_a_wake_up_without_a_datagram_makes_us_read_the_error_queue():
    """Else an error that nothing else shows would wake us again and again."""
    port = UdpPort(SendSocket())  # type: ignore[arg-type]
    assert not port.has_errors
    assert port.drain(lambda data, source: None) == 0 and port.has_errors


def test_a_broken_socket_is_a_bug_and_ends_the_daemon():
    port = UdpPort(SendSocket(errno.EBADF))  # type: ignore[arg-type]
    with pytest.raises(OSError):
        port.send(b"x", ("127.0.0.2", 7946))


def test_the_receive_buffer_is_as_large_as_the_kernel_allows():
    port, _ = bound()
    with open("/proc/sys/net/core/rmem_max") as file:
        allowed = min(int(file.read()), RECEIVE_BUFFER_BYTES)
    assert port._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * allowed


class ErrorSocket(SendSocket):
    """Has no end of refusals."""

    def recvmsg(self, *args: Any) -> Any:
        error = an_error(REFUSED, 2, 3, 3, four("192.0.2.1"))
        return b"", [(socket.IPPROTO_IP, 11, error)], 0, ("192.0.2.1", 7946)


def test_refusals_are_read_a_limited_number_at_a_time():
    port = UdpPort(ErrorSocket())  # type: ignore[arg-type]
    assert port.refusals() == [("192.0.2.1", 7946)] * REFUSALS_MAX
    assert port.has_errors


# --- evidence --------------------------------------------------------------------------------------------------------

def an_error(number: int, origin: int, kind: int, code: int, offender: bytes) -> bytes:
    return struct.pack("=IBBBBII", number, origin, kind, code, 0, 0, 0) + offender


def four(host: str) -> bytes:
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(host))


def six(host: str) -> bytes:
    return struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, host), 0)


REFUSED = errno.ECONNREFUSED


@pytest.mark.parametrize("error, to, says", [
    (an_error(REFUSED, 2, 3, 3, four("192.0.2.1")), "192.0.2.1", True),
    (an_error(REFUSED, 3, 1, 4, six("2001:db8::1")), "2001:db8::1", True),
    (an_error(REFUSED, 2, 3, 3, six("::ffff:192.0.2.1")), "::ffff:192.0.2.1", True),
    (an_error(REFUSED, 2, 3, 3, four("192.0.2.254")), "192.0.2.1", False),
    (an_error(REFUSED, 3, 1, 4, six("2001:db8::ffff")), "2001:db8::1", False),
    (an_error(errno.EHOSTUNREACH, 2, 3, 1, four("192.0.2.1")), "192.0.2.1", False),
    (an_error(REFUSED, 2, 3, 2, four("192.0.2.1")), "192.0.2.1", False),
    (an_error(errno.EMSGSIZE, 1, 0, 0, four("192.0.2.1")), "192.0.2.1", False),
    (an_error(REFUSED, 2, 3, 3, b""), "192.0.2.1", False),
], ids=["IPv4", "IPv6", "mapped", "a firewall between", "a firewall between, IPv6", "host unreachable",
        "protocol unreachable", "too large, said our own kernel", "cut short"])
def test_only_the_host_itself_can_say_that_its_port_is_closed(error, to, says):
    assert net.port_unreachable(error, to) is says


@pytest.mark.parametrize("name, address", [
    (("192.0.2.1", 7946), ("192.0.2.1", 7946)),
    (("::ffff:192.0.2.1", 7946, 0, 0), ("192.0.2.1", 7946)),
    (("2001:db8::1", 7946, 0, 0), ("2001:db8::1", 7946)),
    (("fe80::1", 7946, 0, 3), ("fe80::1%3", 7946)),
])
def test_socket_names_become_addresses(name, address):
    assert plain_source(name) == address


# --- binding ---------------------------------------------------------------------------------------------------------

def test_datagrams_and_streams_share_a_port_number():
    port, listener = bound()
    assert port.address == listener.address and port.address[1] > 0


def test_a_taken_udp_port_is_refused_in_one_line():
    port, listener = bound()
    with pytest.raises(GossipdError) as error:
        bind_gossip(port.address)
    assert str(error.value) == f"cannot bind 127.0.0.1:{port.address[1]} (UDP): Address already in use"


def test_a_taken_tcp_port_is_refused_and_the_udp_port_given_back():
    with socket.socket() as taken:
        taken.bind(LOOPBACK)
        taken.listen()
        address = ("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(GossipdError, match=r"\(TCP\): Address already in use"):
            bind_gossip(address)
    bind_gossip(address)


def test_the_search_for_a_port_free_for_both_is_limited(monkeypatch):
    tried = []

    def bind_tcp(address: Address) -> Any:
        tried.append(address)
        raise GossipdError("taken")

    monkeypatch.setattr(net, "bind_tcp", bind_tcp)
    with pytest.raises(GossipdError, match="no port is free for both"):
        bind_gossip(LOOPBACK)
    assert len(tried) == PORT_TRIES_MAX


def test_an_address_of_another_machine_is_refused_in_one_line():
    with pytest.raises(GossipdError, match=r"^cannot bind 198\.51\.100\.7:7946 \(UDP\): Cannot assign"):
        bind_gossip(("198.51.100.7", 7946))


@in_real_time
async def test_dialling_a_closed_port_is_refused():
    port = free_port()
    with pytest.raises(OSError) as error:
        await connect_tcp(("127.0.0.1", port))
    assert error.value.errno == errno.ECONNREFUSED


@in_real_time
async def test_streams_carry_bytes_both_ways():
    _, listener = bound()
    ours = await connect_tcp(listener.address)
    theirs, source = await listener.accept()
    assert source[0] == "127.0.0.1"
    await ours.send_all(b"ping")
    assert await theirs.receive_some(10) == b"ping"
    await theirs.aclose()
    assert await ours.receive_some(10) == b""
    await trio.aclose_forcefully(ours)
