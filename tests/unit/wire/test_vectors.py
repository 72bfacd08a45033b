"""Golden bytes from Serf and memberlist: decode, compare, write again, seal again (tests/vectors/memberlist)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from gossipd.errors import WireError
from gossipd.wire import codec, lzw, messages, stream
from gossipd.wire.messages import Ack, Message, Ping, PushPull, User
from gossipd.wire.packet import Envelope, compound
from gossipd.wire.secure import Keyring, encrypted_length
from gossipd.wire.stream import StreamDecoder, UnwrapError
from tests.unit.wire.samples import envelope, read_stream

VECTORS = Path(__file__).parents[2] / "vectors" / "memberlist"
TEXT = {"Node", "Name", "From", "SourceNode", "Error"}
ATTRIBUTES = {
    "Node": "node", "SeqNo": "seq", "SourceAddr": "source_addr", "SourceNode": "source_node",
    "SourcePort": "source_port", "Nack": "nack", "Port": "port", "Target": "target", "Payload": "payload",
    "Error": "error", "From": "source", "Incarnation": "incarnation", "Addr": "addr", "Meta": "meta", "Vsn": "vsn",
    "Name": "name", "State": "state", "Join": "join",
}


def load(name: str) -> list[dict[str, Any]]:
    return json.loads((VECTORS / f"{name}.json").read_text())["vectors"]


def by_name(cases: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case["name"] for case in cases])


def value_of(key: str, value: Any) -> Any:
    """A vector's value in the form that it has on the wire."""
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    if not isinstance(value, str):
        return value
    return value.encode() if key in TEXT else bytes.fromhex(value)


def values_of(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value_of(key, value) for key, value in fields.items()}


def check_fields(message: object, fields: dict[str, Any]) -> None:
    for key, value in values_of(fields).items():
        found = getattr(message, ATTRIBUTES[key])
        if isinstance(found, str):
            found = found.encode("utf-8", "surrogateescape")
        assert found == (b"" if value is None else value), key


def canonical(fields: dict[str, Any]) -> bytes:
    """The map as spec §3.1 wants it, by a plain packer: sorted keys, raw strings, an empty byte array as nil."""
    values = values_of(fields)
    ordered = {key: None if values[key] == b"" and key not in TEXT else values[key] for key in sorted(values)}
    return msgpack.packb(ordered, use_bin_type=False)


def keyring_of(case: dict[str, Any]) -> Keyring:
    return Keyring([bytes.fromhex(key) for key in case["keys"]])


