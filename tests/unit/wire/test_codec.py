"""The MessagePack dialect: what is accepted, what is refused, what is written (spec memberlist §3, §4, §20)."""

from __future__ import annotations

import tracemalloc

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gossipd.errors import WireError
from gossipd.wire import codec
from gossipd.wire.codec import decode, encode
from gossipd.wire.messages import Ack, Alive, Dead, IndirectPing, Nack, Ping, Suspect, User
from gossipd.wire.reasons import BAD_FIELD, BAD_TYPE, GARBAGE, TOO_DEEP, TOO_LARGE, TRUNCATED
from tests.unit.wire.samples import an_alive, damaged, datagram_messages

SEQ, NODE = "a55365714e6f", "a44e6f6465"


def ping(body: str) -> Ping:
    message = decode(bytes.fromhex("00" + body.replace(" ", "")))
    assert isinstance(message, Ping)
    return message


def refusal(data: bytes) -> str:
    with pytest.raises(WireError) as caught:
        decode(data)
    return caught.value.reason


@pytest.mark.parametrize("value", [
    "c0", "07", "81 a1 61 92 01 02", "cb 7ff8000000000000", "c4 01 61", "c7 02 05 6162", "d6 ff ffffffff",
    "d7 ff ffffffffffffffff", "c7 00 ff", "81 90 01", "82 81 01 01 01 02 03", "dc 0100" + "c0" * 256, "91" * 400 + "c0",
    "de 0100" + "c0c0" * 256,
], ids=lambda value: value[:24])
def test_an_unknown_key_is_skipped_whatever_its_value(value):
    assert ping(f"83 {SEQ} 01 a35a7a7a {value} {NODE} a174") == Ping(1, "t")


@pytest.mark.parametrize("body", [
    f"83 {SEQ} c0 {NODE} c0 aa536f75726365506f7274 c0", "c0", "80", "90", "93 c0 c0 c0", "de0000", "df00000000",
    "dd00000000",
])
def test_nil_and_missing_are_zero_values(body):
    assert ping(body) == Ping(0, "")


@pytest.mark.parametrize("one", ["01", "cc01", "cd0001", "ce00000001", "cf0000000000000001",
                                 "d001", "d10001", "d200000001", "d30000000000000001"])
@pytest.mark.parametrize("name", ["a174", "d90174", "da000174", "db0000000174", "c40174", "c5000174", "c60000000174"])
def test_every_width_of_a_number_and_of_a_string_is_read(one, name):
    assert ping(f"82 {SEQ} {one} {NODE} {name}") == Ping(1, "t")


def test_the_last_of_two_equal_keys_wins_also_when_it_is_wrong():
    assert ping(f"82 {SEQ} 01 {SEQ} 02").seq == 2
    assert refusal(bytes.fromhex(f"0082 {SEQ} 01 {SEQ} a0")) == BAD_FIELD


@pytest.mark.parametrize("key", ["a55365714e6f", "d9055365714e6f", "da00055365714e6f", "c4055365714e6f"])
def test_a_key_may_be_any_string(key):
    assert ping(f"81 {key} 05").seq == 5


def test_keys_are_case_sensitive():
    assert ping("81 a57365716e6f 07").seq == 0


@pytest.mark.parametrize("message, order", [
    (Ping(7, "t", b"\x01\x02\x03\x04", 7946, "me"), ["SeqNo", "Node", "SourceAddr", "SourcePort", "SourceNode"]),
    (IndirectPing(7, b"\x01\x02\x03\x04", 80, "t", True, b"\x05\x06\x07\x08", 81, "me"),
     ["SeqNo", "Target", "Port", "Node", "Nack", "SourceAddr", "SourcePort", "SourceNode"]),
    (Ack(7, b"pay"), ["SeqNo", "Payload"]),
    (Nack(7), ["SeqNo"]),
    (Suspect(3, "t", "me"), ["Incarnation", "Node", "From"]),
    (Dead(3, "t", "me"), ["Incarnation", "Node", "From"]),
    (an_alive(), ["Incarnation", "Node", "Addr", "Port", "Meta", "Vsn"]),
])
def test_a_struct_may_come_as_an_array_in_declaration_order(message, order):
    data = encode(message)
    fields = msgpack.unpackb(data[1:], raw=True)
    values = [fields[name.encode()] for name in order]
    for extra in ([], [b"newer", 5]):
        assert decode(data[:1] + codec.pack(values + extra)) == message
    assert decode(data[:1] + codec.pack(values + [{(): 1}])) == message, "an element that Python cannot hold"


