"""What this node tells of itself by mDNS, and what it answers to whom (spec agent §12)."""

from __future__ import annotations

from zlib import crc32

from gossipd.addresses import Address
from gossipd.mdns.messages import (
    AAAA,
    ANY,
    LABEL_BYTES_MAX,
    PTR,
    SRV,
    TXT,
    A,
    Name,
    Packet,
    Question,
    Record,
    encode,
)

TTL_S = 120                                             # Serf's
SERVICES: Name = (b"_services", b"_dns-sd", b"_udp", b"local")
"""Who asks for this wants to know which services there are (RFC 6763 §9)."""


def service_name(cluster: str) -> Name:
    """Serf's name for the members of a cluster. Dots divide, as they do there."""
    return (*f"_serf_{cluster}".encode().split(b"."), b"_tcp", b"local")


class Service:
    """`node` at the numeric `address` (what it advertises) is a member of `cluster`.

    Its host name is made up, since nobody but us answers for it: the machine's own may belong to another responder.
    """

    def __init__(self, cluster: str, node: str, address: Address) -> None:
        self.cluster, self.address = cluster, address
        host, port = address
        self.name = service_name(cluster)
        self.instance: Name = (_label(node), *self.name)
        self.host: Name = (f"gossipd-{_checksum(f'{node} {host} {port}')}".encode(), b"local")
        self.pointer = Record(self.name, PTR, TTL_S, target=self.instance)
        self.server = Record(self.instance, SRV, TTL_S, target=self.host, port=port, flush=True)
        self.place = Record(self.host, AAAA if ":" in host else A, TTL_S, host=host, flush=True)
        self.about = Record(self.instance, TXT, TTL_S, strings=(f"Serf '{cluster}' cluster".encode(),), flush=True)
        self.records = [self.pointer, self.server, self.place, self.about]
        self._kind = Record(SERVICES, PTR, TTL_S, target=self.name)
        self._marks = [bytes((len(label),)) + label for label in (self.name[0], self.host[0], b"_dns-sd")]

    def may_concern(self, data: bytes) -> bool:
        """Could this packet be about us? Cheap, for what else is said on a network. Labels are never compressed."""
        return any(mark in data for mark in self._marks)

    def answer(self, question: Question) -> list[Record]:
        """The records in Serf's order. Names are compared exactly: Serf's clusters `app` and `App` are two."""
        kind = question.type
        if question.name == self.name:
            return self.records if kind in (PTR, ANY) else []
        if question.name == self.instance:
            return {SRV: [self.server, self.place], TXT: [self.about],
                    ANY: [self.server, self.place, self.about]}.get(kind, [])
        if question.name == self.host:
            return [self.place] if kind in (self.place.type, ANY) else []
        return [self._kind] if question.name == SERVICES and kind in (PTR, ANY) else []

    def announcement(self) -> bytes:
        return encode(Packet(response=True, records=self.records))

    def goodbye(self) -> bytes:
        """The same with no time to live: forget us."""
        gone = [Record(record.name, record.type, 0, record.target, record.port, record.host, record.strings,
                       record.flush) for record in self.records]
        return encode(Packet(response=True, records=gone))


def _label(node: str) -> bytes:
    """The node's name as one label; a long one is cut and told apart by a checksum."""
    name = _raw(node)
    return name if len(name) <= LABEL_BYTES_MAX else name[:LABEL_BYTES_MAX - 9] + f"-{_checksum(node)}".encode()


def _checksum(text: str) -> str:
    return f"{crc32(_raw(text)):08x}"


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
