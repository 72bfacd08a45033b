"""Addresses: (host, port) in the program, 4 or 16 raw bytes and a number on the wire (spec memberlist §9.2)."""

from __future__ import annotations

from gossipd.errors import WireError

Address = tuple[str, int]
"""Numeric host and port, as socket calls take and give them. IPv4-mapped addresses appear as IPv4."""

PORT_MAX = 65535
_MAPPED = bytes(10) + b"\xff\xff"


def unpack_ip(raw: bytes) -> str:
    """The numeric host of 4 or 16 raw bytes. IPv4-mapped IPv6 becomes IPv4. Raises WireError otherwise."""
    if len(raw) == 16 and raw.startswith(_MAPPED):
        raw = raw[12:]
    if len(raw) == 4:
        return "%d.%d.%d.%d" % tuple(raw)
    if len(raw) == 16:
        from ipaddress import IPv6Address  # 3 ms that an IPv4 cluster never pays

        return str(IPv6Address(raw))
    raise WireError("bad address", f"{len(raw)} bytes")


def pack_ip(host: str) -> bytes:
    """4 or 16 raw bytes of a numeric host. Raises ValueError if it is not one."""
    from ipaddress import ip_address

    return ip_address(host.partition("%")[0]).packed


def plain_ip(raw: bytes) -> bytes:
    """The same address with an IPv4-mapped form shortened to 4 bytes, as RPC clients expect it."""
    return raw[12:] if len(raw) == 16 and raw.startswith(_MAPPED) else raw


def format_address(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str, default_port: int) -> Address:
    """`host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address; the host may be a name.

    Raises ValueError with a sentence for a person.
    """
    host, port_text = _split(text)
    if not host:
        raise ValueError(f"address {text!r} has no host")
    if port_text is None:
        return host, default_port
    if not (port_text.isascii() and port_text.isdigit()) or not 0 <= int(port_text) <= PORT_MAX:
        raise ValueError(f"address {text!r}: port must be a number from 0 to {PORT_MAX}")
    return host, int(port_text)


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"address {text!r}: expected [host]:port")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        return text, None       # bare IPv6
    host, colon, port = text.partition(":")
    return host, port if colon else None