def test_a_short_array_leaves_the_other_fields_at_zero():
    assert ping("91 09") == Ping(9, "")


def test_bytes_after_the_map_are_ignored():
    assert ping(f"81 {SEQ} 05 6a756e6b").seq == 5
    assert ping(f"82 {SEQ} 05 a35a7a7a 8190c0 6a756e6b").seq == 5


def test_names_that_are_not_utf8_come_back_unchanged():
    suspect = Suspect(1, b"bad\xff\xfe".decode("utf-8", "surrogateescape"), "é")
    assert b"bad\xff\xfe" in encode(suspect) and decode(encode(suspect)) == suspect


def test_names_are_interned():
    first, second = (decode(encode(Suspect(1, "a-node-of-mine", "x"))) for _ in range(2))
    assert isinstance(first, Suspect) and isinstance(second, Suspect) and first.node is second.node


@pytest.mark.parametrize("value", [
    "ff", "d0ff", "d1ffff", "d3ffffffffffffffff", "cf0000000100000000", "d30000000100000000", "ca3f800000",
    "cb3ff0000000000000", "a131", "c40131", "c2", "c3", "9101", "80", "d6ffffffffff", "8190c0",
])
def test_a_number_out_of_range_or_of_another_type_drops_the_message(value):
    assert refusal(bytes.fromhex(f"0081 {SEQ} {value}")) == BAD_FIELD


def test_a_port_has_sixteen_bits():
    port = "aa536f75726365506f7274"
    assert ping(f"81 {port} cdffff").source_port == 65535
    assert refusal(bytes.fromhex(f"0081 {port} ce00010000")) == BAD_FIELD


@pytest.mark.parametrize("value, nack", [("c2", False), ("c3", True), ("00", False), ("01", True), ("d10001", True)])
def test_zero_and_one_count_as_booleans(value, nack):
    message = decode(bytes.fromhex(f"0181 a44e61636b {value}"))
    assert isinstance(message, IndirectPing) and message.nack is nack


@pytest.mark.parametrize("value", ["02", "ff", "a0", "ca3f800000", "90"])
def test_nothing_else_is_a_boolean(value):
    assert refusal(bytes.fromhex(f"0181 a44e61636b {value}")) == BAD_FIELD


@pytest.mark.parametrize("value", ["01", "c3", "90", "80", "d40561", "8190c0"])
def test_nothing_but_strings_and_bytes_is_a_name_or_a_payload(value):
    assert refusal(bytes.fromhex(f"0081 {NODE} {value}")) == BAD_FIELD
    assert refusal(bytes.fromhex(f"0281 a75061796c6f6164 {value}")) == BAD_FIELD


@pytest.mark.parametrize("body, reason", [
    ("", TRUNCATED), ("81", TRUNCATED), (f"82 {SEQ} 01", TRUNCATED), (f"81 {SEQ} cd00", TRUNCATED),
    ("dfffffffff", TOO_LARGE), ("ddffffffff", TOO_LARGE), ("81 a44e6f6465 dbffffffff", TRUNCATED),
    ("05", GARBAGE), ("a174", GARBAGE), ("c1", GARBAGE), (f"81 {SEQ} c1", GARBAGE), ("81 90 01", GARBAGE),
    ("ca3f800000", GARBAGE), ("d40561", GARBAGE),
    ("81 a35a7a7a" + "91" * 3000 + "c0", TOO_DEEP), ("91" * 3000, TOO_DEEP),
], ids=lambda text: text[:24])
def test_what_is_no_map_is_refused(body, reason):
    assert refusal(bytes.fromhex("00" + body)) == reason


@pytest.mark.parametrize("code", [6, 7, 9, 10, 12, 13, 14, 63, 244, 255])
def test_types_that_are_unknown_or_belong_elsewhere_are_refused(code):
    assert refusal(bytes([code]) + b"\x80") == BAD_TYPE


def test_an_empty_message_is_refused():
    assert refusal(b"") == TRUNCATED


def test_a_user_message_is_everything_after_its_type():
    assert decode(b"\x08\x01anything") == User(b"\x01anything")
    assert decode(b"\x08") == User(b"")


def test_names_and_metadata_have_limits():
    longest = an_alive("n" * 512, meta=b"m" * 512)
    assert decode(encode(longest)) == longest
    assert refusal(encode(an_alive("n" * 513))) == BAD_FIELD
    assert refusal(encode(an_alive(meta=b"m" * 513))) == BAD_FIELD
    assert refusal(encode(Suspect(1, "n" * 513, "me"))) == BAD_FIELD


def test_equal_alive_messages_are_decoded_once():
    data = encode(an_alive("cached"))
    assert decode(data) is decode(bytes(bytearray(data)))


