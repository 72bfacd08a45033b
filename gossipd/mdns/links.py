"""Where mDNS is spoken, and which addresses make sense there."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Link:
    """One address family on one interface; `networks` are those of our addresses there."""

    interface: str
    v6: bool
    networks: tuple[Network, ...]

    @property
    def loopback(self) -> bool:
        return any(network.is_loopback for network in self.networks)

    def has(self, host: str) -> bool:
        """Is the numeric `host` a neighbor there?"""
        address = ip_address(host)
        return address.is_link_local or any(address in network for network in self.networks)


def is_usable(address: IPv4Address | IPv6Address, link: Link) -> bool:
    """Could a member heard of on `link` have this address? A loopback one only where we are on loopback ourselves."""
    if address.is_multicast or address.is_unspecified or (address.is_loopback and not link.loopback):
        return False
    if isinstance(address, IPv4Address):
        broadcast = any(address == network.broadcast_address for network in link.networks if network.num_addresses > 2)
        return 0 < address.packed[0] < 224 and not broadcast
    return not address.is_link_local and address.ipv4_mapped is None    # gossip has no scopes, and IPv4 has A records
