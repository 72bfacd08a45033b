"""Who this node is: its name, where it listens, what it tells the others."""

from __future__ import annotations

import socket

from gossipd.addresses import Address, pack_ip, parse_address
from gossipd.config.advertise import WILDCARDS, Advertised, advertised
from gossipd.config.schema import Config
from gossipd.daemon.net import plain_source
from gossipd.errors import GossipdError
from gossipd.swim.config import DEFAULT_PORT


def node_name(config: Config) -> str:
    return config.node.name or socket.gethostname()


def bind_address(config: Config) -> Address:
    """Numeric, on the configured interface. Raises GossipdError."""
    found = resolve(config.network.bind, DEFAULT_PORT)
    if not config.network.interface:
        return found
    from gossipd.daemon.interfaces import on_interface

    return on_interface(config.network.interface, found)


def advertised_address(config: Config, bound: Address) -> Advertised:
    """`bound` with its real port. Raises GossipdError."""
    chosen = resolve(config.network.advertise, bound[1]) if config.network.advertise else None
    if chosen is None and bound[0] in WILDCARDS:
        from gossipd.daemon.interfaces import interface_addresses

        return advertised(bound, None, interface_addresses())
    return advertised(bound, chosen, ())


def advertised_bytes(config: Config, address: Address) -> bytes:
    """As the others keep them. An IPv4 address found for a wildcard goes out in IPv6 form: Serf does so, and a node
    that takes over a Serf agent's name must not seem to have moved (spec memberlist §9.2)."""
    raw = pack_ip(address[0])
    found = not config.network.advertise and bind_address(config)[0] in WILDCARDS
    return bytes(10) + b"\xff\xff" + raw if found and len(raw) == 4 else raw


def resolve(text: str, default_port: int) -> Address:
    """The first address of `text`, IPv4 before IPv6. Raises GossipdError."""
    try:
        host, port = parse_address(text, default_port)
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise GossipdError(f"address {text!r}: {error.strerror}") from None
    except (ValueError, UnicodeError) as error:
        raise GossipdError(f"address {text!r}: {error}") from None
    return plain_source(min(answers, key=lambda answer: answer[0] != socket.AF_INET)[4])