def test_an_oversized_alive_message_stays_out_of_the_cache():
    data = b"\x04" + codec.pack({b"Node": b"t", b"Zzz": bytes(5000)})
    before = codec._decode_alive_cached.cache_info().currsize
    assert isinstance(decode(data), Alive)
    assert codec._decode_alive_cached.cache_info().currsize == before


# Our own keys

def test_our_own_keys_travel_and_are_left_out_when_empty():
    assert decode(encode(Suspect(1, "t", "me", ("a", "b")))) == Suspect(1, "t", "me", ("a", "b"))
    assert decode(encode(Nack(1, True))) == Nack(1, True)
    assert decode(encode(Dead(1, "t", "me", "port refused"))) == Dead(1, "t", "me", "port refused")
    for message in (Suspect(1, "t", "me"), Nack(1), Dead(1, "t", "me")):
        assert b"Refused" not in encode(message) and b"Why" not in encode(message)


@pytest.mark.parametrize("value", [None, 5, True, b"text", {b"a": 1}, [1, [], None], {(): 1}, ["x" * 513]])
def test_another_idea_of_our_own_keys_does_not_cost_the_message(value):
    accusation = {"From": b"me", "Incarnation": 1, "Node": b"t"}
    assert decode(b"\x03" + codec.pack(accusation | {"Refused": value})) == Suspect(1, "t", "me")
    if value != b"text":
        assert decode(b"\x05" + codec.pack(accusation | {"Why": value})) == Dead(1, "t", "me")
    if value is not True:
        assert decode(b"\x0b" + codec.pack({"SeqNo": 1, "Refused": value})) == Nack(1)


def test_our_own_keys_are_cut_to_their_limits():
    suspect = decode(encode(Suspect(1, "t", "me", tuple("abcdefghijklmnopqrstuvwxyz"))))
    assert isinstance(suspect, Suspect) and suspect.refused == tuple("abcdefghijklmnop")
    dead = decode(encode(Dead(1, "t", "me", "w" * 300)))
    assert isinstance(dead, Dead) and dead.why == "w" * 256


# Writing

@given(datagram_messages)
def test_what_is_written_is_read_back(message):
    data = encode(message)
    assert decode(data) == message


@given(datagram_messages.filter(lambda message: not isinstance(message, User)))
def test_keys_are_sorted_and_strings_raw(message):
    fields = msgpack.unpackb(encode(message)[1:], raw=True)
    assert list(fields) == sorted(fields)
    assert encode(message)[1:] == msgpack.packb(fields, use_bin_type=False)
    assert b"" not in [value for key, value in fields.items() if key not in (b"Node", b"From")], "empty bytes are nil"


@pytest.mark.parametrize("number", [-1, 2**32])
@pytest.mark.parametrize("message", [
    lambda n: Ping(n, ""), lambda n: IndirectPing(n, b"", 0, ""), Ack, Nack, lambda n: Suspect(n, "t", "me"),
    lambda n: Dead(n, "t", "me"), lambda n: an_alive(incarnation=n),
])
def test_incarnations_and_sequence_numbers_never_leave_32_bits(message, number):
    encode(message(2**32 - 1))
    with pytest.raises(ValueError):
        encode(message(number))


@pytest.mark.parametrize("count", range(1, 6))
def test_one_to_five_version_numbers_are_never_written(count):
    with pytest.raises(ValueError):
        encode(an_alive(vsn=bytes(count)))


def test_a_refused_number_leaves_nothing_behind_in_the_next_message():
    with pytest.raises(UnicodeEncodeError):
        encode(Ping(1, "\ud800"))
    assert encode(Ping(1, "t")).hex() == "0082a44e6f6465a174a55365714e6f01"


# Any bytes

@given(st.binary(max_size=300) | damaged(datagram_messages.map(encode)))
@example(b"\x03\x83\xa4From\xc0\xa7Refused\x91\x90\xa4Node\xc0")
def test_any_bytes_are_a_message_or_a_wire_error(data):
    try:
        decode(data)
    except WireError as error:
        assert error.reason in (BAD_FIELD, BAD_TYPE, GARBAGE, TOO_DEEP, TRUNCATED)


scalars = (
    st.none() | st.booleans() | st.integers(-2**63, 2**64 - 1) | st.floats() | st.binary(max_size=9)
    | st.text(max_size=9) | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=9))
)
any_keys = st.binary(max_size=6) | st.integers(0, 9)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_keys, inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from([b"SeqNo", b"Node", b"Port", b"Nack", b"Addr", b"Incarnation", b"Payload", b"Refused", b"Why"])