def layer(side: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((one for one in side["layers"] if one["layer"] == name), None)


MESSAGES = load("messages")


@by_name([case for case in MESSAGES if "code" in case])
def test_a_message_decodes_to_its_fields_and_encodes_to_the_same_bytes(case):
    data = bytes.fromhex(case["hex"])
    message = codec.decode_err(data[1:]) if case["code"] == messages.ERR else codec.decode(data)
    if case["code"] == messages.USER:
        assert message == User(bytes.fromhex(case["payload"])) and codec.encode(message) == data
        return
    check_fields(message, case["fields"])
    assert codec.encode(message) == data[:1] + canonical(case["fields"])
    assert data[1:] == codec.pack(values_of(case["fields"])), "the vector itself, with its empty values as they are"


@by_name([case for case in MESSAGES if "code" not in case and case["type"] != "pushNodeState"])
def test_a_header_decodes_and_encodes_with_unsigned_lengths(case):
    fields = codec.unpack_map(bytes.fromhex(case["hex"]))
    for key, value in case["fields"].items():
        take = codec.take_bool if isinstance(value, bool) else codec.take_uint
        assert take(fields, key.encode()) == value
    assert codec.pack(values_of(case["fields"])).hex() == case["unsigned_form_hex"]


@by_name([case for case in MESSAGES if case["type"] == "pushNodeState"])
def test_a_node_state_decodes_and_encodes_to_the_same_bytes(case):
    header = codec.pack({b"Join": False, b"Nodes": 1, b"UserStateLen": 0})
    message = read_stream(StreamDecoder(envelope(), dialled=True), b"\x06" + header + bytes.fromhex(case["hex"]))
    assert isinstance(message, PushPull)
    check_fields(message.entries[0], case["fields"])
    assert stream.encode_entry(message.entries[0]).hex() == case["hex"]


PACKETS = load("packets")


@by_name(PACKETS)
def test_a_datagram_opens_to_its_messages_and_each_encodes_to_the_same_bytes(case):
    found, errors = Envelope(keyring_of(case), case["label"].encode(), False, bytes).open(bytes.fromhex(case["hex"]))
    assert [message.hex() for message in found] == [one["hex"] for one in case["messages"]]
    assert list(errors) == []
    for data, expected in zip(found, case["messages"], strict=True):
        message = codec.decode(data)
        assert codec.encode(message) == data
        check_fields(message, expected.get("fields", {}))


@by_name(PACKETS)
def test_a_datagram_sealed_again_is_the_same(case):
    encryption, compression = layer(case, "encrypt"), layer(case, "compress")
    parts = [bytes.fromhex(one["hex"]) for one in case["messages"]]
    message = compound(parts) if layer(case, "compound") else parts[0]
    nonce = bytes.fromhex(encryption["nonce"]) if encryption else b""
    outgoing = Envelope(
        keyring_of(case), case["label"].encode(), compression is not None, lambda size: nonce,
        verify_outgoing=not encryption or encryption["version"] == 1,
    )
    sealed = outgoing.seal(message, crc=layer(case, "crc") is not None)
    if encryption and encryption["version"] == 0:     # we only read it; the box is what the vector adds here
        label = outgoing.label
        sealed = sealed.removeprefix(outgoing.label_header)
        sealed = outgoing.label_header + outgoing.keyring.encrypt(sealed, label, nonce, version=0)
    assert sealed.hex() == case["hex"]


STREAMS = [
    case | case[side] | {"name": f"{case['name']}-{side}", "dialled": side == "response"}
    for case in load("streams") for side in ("request", "response") if case.get(side)
]
UNDERSTOOD = [case for case in STREAMS if "message" in case]


@pytest.mark.parametrize("chunk", [65536, 7, 1])
@by_name(UNDERSTOOD)
def test_a_stream_decodes_to_its_message_however_it_arrives(case, chunk):
    reader = Envelope(keyring_of(case), case["label"].encode(), False, bytes)
    message = read_stream(StreamDecoder(reader, dialled=case["dialled"]), bytes.fromhex(case["hex"]), chunk)
    expected = case["message"]
    if expected["type"] == "pushPull":
        assert isinstance(message, PushPull) and len(message.entries) == expected["header"]["Nodes"]
        assert message.join == expected["header"]["Join"] and message.user_state.hex() == expected["user_state"]
        for entry, fields in zip(message.entries, expected["nodes"], strict=True):
            check_fields(entry, fields)
    elif expected["type"] == "user":
        assert message == User(bytes.fromhex(expected["payload"]))
    else:
        check_fields(message, expected["fields"])


@by_name([case for case in UNDERSTOOD if case["message"].get("reencodes_exactly", True)])
def test_a_stream_sealed_again_is_the_same(case):
    encryption = layer(case, "encrypt_stream")
    nonce = bytes.fromhex(encryption["nonce"]) if encryption else b""
    outgoing = Envelope(
        keyring_of(case), case["label"].encode(), layer(case, "compress") is not None, lambda size: nonce,
        verify_outgoing=not encryption or encryption["version"] == 1,
    )
    reader = StreamDecoder(outgoing, dialled=case["dialled"])
    message = read_stream(reader, bytes.fromhex(case["hex"]))
    assert message is not None
    sealed = stream.seal_stream(outgoing, encode_for_stream(message), dialled=not case["dialled"])
    if encryption and encryption["version"] == 0:
        sealed = sealed.removeprefix(outgoing.label_header)
        header = b"\x0a" + encrypted_length(len(sealed), version=0).to_bytes(4, "big")
        box = outgoing.keyring.encrypt(sealed, header + outgoing.label, nonce, version=0)
        sealed = (b"" if case["dialled"] else outgoing.label_header) + header + box
    assert sealed.hex() == case["hex"]


def encode_for_stream(message: Message) -> bytes:
    if isinstance(message, PushPull):
        return stream.encode_push_pull(message.join, message.entries, message.user_state)
    if isinstance(message, User):
        return stream.encode_stream_user(message.payload)
    return codec.encode(message)


@by_name([case for case in STREAMS if "message" not in case])
def test_a_request_that_serf_answers_with_err_is_one_that_we_answer_with_err(case):
    with pytest.raises(UnwrapError):
        read_stream(StreamDecoder(Envelope(keyring_of(case), b"", False, bytes), dialled=False),
                    bytes.fromhex(case["hex"]))


def test_all_sides_of_all_streams_are_covered():
    assert len(STREAMS) - len(UNDERSTOOD) == 5 and len(UNDERSTOOD) > 50


LZW = load("lzw")


def plain_of(case: dict[str, Any]) -> bytes:
    repeat = case.get("plain_repeat")
    return bytes.fromhex(repeat["hex"]) * repeat["count"] if repeat else bytes.fromhex(case["plain"])


@by_name([case for case in LZW if not case.get("error") and case["plain_len"]])
def test_lzw_expands(case):
    assert lzw.decompress(bytes.fromhex(case["compressed"]), case["plain_len"]) == plain_of(case)


@by_name([case for case in LZW if not case.get("decode_only")])
def test_lzw_compresses_to_the_same_bytes(case):
    assert lzw.compress(plain_of(case)).hex() == case["compressed"]


@by_name([case for case in LZW if case.get("error") or not case["plain_len"]])
def test_lzw_refuses(case):
    with pytest.raises(WireError):
        lzw.decompress(bytes.fromhex(case["compressed"]), 1000)


EDGES = load("edge_cases")
ANSWERS = {"ack": 1, "ack_seq0": 0, "ack_seq2": 2}


def answer_to_datagram(case: dict[str, Any]) -> str | int:
    """What a node named as in the case would do: the sequence number that it acknowledges first, or "drop"."""
    try:
        found, _ = Envelope(keyring_of(case), case["label"].encode(), False, bytes).open(bytes.fromhex(case["hex"]))
    except WireError:
        return "drop"
    for data in found:
        try:
            message = codec.decode(data)
        except WireError:
            continue
        if isinstance(message, Ping) and message.node in ("", case["target_node"]):
            return message.seq
    return "drop"


def answer_to_stream(case: dict[str, Any]) -> str | int:
    decoder = StreamDecoder(Envelope(keyring_of(case), case["label"].encode(), False, bytes), dialled=False)
    try:
        message = read_stream(decoder, bytes.fromhex(case["hex"]))
        decoder.eof()
    except UnwrapError:
        return "err"
    except WireError:
        return "close"
    if isinstance(message, Ping):
        return message.seq if message.node in ("", case["target_node"]) else "close"
    return "push_pull" if isinstance(message, PushPull) else "close"


@by_name(EDGES)
def test_odd_and_malformed_input_has_the_outcome_it_should(case):
    answer = answer_to_datagram if case["transport"] == "udp" else answer_to_stream
    assert answer(case) == ANSWERS.get(case["expect"], case["expect"])


@pytest.mark.parametrize("case", json.loads((VECTORS / "formulas.json").read_text())["encrypted_length"])
def test_the_length_of_a_box(case):
    assert encrypted_length(case["plain_len"], case["version"]) == case["encrypted_len"]
    if case["plain_len"]:
        box = Keyring([bytes(16)]).encrypt(bytes(case["plain_len"]), b"", bytes(12), case["version"])
        assert len(box) == case["encrypted_len"]


def test_an_ack_without_payload_is_written_with_nil():
    assert codec.encode(Ack(10)).hex() == "0282a75061796c6f6164c0a55365714e6f0a"     # spec, appendix A
