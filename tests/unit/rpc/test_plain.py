from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.rpc.plain import NOTHING, PLAIN_BYTES_MAX, Reader, pack

SCALARS = (st.none() | st.booleans() | st.integers(-1 << 63, (1 << 64) - 1) | st.floats(allow_nan=False)
           | st.text(max_size=40) | st.binary(max_size=40))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner, max_size=20),
    max_leaves=10)


def read_all(data: bytes) -> list[object]:
    reader = Reader()
    reader.feed(data)
    found = []
    while (value := reader.next()) is not NOTHING:
        found.append(value)
    return found


@given(VALUES)
def test_it_packs_as_msgpack_does(value):
    assert pack(value) == msgpack.packb(value, use_bin_type=True)


@given(VALUES)
def test_it_reads_what_msgpack_packs(value):
    assert read_all(msgpack.packb(value, use_bin_type=True) * 2) == [value, value]


@pytest.mark.parametrize("value", ["x" * 31, "x" * 32, "x" * 255, "x" * 256, "x" * 65536, b"x" * 255, b"x" * 256,
                                   b"x" * 65536, [0] * 15, [0] * 16, [0] * 65536, dict.fromkeys(range(70000), 1)])
def test_lengths_at_the_edges_survive(value):
    data = msgpack.packb(value, use_bin_type=True)
    assert pack(value) == data
    assert read_all(data) == [value]


@given(VALUES, st.integers(1, 7))
def test_an_incomplete_object_is_nothing_until_its_last_byte(value, step):
    data = msgpack.packb(value, use_bin_type=True)
    reader = Reader()
    for at in range(0, len(data), step):
        assert reader.next() is NOTHING
        reader.feed(data[at:at + step])
    assert reader.next() == value


def test_a_long_reply_is_read_all_the_same():
    reply = {"Members": [{"Name": f"n{i}", "Addr": b"\x7f\x00\x00\x01"} for i in range(4000)]}
    data = msgpack.packb({"Seq": 1}) + msgpack.packb(reply, use_bin_type=True) + b"\x07"
    assert len(data) > 3 * PLAIN_BYTES_MAX
    reader = Reader()
    found = []
    for at in range(0, len(data), 10_000):
        reader.feed(data[at:at + 10_000])
        while (value := reader.next()) is not NOTHING:
            found.append(value)
    assert found == [{"Seq": 1}, reply, 7]


@given(st.binary(max_size=200))
def test_any_bytes_are_objects_or_a_value_error(data):
    try:
        read_all(data)
    except ValueError:
        pass


def test_deep_nesting_is_a_value_error():
    with pytest.raises(ValueError):
        read_all(b"\x91" * 10_000 + b"\x00")
    with pytest.raises(ValueError):
        read_all(b"\x91" * 100_000 + b"\x00")


@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_more_than_any_reply_is_a_value_error_however_it_comes(step, monkeypatch):
    monkeypatch.setattr("gossipd.rpc.plain.INPUT_BYTES_MAX", 4 * PLAIN_BYTES_MAX)
    endless = b"\xc6" + (1 << 30).to_bytes(4, "big") + bytes(5 * PLAIN_BYTES_MAX)
    reader = Reader()
    with pytest.raises(ValueError, match="too long"):
        for at in range(0, len(endless), step):
            reader.feed(endless[at:at + step])
            assert reader.next() is NOTHING
