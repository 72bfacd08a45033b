"""Addresses of this machine, for a daemon that is bound to all of them and must tell the others one."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from array import array
from collections.abc import Iterable

from gossipd.addresses import Address
from gossipd.errors import GossipdError

INTERFACES_MAX = 1024           # IPv4 addresses that are looked at

_SIOCGIFCONF, _SIOCGIFFLAGS = 0x8912, 0x8913    # netdevice(7)
_IFF_UP = 1
_IFREQ_BYTES = 40 if sys.maxsize > 1 << 32 else 32
_PROC_IF_INET6 = "/proc/net/if_inet6"
_WILDCARD = "0.0.0.0"
_LINK_LOCAL = ("169.254.", "fe8", "fe9", "fea", "feb")
_ROUTE_PROBES = {socket.AF_INET: ("192.0.2.1", 9), socket.AF_INET6: ("2001:db8::1", 9)}


InterfaceAddress = tuple[str, str]
"""Interface, numeric host."""


def interface_addresses() -> list[InterfaceAddress]:
    """Those that packets to the rest of the world would come from first, then the kernel's order, IPv4 before IPv6."""
    routed = routed_hosts()
    return sorted([*ipv4_addresses(), *ipv6_addresses()], key=lambda one: one[1] not in routed)


def on_interface(interface: str, bind: Address) -> Address:
    """`bind`, if it is an address of the interface. For 0.0.0.0 the first one that is not link-local, in the kernel's
    order, IPv4 first. Raises GossipdError, in Serf's words (spec agent §4)."""
    if not interface_exists(interface):
        raise GossipdError(f"Invalid network interface '{interface}': no such network interface")
    own = [host for name, host in [*ipv4_addresses(), *ipv6_addresses()] if name.partition(":")[0] == interface]
    if not own:
        raise GossipdError(f"Interface '{interface}' has no addresses")
    host, port = bind
    if host != _WILDCARD:
        if host.partition("%")[0] not in own:
            raise GossipdError(f"Interface '{interface}' has no '{host}' address")
        return bind
    usable = [one for one in own if not one.startswith(_LINK_LOCAL)]
    if not usable:
        raise GossipdError(f"Failed to find usable address for interface '{interface}'")
    return usable[0], port


def interface_exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except (OSError, ValueError):
        return False
    return True


def ipv4_addresses() -> list[InterfaceAddress]:
    """Of interfaces that are up, in the kernel's order."""
    table = array("B", bytes(INTERFACES_MAX * _IFREQ_BYTES))
    address, size = table.buffer_info()
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, _SIOCGIFCONF, struct.pack("iP", size, address))
        used = struct.unpack("iP", answer)[0]
        for at in range(0, used, _IFREQ_BYTES):
            request = table[at:at + _IFREQ_BYTES].tobytes()
            flags = struct.unpack_from("16xH", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[0]
            if flags & _IFF_UP:
                name = request[:16].partition(b"\0")[0].decode(errors="replace")
                found.append((name, socket.inet_ntoa(request[20:24])))
    return found


def ipv6_addresses() -> list[InterfaceAddress]:
    try:
        with open(_PROC_IF_INET6) as lines:
            return parse_if_inet6(lines)
    except OSError:
        return []       # no IPv6 here


def parse_if_inet6(lines: Iterable[str]) -> list[InterfaceAddress]:
    rows = [line.split() for line in lines]
    return [(row[5], socket.inet_ntop(socket.AF_INET6, bytes.fromhex(row[0]))) for row in rows]


def routed_hosts() -> list[str]:
    """Source addresses that the kernel would take for a stranger, by family. Nothing is sent."""
    hosts = []
    for family, target in _ROUTE_PROBES.items():
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect(target)
                hosts.append(str(sock.getsockname()[0]))
        except OSError:
            pass        # no route, or no such family
    return hosts
