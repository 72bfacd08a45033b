"""What can be told of a host without asking anybody: it can never be looked up, it can never be reached."""

from __future__ import annotations

NAME_LENGTH_MAX, LABEL_LENGTH_MAX = 253, 63     # RFC 1035 §2.3.4, as text
_NEVER_IN_NAMES = frozenset("/\\@?#[]\"'<>")
EVERYWHERE = "::"       # of a listener for clients: all addresses of both families
_MAPPED = "::ffff:"


def wrong_with_host(host: str) -> str:
    """Why this is no numeric address and no name either; "" if it may be one."""
    if ":" in host:
        return "" if _is_ip6(host) else f"{host!r} is no IPv6 address"
    labels = host.removesuffix(".").split(".")
    if any(c.isspace() or not c.isprintable() or c in _NEVER_IN_NAMES for c in host):
        return f"{host!r} is no name of a host"
    if not all(0 < len(label) <= LABEL_LENGTH_MAX for label in labels) or len(host) > NAME_LENGTH_MAX:
        return f"a name of a host has parts of 1 to {LABEL_LENGTH_MAX} characters, and {NAME_LENGTH_MAX} in all"
    if all(label.isascii() and label.isdigit() for label in labels):
        if len(labels) > 4 or (len(labels) == 4 and any(int(label) > 255 for label in labels)):
            return f"{host!r} is no IPv4 address"
    return ""


def _is_ip6(host: str) -> bool:
    from ipaddress import IPv6Address  # 3 ms that only IPv6 pays

    try:
        IPv6Address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def unreachable(host: str) -> str:
    """Why a numeric address is nobody's own; "" if it may be somebody's, or is a name."""
    host = host.lower()
    if host.startswith(_MAPPED) and "." in host:
        host = host.removeprefix(_MAPPED)
    if host == "255.255.255.255":
        return "the broadcast address"
    first, dot, _ = host.partition(".")
    if host.count(".") == 3 and len(first) == 3 and first.isascii() and first.isdigit() and 224 <= int(first) <= 239:
        return "a multicast address"
    group, colon, _ = host.partition(":")
    return "a multicast address" if colon and len(group) == 4 and group.startswith("ff") else ""
