"""Packets of multicast DNS, with Serf's bytes as the measure (tests/vectors/mdns)."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.errors import WireError
from gossipd.mdns.messages import (
    AAAA,
    ANY,
    ENTRIES_MAX,
    PACKET_BYTES_MAX,
    PTR,
    SRV,
    TXT,
    A,
    Packet,
    Question,
    Record,
    decode,
    encode,
)

VECTORS = Path(__file__).parents[2] / "vectors" / "mdns"
PACKETS = [packet for name in ("discover-ipv4", "discover-ipv6")
           for packet in json.loads((VECTORS / f"{name}.json").read_text())["packets"]]
TYPES = {"A": A, "PTR": PTR, "TXT": TXT, "AAAA": AAAA, "SRV": SRV}
SERVICE = (b"_serf_app", b"_tcp", b"local")
HEADER = bytes(12)


def labels(text: str) -> tuple[bytes, ...]:
    return tuple(part.encode() for part in text.removesuffix(".").split("."))


def expected_record(answer: dict) -> Record:
    name, kind, ttl, data = labels(answer["name"]), TYPES[answer["type"]], answer["ttl"], answer["data"]
    if kind == PTR:
        return Record(name, kind, ttl, target=labels(data))
    if kind == SRV:
        return Record(name, kind, ttl, target=labels(data["target"]), port=data["port"])
    if kind == TXT:
        return Record(name, kind, ttl, strings=tuple(text.encode() for text in data))
    return Record(name, kind, ttl, host=data)


@pytest.mark.parametrize("vector", PACKETS, ids=lambda vector: f"{vector['t']}-{vector['src']}")
def test_serfs_packets_are_read(vector):
    packet, told = decode(bytes.fromhex(vector["hex"])), vector["decoded"]
    assert packet.id == told["id"]
    assert packet.response == (told["flags"] == "0x8400")
    assert packet.questions == [Question(labels(q["name"]), TYPES[q["type"]]) for q in told["questions"]]
    assert packet.records == [expected_record(answer) for answer in told["answers"]]


@pytest.mark.parametrize("vector", PACKETS, ids=lambda vector: f"{vector['t']}-{vector['src']}")
def test_serfs_packets_are_written_byte_for_byte(vector):
    raw = bytes.fromhex(vector["hex"])
    written = encode(decode(raw))
    # The name of an SRV's target as what later names point to: dnspython 2.3 writes that as Serf does, 2.9 does not.
    assert written in (raw, raw.replace(b"\xc0\x47", b"\x02vm\0").replace(b"\xc0\x46", b"\x02vm\0"))


NAMES = st.lists(st.binary(min_size=1, max_size=15), min_size=1, max_size=4).map(tuple)
TTLS = st.integers(0, 2**31 - 1)
RECORDS = st.one_of(
    st.builds(Record, NAMES, st.just(PTR), TTLS, target=NAMES),
    st.builds(Record, NAMES, st.just(SRV), TTLS, target=NAMES, port=st.integers(0, 65535)),
    st.builds(Record, NAMES, st.just(A), TTLS, host=st.integers(0, 2**32 - 1).map(IPv4Address).map(str)),
    st.builds(Record, NAMES, st.just(AAAA), TTLS, host=st.integers(0, 2**128 - 1).map(IPv6Address).map(str)),
    st.builds(Record, NAMES, st.just(TXT), TTLS,
              strings=st.lists(st.binary(max_size=30), min_size=1, max_size=3).map(tuple)))
QUESTIONS = st.builds(Question, NAMES, st.sampled_from([A, PTR, TXT, AAAA, SRV, ANY]), st.booleans())
PACKET = st.builds(Packet, st.integers(0, 65535), st.booleans(), st.lists(QUESTIONS, max_size=3, unique=True),
                   st.lists(RECORDS, max_size=5))


@given(PACKET)
def test_what_is_written_is_read_again(packet):
    read = decode(encode(packet))
    for record in read.records:
        if record.type == AAAA:     # dnspython writes mapped addresses in another way
            assert IPv6Address(record.host)
    assert (read.id, read.response) == (packet.id, packet.response)
    assert [(lower(one.name), one.type, one.unicast) for one in read.questions] == [
        (lower(one.name), one.type, one.unicast) for one in packet.questions]
    assert [normal(record) for record in read.records] == [normal(record) for record in packet.records]


def normal(record: Record) -> Record:
    """dnspython makes one name of two that differ in case, as DNS does; ours never differ only so."""
    host = IPv6Address(record.host).exploded if record.type == AAAA else record.host
    return Record(lower(record.name), record.type, record.ttl, lower(record.target), record.port, host, record.strings)


def lower(name: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(label.lower() for label in name)


def test_the_top_bit_of_the_class_is_written_and_never_in_the_way():
    record = Record(SERVICE, SRV, 120, target=(b"h", b"local"), port=7946, flush=True)
    data = encode(Packet(response=True, records=[record]))
    assert b"\x00\x21\x80\x01" in data
    assert decode(data).records[0].port == 7946
    data = encode(Packet(questions=[Question(SERVICE, PTR, unicast=True)]))
    assert data.endswith(b"\x00\x0c\x80\x01") and decode(data).questions[0].unicast


def test_names_are_labels_whatever_they_hold():
    name = (b"a.b \\c\xff", *SERVICE)
    assert decode(encode(Packet(questions=[Question(name, SRV)]))).questions[0].name == name


def test_additional_records_count_and_authorities_do_not():
    record = encode(Packet(records=[Record(SERVICE, A, 9, host="192.0.2.1")]))[12:]
    data = bytes((0, 0, 0x84, 0, 0, 0, 0, 1, 0, 1, 0, 1)) + 3 * record
    assert [one.host for one in decode(data).records] == ["192.0.2.1", "192.0.2.1"]


def test_records_of_other_classes_are_left_out():
    data = encode(Packet(records=[Record(SERVICE, TXT, 9, strings=(b"x",))]))
    assert decode(data).records and not decode(data.replace(b"\0\x10\0\x01", b"\0\x10\0\x03")).records


def test_a_broken_or_unknown_record_does_not_spoil_the_others():
    good = encode(Packet(records=[Record(SERVICE, A, 9, host="192.0.2.1")]))[12:]
    short = good[:-5] + b"\x03" + good[-4:-1]               # an address of three bytes
    other_class = good.replace(b"\0\x01\0\x01", b"\0\x01\0\x03")
    unknown = good.replace(b"\0\x01\0\x01", b"\xff\x01\0\x01")
    nsec = good.replace(b"\0\x01\0\x01", b"\0\x2f\0\x01")
    data = bytes((0, 0, 0x84, 0, 0, 0, 0, 5, 0, 0, 0, 0)) + short + other_class + unknown + nsec + good
    assert [one.host for one in decode(data).records] == ["192.0.2.1"]


QUERY = encode(Packet(questions=[Question(SERVICE, PTR)]))


@pytest.mark.parametrize("data", [
    b"", HEADER[:-1], bytes(PACKET_BYTES_MAX + 1),
    QUERY[:2] + b"\x28\0" + QUERY[4:],                      # opcode: update
    QUERY[:2] + b"\x84\x03" + QUERY[4:],                    # rcode: no such name
    QUERY[:-1], QUERY[:20],
    HEADER[:4] + (ENTRIES_MAX + 1).to_bytes(2, "big") + HEADER[6:] + (ENTRIES_MAX + 1) * b"\0\0\x0c\0\x01",
])
def test_what_is_no_mdns_packet_is_refused(data):
    with pytest.raises(WireError):
        decode(data)


LONG = b"\x01a" * 115 + b"\x09_serf_app\0"
AGAIN = b"\xc0\x0c\0\x0c\0\1\0\0\0\x78\0\x02\xc0\x0c"      # a PTR record, both names a pointer to the first name


def test_names_that_would_take_long_to_read_are_not_read():
    """256 records with two names of 116 labels each, in 4 kB, would take half a second."""
    head = bytes((0, 0, 0x84, 0, 0, 0, 1, 0, 0, 0, 0, 0)) + LONG + AGAIN[2:]
    with pytest.raises(WireError, match="too many labels"):
        decode(head + 255 * AGAIN)
    assert len(decode(head[:6] + b"\0\1" + head[8:]).records) == 1


def test_a_long_way_from_pointer_to_pointer_is_not_gone():
    chain = b"\x09_serf_app\0" + b"".join((0xC000 | at).to_bytes(2, "big") for at in (23, *range(34, 2000, 2)))
    txt = b"\0\0\x10\0\1\0\0\0\1" + len(chain).to_bytes(2, "big") + chain
    end = (0xC000 | 12 + len(txt) - 2).to_bytes(2, "big")
    pointer = end + b"\0\x0c\0\1\0\0\0\x78\0\x02" + end
    with pytest.raises(WireError, match="too many labels"):
        decode(bytes((0, 0, 0x84, 0, 0, 0, 0, 4, 0, 0, 0, 0)) + txt + 3 * pointer)


def test_nobody_looks_inside_records_of_other_types():
    good = encode(Packet(records=[Record(SERVICE, A, 9, host="192.0.2.1")]))[12:]
    nsec = good[:-14] + b"\0\x2f\x80\1\0\0\0\x78\0\x01\xff"      # what is inside makes no sense
    assert [one.host for one in decode(bytes((0, 0, 0x84, 0, 0, 0, 0, 2, 0, 0, 0, 0)) + nsec + good).records] == [
        "192.0.2.1"]


@pytest.mark.parametrize("name", [b"\xc0\x0c", b"\x80\x0c", b"\xc0\xff", b"\x01a\xc0\x0c"])
def test_a_name_that_never_ends_is_no_name(name):
    assert decode(HEADER[:4] + b"\0\x01" + HEADER[6:] + name + b"\0\x0c\0\x01").questions == []


@given(st.binary(max_size=300), st.sampled_from([0x0000, 0x8400]), st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_any_bytes_are_a_packet_or_a_wire_error(rest, flags, counts):
    head = b"\0\0" + flags.to_bytes(2, "big") + b"".join(count.to_bytes(2, "big") for count in counts)
    try:
        packet = decode(head + rest)
    except WireError:
        return
    assert len(packet.questions) + len(packet.records) <= sum(counts)


@given(st.sampled_from(PACKETS), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=8))
def test_a_damaged_packet_is_a_packet_or_a_wire_error(vector, changes):
    data = bytearray.fromhex(vector["hex"])
    for at, value in changes:
        data[at % len(data)] = value
    try:
        for record in decode(bytes(data)).records:
            assert record.type in (A, PTR, TXT, AAAA, SRV)
    except WireError:
        pass