@given(st.integers(0, 14), st.dictionaries(keys, anything) | anything, st.booleans())
def test_any_object_is_a_message_or_a_wire_error(code, value, bin_type):
    try:
        decode(bytes([code]) + msgpack.packb(value, use_bin_type=bin_type))
    except WireError:
        pass


@given(st.dictionaries(keys, anything, max_size=6))
def test_the_slow_path_reads_what_the_fast_one_reads(fields):
    body = codec.pack(fields)
    poisoned = bytes([0x80 + len(fields) + 1]) + b"\xa1?\x81\x90\xc0" + body[1:]
    slow = codec.unpack_map(poisoned, items_max=1000)
    slow.pop(b"?")
    assert repr(slow) == repr(codec.unpack_map(body, items_max=1000))


@pytest.mark.parametrize("bomb", [
    b"\xdc\xff\xff" * 20000, b"\xdd\x00\x00\xff\xff" * 13000, b"\xde\xff\xff\xa1a" * 13000, b"\x81\xa1a" * 20000,
    b"\xdc\x00\x40" * 20000, b"\x82\xa5SeqNo\x01\xa1a" + b"\xdc\x00\x40" * 20000, b"\xdb\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
], ids=lambda bomb: bomb[:12].hex())
def test_lengths_are_not_believed(bomb):
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decode(b"\x00" + bomb)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


# Helpers for the layer above

def test_the_front_of_two_structs_leaves_the_second():
    assert codec.unpack_front(b"\x81\xa1a\x01\x06rest") == ({b"a": 1}, b"\x06rest")
    assert codec.unpack_front(b"\x92\x01\x02\x06rest", (b"a", b"b")) == ({b"a": 1, b"b": 2}, b"\x06rest")
    assert codec.unpack_front(b"\xc0") == ({}, b"")
    fields, rest = codec.unpack_front(b"\x82\xa1a\x01\xa1b\x81\x90\xc0rest")
    assert (fields[b"a"], rest) == (1, b"rest")


def test_a_map_and_a_list_split_into_packed_values():
    assert codec.split_map(b"\x82\xa1a\x92\x01\x02\xa1b\xc0x") == ({b"a": b"\x92\x01\x02", b"b": b"\xc0"}, b"x")
    assert codec.split_map(b"\xc0x") == ({}, b"x")
    assert codec.split_list(b"\x93\x01\xa1a\x80x", 3) == [b"\x01", b"\xa1a", b"\x80"]
    assert codec.split_list(b"\xc0", 0) == []
    for broken in (b"", b"\x93\x01", b"\x05"):
        with pytest.raises(WireError):
            codec.split_list(broken, 9)


def test_a_value_longer_than_its_limit_is_refused_only_when_asked_for():
    fields = codec.unpack_map(codec.pack({b"a": [1] * 100, b"b": 2}), items_max=99)
    assert codec.take_uint(fields, b"b") == 2
    with pytest.raises(WireError):
        codec.take_list(fields, b"a")
    assert codec.take_list(codec.unpack_map(codec.pack({b"a": [1] * 100}), items_max=100), b"a") == [1] * 100


def test_floats_lists_and_maps_are_taken_or_refused():
    fields: dict[bytes, object] = {b"f": 1.5, b"i": 2, b"l": [1], b"m": {b"k": 1}, b"t": True, b"n": None}
    assert [codec.take_float(fields, key) for key in (b"f", b"i", b"n")] == [1.5, 2, 0]
    assert (codec.take_list(fields, b"l"), codec.take_list(fields, b"n")) == ([1], [])
    assert (codec.take_map(fields, b"m"), codec.take_map(fields, b"n")) == ({b"k": 1}, {})
    assert (codec.take_bytes(fields, b"n"), codec.take_str({b"s": b"hi"}, b"s", 2)) == (b"", "hi")
    for take in (codec.take_float, codec.take_list, codec.take_map, codec.take_bytes, codec.take_str):
        with pytest.raises(WireError):
            take(fields, b"t")
    with pytest.raises(WireError):
        codec.take_str({b"s": b"hi!"}, b"s", 2)


def test_a_struct_of_very_many_fields_is_refused_at_its_header():
    many = b"\xdf" + (1 << 20).to_bytes(4, "big") + b"\xa0\xc0" * (1 << 20)
    with pytest.raises(WireError) as caught:
        codec.split_map(many)
    assert caught.value.reason == TOO_LARGE
    with pytest.raises(WireError):
        codec.split_list(b"\xdc\x00\x03\x01\x01\x01", 2)
