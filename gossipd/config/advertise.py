"""Which address this node tells others: never a loopback or wildcard one that nobody chose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gossipd.addresses import Address, format_address
from gossipd.errors import ConfigError

WILDCARDS = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Advertised:
    address: Address
    why: str            # for the log


def advertised(bind: Address, advertise: Address | None, interfaces: Iterable[tuple[str, str]]) -> Advertised:
    """The address for others. `bind` and `advertise` are numeric; `interfaces` (name, numeric host), best first.

    A wildcard bind address picks the first private address (RFC 1918, 6598, 4193) of its own family; `::` takes a
    private IPv4 address when there is no private IPv6 one. Raises ConfigError if there is none at all.
    """
    if advertise:
        if advertise[0] in WILDCARDS:
            raise ConfigError(f"network.advertise: nobody can reach {format_address(advertise)}")
        return Advertised(advertise, "configured")
    host, port = bind
    if host not in WILDCARDS:
        return Advertised(bind, "the bind address")
    known = list(interfaces)
    for family in (_is_private_ip6, _is_private_ip4) if host == "::" else (_is_private_ip4,):
        for name, candidate in known:
            if family(candidate):
                return Advertised((candidate, port), f"private address of {name}, since {host} is bound")
    seen = ", ".join(f"{candidate} ({name})" for name, candidate in known) or "none"
    raise ConfigError(
        f"network.advertise: bound to {host}, and this machine has no private address to tell others"
        f" (its addresses: {seen}); set network.advertise (--advertise) or network.bind (--bind)")


def _is_private_ip4(host: str) -> bool:
    """RFC 1918 and RFC 6598. `ipaddress` would cost 3 ms at each start, and knows the latter not as private."""
    if ":" in host or host.count(".") != 3:
        return False
    first, second = (int(part) for part in host.split(".")[:2])
    return first == 10 or (first, second) == (192, 168) or (first == 172 and 16 <= second < 32) \
        or (first == 100 and 64 <= second < 128)


def _is_private_ip6(host: str) -> bool:
    """RFC 4193, fc00::/7, as systems write addresses: no leading zeros, so the first group has all four digits."""
    group = host.partition(":")[0].lower()
    return ":" in host and len(group) == 4 and group[:2] in ("fc", "fd")
