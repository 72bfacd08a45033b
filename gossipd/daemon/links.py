"""Where mDNS is spoken: interfaces that can multicast, with our addresses there, and sockets on port 5353."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

from gossipd.daemon.interfaces import ipv4_addresses
from gossipd.mdns.discovery import MDNS_PORT
from gossipd.mdns.links import Link, Network

GROUP_V4, GROUP_V6 = "224.0.0.251", "ff02::fb"
LINKS_MAX = 32                  # each takes two sockets
HOPS = 255                      # RFC 6762 §11

_SIOCGIFFLAGS, _SIOCGIFNETMASK = 0x8913, 0x891B                             # netdevice(7)
_IFF_UP, _IFF_LOOPBACK, _IFF_RUNNING, _IFF_MULTICAST = 1, 8, 0x40, 0x1000
_UNUSABLE = 0x48                # linux/if_addr.h: tentative, duplicate
_PROC_IF_INET6 = "/proc/net/if_inet6"
_IP_MULTICAST_ALL = 49          # linux/in.h


@dataclass(frozen=True, slots=True)
class Place:
    """A link as the system knows it. `host` is our address there; in IPv6 the link-local one, if there is one."""

    link: Link
    index: int
    host: str


@dataclass(frozen=True, slots=True)
class _Address:
    interface: str
    host: str
    prefix: int


def find_places(names: Sequence[str], v4: bool, v6: bool, loopback: bool) -> list[Place]:
    """Those of `names`, or all that can multicast; loopback interfaces only by name or if `loopback` wants only them.

    Where there are too many, those with IPv4 addresses come first.
    """
    addresses = [*(_ipv4_addresses() if v4 else ()), *(_ipv6_addresses() if v6 else ())]
    by_link: dict[tuple[str, bool], list[_Address]] = {}
    for address in addresses:
        by_link.setdefault((address.interface, ":" in address.host), []).append(address)
    places = []
    for (interface, is_v6), own in by_link.items():
        if not _is_wanted(interface, names, loopback):
            continue
        try:
            index = socket.if_nametoindex(interface)
        except OSError:
            continue        # gone meanwhile
        networks: tuple[Network, ...] = tuple(ip_interface(f"{one.host}/{one.prefix}").network for one in own)
        host = next((one.host for one in own if one.host.startswith("fe80:")), own[0].host)
        places.append(Place(Link(interface, is_v6, networks), index, host))
    return places[:LINKS_MAX]


def _is_wanted(interface: str, names: Sequence[str], loopback: bool) -> bool:
    flags = _flags(interface)
    if not flags & _IFF_UP or not flags & _IFF_RUNNING or (names and interface not in names):
        return False
    if flags & _IFF_LOOPBACK:
        return loopback or bool(names)
    return bool(flags & _IFF_MULTICAST) and (not loopback or bool(names))


def _flags(interface: str) -> int:
    """0 if it is gone."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16s24x", interface.encode()))
    except OSError:
        return 0
    return int(struct.unpack_from("16xH", answer)[0])


def _ipv4_addresses() -> Iterator[_Address]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for label, host in ipv4_addresses():
            request = struct.pack("16sH2x4s16x", label.encode(), socket.AF_INET, socket.inet_aton(host))
            try:
                mask = fcntl.ioctl(sock, _SIOCGIFNETMASK, request)[20:24]
            except OSError:
                continue    # gone meanwhile
            yield _Address(label.partition(":")[0], host, int.from_bytes(mask, "big").bit_count())


def _ipv6_addresses() -> list[_Address]:
    try:
        with open(_PROC_IF_INET6) as lines:
            return list(parse_if_inet6(lines))
    except OSError:
        return []           # no IPv6 here


def parse_if_inet6(lines: Iterable[str]) -> Iterator[_Address]:
    """Columns: address, index, prefix length, scope, flags, name; all but the last in hexadecimal."""
    for line in lines:
        raw, _, prefix, _, flags, interface = line.split()
        if not int(flags, 16) & _UNUSABLE:
            yield _Address(interface, socket.inet_ntop(socket.AF_INET6, bytes.fromhex(raw)), int(prefix, 16))


def open_group(place: Place) -> socket.socket:
    """Hears what is sent to the group on this link, and sends from port 5353. Raises OSError.

    It is bound to the group's address, not to any: so packets for this host's port 5353 stay with the programs that
    wait for them (avahi, systemd-resolved). SO_REUSEADDR is all that it takes to share the port. With SO_REUSEPORT,
    Linux since 6.6 gives a packet for the group to any one of the sockets, of whatever link.
    """
    sock = socket.socket(_family(place), socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _send_on(sock, place)
        if place.link.v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, HOPS)
            sock.bind((GROUP_V6, MDNS_PORT, 0, place.index))
            group = socket.inet_pton(socket.AF_INET6, GROUP_V6) + struct.pack("@I", place.index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, HOPS)
            sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)    # only of the interface joined below
            sock.bind((GROUP_V4, MDNS_PORT))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _mreqn(GROUP_V4, place))
    except BaseException:
        sock.close()
        raise
    return sock


def open_asker(place: Place) -> socket.socket:
    """Sends questions to the group on this link, and gets what is sent back to it alone. Raises OSError."""
    sock = socket.socket(_family(place), socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        _send_on(sock, place)
        sock.bind((place.host, 0, 0, place.index) if place.link.v6 else (place.host, 0))
    except BaseException:
        sock.close()
        raise
    return sock


def group_of(place: Place) -> tuple[str, int] | tuple[str, int, int, int]:
    """Where a socket of this link sends what is for all."""
    return (GROUP_V6, MDNS_PORT, 0, place.index) if place.link.v6 else (GROUP_V4, MDNS_PORT)


def _family(place: Place) -> int:
    return socket.AF_INET6 if place.link.v6 else socket.AF_INET


def _send_on(sock: socket.socket, place: Place) -> None:
    if place.link.v6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, place.index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _mreqn("0.0.0.0", place))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)


def _mreqn(group: str, place: Place) -> bytes:
    """struct ip_mreqn, ip(7)."""
    return socket.inet_aton(group) + socket.inet_aton(place.host) + struct.pack("@i", place.index)
