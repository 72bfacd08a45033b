"""LZW: what is compressed expands again, piece by piece, never to more than the limit (spec memberlist §6.4)."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.errors import WireError
from gossipd.wire.lzw import Decompressor, compress, decompress
from gossipd.wire.reasons import BAD_LZW, TOO_LARGE

repetitive = st.builds(lambda unit, count: unit * count, st.binary(min_size=1, max_size=30), st.integers(1, 400))


def pieces(data: bytes, codes: int, limit: int = 1 << 20) -> list[bytes]:
    decompressor = Decompressor(data, limit)
    out = []
    while not decompressor.done:
        out.append(decompressor.step(codes))
    return out


@given(st.binary(min_size=1, max_size=600) | repetitive)
def test_what_is_compressed_expands_again(plain):
    assert decompress(compress(plain), len(plain)) == plain


@given(st.binary(min_size=1, max_size=600) | repetitive, st.integers(1, 50))
def test_it_expands_the_same_in_steps_of_any_size(plain, codes):
    assert b"".join(pieces(compress(plain), codes)) == plain


@pytest.mark.parametrize("size", [3835, 3836, 3837, 3838, 3839, 3840, 3841, 20000])
def test_it_survives_the_clears_of_a_full_table(size):
    plain = random.Random(7).randbytes(size)
    assert decompress(compress(plain), size) == plain


@given(st.binary(min_size=1, max_size=300), st.integers(0, 299))
def test_more_than_the_limit_is_refused(plain, limit):
    if limit >= len(plain):
        return
    with pytest.raises(WireError) as caught:
        decompress(compress(plain), limit)
    assert caught.value.reason == TOO_LARGE


@given(st.binary(min_size=1, max_size=300) | repetitive, st.data())
def test_a_stream_cut_short_is_refused(plain, data):
    stream = compress(plain)
    with pytest.raises(WireError) as caught:
        decompress(stream[:data.draw(st.integers(0, len(stream) - 2))], 1 << 20)
    assert caught.value.reason == BAD_LZW


@given(st.binary(max_size=2000))
def test_any_bytes_expand_or_are_refused(stream):
    try:
        plain = decompress(stream, 5000)
    except WireError as error:
        assert error.reason in (BAD_LZW, TOO_LARGE)
    else:
        assert 0 < len(plain) <= 5000


@given(st.lists(st.integers(0, 511), max_size=250))
def test_any_codes_expand_or_are_refused(codes):
    bits = sum(code << 9 * place for place, code in enumerate(codes))
    stream = bits.to_bytes(len(codes) * 9 // 8 + 1, "little")
    try:
        assert decompress(stream, 100_000)
    except WireError as error:
        assert error.reason in (BAD_LZW, TOO_LARGE)


def test_an_empty_result_is_refused():
    with pytest.raises(WireError):
        decompress(compress(b""), 10)


def test_a_bomb_stops_near_the_limit():
    bomb = compress(bytes(3_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decompress(bomb, 200_000)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_one_step_of_a_bomb_is_bounded_in_bytes():
    assert max(map(len, pieces(compress(bytes(1_000_000)), 100_000, limit=1_000_000))) < 300_000
