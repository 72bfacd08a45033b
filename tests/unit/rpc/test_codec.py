from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import packb

from gossipd.rpc import codec
from gossipd.rpc.codec import NOTHING, Malformed, Requests, encode, fields, header_fields, response, text, uint64

SCHEMA = ((b"Node", codec.text), (b"Prune", codec.boolean))


def test_objects_come_out_whole_however_the_bytes_are_split():
    data = packb({"Command": "members", "Seq": 1}) + packb({"a": [1, 2, {"b": b"c"}]})
    requests = Requests()
    found = []
    for byte in data:
        requests.feed(bytes((byte,)))
        while (value := requests.next()) is not NOTHING:
            found.append(value)
    assert found == [{b"Command": b"members", b"Seq": 1}, {b"a": [1, 2, {b"b": b"c"}]}]
    assert requests.waiting_bytes == 0


def test_what_waits_is_what_came_behind_the_last_object():
    requests = Requests()
    requests.feed(packb([1, 2]) + b"\x93\x01\x02")
    assert requests.waiting_bytes == 6
    assert requests.next() == [1, 2] and requests.next() is NOTHING
    assert requests.waiting_bytes == 3


def test_nil_is_an_object_and_not_nothing():
    requests = Requests()
    requests.feed(b"\xc0")
    assert requests.next() is None
    assert requests.next() is NOTHING


@pytest.mark.parametrize("begin", [b"\xdc\x1f\xff", b"\xdb\xff\xff\xff\xff"])     # array of 8191, string of 4 GB
def test_an_object_that_never_ends_is_refused_when_it_gets_too_long(begin):
    requests = Requests()
    requests.feed(begin)
    with pytest.raises(Malformed):
        for _ in range(100):
            requests.feed(packb(b"x" * 20_000))
            assert requests.next() is NOTHING


@pytest.mark.parametrize("data", [
    b"\xc1",                                # no such type
    b"\xdd\xff\xff\xff\xff",                # an array of four billion
    b"\xdf\xff\xff\xff\xff",
    b"\x91" * 5000,                         # nested 5000 deep
    b"\x81\x80\x01",                        # a map as the key of a map
    b"\xdd\x00\x00\x20\x01" + b"\xc0" * 9000,
])
def test_bombs_are_malformed(data):
    requests = Requests()
    with pytest.raises(Malformed):
        requests.feed(data)
        assert requests.next() is not NOTHING


@given(st.binary(max_size=300))
def test_any_bytes_are_objects_or_malformed(data):
    requests = Requests()
    try:
        requests.feed(data)
        for _ in range(300):
            if (value := requests.next()) is NOTHING:
                break
            fields(value, SCHEMA)
            header_fields(value, "", 0)
    except Malformed:
        pass


def test_a_body_may_be_a_map_an_array_or_nil():
    assert fields({b"Node": b"a", b"Prune": True, b"Other": [1]}, SCHEMA) == ["a", True]
    assert fields([b"a"], SCHEMA) == ["a", False]
    assert fields([b"a", 1, 2], SCHEMA) == ["a", True]
    assert fields(None, SCHEMA) == ["", False]
    for wrong in (b"a", 5, 1.0, True, {1: b"a"}):
        with pytest.raises(Malformed):
            fields(wrong, SCHEMA)


def test_a_header_field_that_is_missing_keeps_its_value_and_nil_clears_it():
    assert header_fields({b"Seq": 5}, "members", 4) == ("members", 5)
    assert header_fields({b"Command": b"stats"}, "members", 4) == ("stats", 4)
    assert header_fields({b"Seq": None}, "members", 4) == ("members", 0)
    assert header_fields([b"stats"], "members", 4) == ("stats", 4)
    assert header_fields(None, "members", 4) == ("", 0)


@pytest.mark.parametrize(("take", "good", "bad"), [
    (codec.text, [(b"x", "x"), (None, ""), (b"\xff", "\udcff")], [1, 1.0, [b"x"], {}, True]),
    (codec.payload, [(b"\xff", b"\xff"), (None, None), (b"", b""), ([1, 255], b"\x01\xff")], [5, {}, [256], [b"a"]]),
    (codec.uint64, [(0, 0), ((1 << 64) - 1, (1 << 64) - 1), (None, 0)], [-1, 1.0, b"7", True]),
    (codec.uint8, [(255, 255), (None, 0)], [256, -1]),
    (codec.int32, [(-1, -1), (None, 0)], [1 << 31, 1.0, b"1"]),
    (codec.int64, [(-1 << 63, -1 << 63)], [1 << 63, 0.5]),
    (codec.boolean, [(True, True), (None, False), (1, True), (0, False)], [2, b"t", 1.0]),
    (codec.texts, [([b"a", None], ["a", ""]), (None, []), ({b"k": b"j"}, ["k", "j"])], [b"a", [1], 5]),
    (codec.text_map, [({b"a": b"b"}, {"a": "b"}), (None, {})], [[b"a"], {b"a": 1}, {1: b"a"}]),
])
def test_declared_types_accept_what_serf_accepts_and_refuse_the_rest(take, good, bad):
    assert [take(value) for value, _ in good] == [expected for _, expected in good]
    for value in bad:
        with pytest.raises(Malformed):
            take(value)


@given(st.binary(max_size=40))
def test_text_goes_out_with_the_bytes_it_came_in_with(data):
    assert encode(text(data)) == encode(data.decode("utf-8", "surrogateescape"))
    assert encode(text(data)).endswith(data)


@given(st.integers(0, (1 << 64) - 1))
def test_a_response_header_is_a_map_with_sorted_keys(seq):
    assert response(seq) == packb({"Error": "", "Seq": seq})
    assert response(seq, "no", b"\x80") == packb({"Error": "no", "Seq": seq}) + b"\x80"
    assert uint64(seq) == seq
