"""Packets of multicast DNS (RFC 6762): bytes to questions and records, and back. Nothing else imports dnspython.

Importing this takes 50 to 100 ms, so nobody does who was not asked to discover.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from gossipd.errors import WireError

PACKET_BYTES_MAX = 9000     # RFC 6762 §17
ENTRIES_MAX = 256           # questions and records of a packet; Serf's agent sends 4 records at most
LABELS_MAX, LABELS_PER_BYTE = 256, 0.5      # of all names of a packet, and pointers: dnspython takes 8 us for each
LABEL_BYTES_MAX = 63        # RFC 1035 §2.3.4
A, PTR, TXT, AAAA, SRV, ANY = 1, 12, 16, 28, 33, 255
KNOWN = (A, PTR, TXT, AAAA, SRV)

_HEADER = struct.Struct(">6H")
_SRV = struct.Struct(">3H")
_PRIORITY, _WEIGHT = 10, 1              # of SRV records, as Serf has them
_RESPONSE, _AUTHORITATIVE = 0x8000, 0x0400
_OPCODE_AND_RCODE = 0x780F
_TOP_BIT = 0x80                         # of the class's first byte: Question.unicast, Record.flush
_POINTER = 0xC0                         # of a name's next byte: the rest stands further ahead
_OPAQUE = (0xFF00).to_bytes(2, "big")   # a type for private use (RFC 6895): dnspython does not look inside
_SRV_TARGET = 6                         # where it stands in the data of the record
_IN = dns.rdataclass.IN

Name = tuple[bytes, ...]
"""Labels from the left, without the empty one at the end."""


@dataclass(frozen=True, slots=True)
class Question:
    name: Name
    type: int
    unicast: bool = False       # the asker would like an answer to itself alone


@dataclass(frozen=True, slots=True)
class Record:
    """`target` is for PTR and SRV, `port` for SRV, `host` (numeric) for A and AAAA, `strings` for TXT."""

    name: Name
    type: int
    ttl: int                    # seconds; 0 takes the record back
    target: Name = ()
    port: int = 0
    host: str = ""
    strings: tuple[bytes, ...] = ()
    flush: bool = False         # this is all there is of its name and type; written, but not read


@dataclass(slots=True)
class Packet:
    """A query or a response. Of what came, `records` has the answers and the additional records, in order."""

    id: int = 0
    response: bool = False
    questions: list[Question] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)


def decode(data: bytes) -> Packet:
    """Raises WireError. Records of types or classes that we do not know, and broken ones, are left out."""
    if not _HEADER.size <= len(data) <= PACKET_BYTES_MAX:
        raise WireError("bad mdns packet", f"{len(data)} bytes")
    id, flags, *counts = _HEADER.unpack_from(data)
    if flags & _OPCODE_AND_RCODE or sum(counts) > ENTRIES_MAX:
        raise WireError("bad mdns packet", f"flags {flags:#06x}, {sum(counts)} entries")
    plain, top_bits = _plain(data, counts[0], sum(counts[1:]))
    try:
        message = dns.message.from_wire(plain, one_rr_per_rrset=True, ignore_trailing=True, continue_on_error=True)
        questions = [Question(rrset.name.labels[:-1], int(rrset.rdtype), unicast)
                     for rrset, unicast in zip(message.question, top_bits, strict=False) if rrset.rdclass == _IN]
        records = [_record(rrset) for section in (message.answer, message.additional) for rrset in section]
    except Exception as error:      # dnspython has forty of its own, and lets ValueError and others through
        raise WireError("bad mdns packet", type(error).__name__) from None
    return Packet(id, bool(flags & _RESPONSE), questions, [record for record in records if record])


def _record(rrset: dns.rrset.RRset) -> Record | None:
    name, kind, rdata = rrset.name.labels[:-1], int(rrset.rdtype), _rdata(rrset)
    if rrset.rdclass != _IN or isinstance(rdata, dns.rdata.GenericRdata):
        return None
    if kind == PTR:
        return Record(name, kind, rrset.ttl, target=rdata.target.labels[:-1])
    if kind == SRV:
        return Record(name, kind, rrset.ttl, target=rdata.target.labels[:-1], port=rdata.port)
    if kind in (A, AAAA):
        return Record(name, kind, rrset.ttl, host=rdata.address)
    if kind == TXT:
        return Record(name, kind, rrset.ttl, strings=tuple(rdata.strings))
    return None


def _rdata(rrset: dns.rrset.RRset) -> Any:
    return rrset[0]


def encode(packet: Packet) -> bytes:
    """Its records go into the answer section; names are compressed (after SRV, dnspython 2.3 does more than 2.9).

    The caller answers for names: labels of 63 bytes and names of 255 at most.
    """
    message = dns.message.QueryMessage(packet.id)
    message.flags = dns.flags.Flag(_RESPONSE | _AUTHORITATIVE if packet.response else 0)
    for question in packet.questions:
        message.question.append(dns.rrset.RRset(_name(question.name), _IN, dns.rdatatype.RdataType(question.type)))
    for record in packet.records:
        wire = _rdata_wire(record)
        rdata = dns.rdata.from_wire(_IN, dns.rdatatype.RdataType(record.type), wire, 0, len(wire))
        message.answer.append(dns.rrset.from_rdata(_name(record.name), record.ttl, rdata))
    data = bytearray(message.to_wire(max_size=PACKET_BYTES_MAX))
    top_bits = [question.unicast for question in packet.questions] + [record.flush for record in packet.records]
    for at, top in zip(_class_offsets(data, len(packet.questions), len(packet.records)), top_bits, strict=True):
        if top:
            data[at] |= _TOP_BIT
    return bytes(data)


def _rdata_wire(record: Record) -> bytes:
    if record.type == SRV:
        return _SRV.pack(_PRIORITY, _WEIGHT, record.port) + _name_wire(record.target)
    if record.type == PTR:
        return _name_wire(record.target)
    if record.type == TXT:
        return b"".join(bytes((len(string),)) + string for string in record.strings)
    return ip_address(record.host).packed


def _name_wire(name: Name) -> bytes:
    """Uncompressed."""
    return b"".join(bytes((len(label),)) + label for label in name) + b"\0"


def _name(labels: Name) -> dns.name.Name:
    return dns.name.Name((*labels, b""))


def _plain(data: bytes, questions: int, records: int) -> tuple[bytes, list[bool]]:
    """The packet with classes without the top bit, since to dnspython 0x8001 is an unknown one, and where it was set;
    and with nothing to read in records that are none of ours. Raises WireError where reading names takes too long."""
    plain, top_bits, start = bytearray(data), [], _HEADER.size
    labels, labels_max = 0, LABELS_MAX + LABELS_PER_BYTE * len(data)
    for number, at in enumerate(_class_offsets(data, questions, records)):
        top_bits.append(bool(data[at] & _TOP_BIT))
        plain[at] &= ~_TOP_BIT
        labels += _count_labels(data, start)
        start = at + 2
        if number >= questions:
            if at + 8 > len(data):
                raise WireError("bad mdns packet", "cut off")
            kind, start = data[at - 2] << 8 | data[at - 1], at + 8
            if kind not in KNOWN:
                plain[at - 2:at] = _OPAQUE
            elif kind in (PTR, SRV):
                labels += _count_labels(data, start + (_SRV_TARGET if kind == SRV else 0))
            start += data[at + 6] << 8 | data[at + 7]
        if labels > labels_max:
            raise WireError("bad mdns packet", "too many labels")
    return bytes(plain), top_bits


def _count_labels(data: bytes, at: int) -> int:
    """Of a name, pointers too, until the first mistake: that, dnspython finds as well."""
    count, before = 0, at
    while at + 1 < len(data) and data[at] and count <= len(data):
        count += 1
        if data[at] <= LABEL_BYTES_MAX:
            at += 1 + data[at]
            continue
        target = (data[at] & ~_POINTER) << 8 | data[at + 1]
        if target >= before:
            break
        at = before = target
    return count


def _class_offsets(data: bytes | bytearray, questions: int, records: int) -> Iterator[int]:
    """Where the class of each question and record stands. Raises WireError where the packet ends too soon."""
    at = _HEADER.size
    try:
        for number in range(questions + records):
            while 0 < data[at] <= LABEL_BYTES_MAX:
                at += 1 + data[at]
            at += 4 if data[at] else 3      # behind a pointer or the name's end, and the type
            data[at + 1]
            yield at
            at += 2
            if number >= questions:
                at += 6 + (data[at + 4] << 8 | data[at + 5])
    except IndexError:
        raise WireError("bad mdns packet", "cut off") from None
