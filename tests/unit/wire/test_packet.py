"""Datagram layers: put on as the reference does, taken off within bounds (spec memberlist §5, §6, §20)."""

from __future__ import annotations

import tracemalloc
import zlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.errors import WireError
from gossipd.wire import codec
from gossipd.wire.messages import Ack
from gossipd.wire.packet import (
    DECOMPRESSED_MAX,
    LAYERS_MAX,
    PARTS_MAX,
    Envelope,
    compound,
    split_compound,
    wrap_compressed,
)
from gossipd.wire.reasons import (
    BAD_ALGORITHM,
    BAD_CRC,
    BAD_LZW,
    DECRYPT_FAILED,
    TOO_DEEP,
    TOO_LARGE,
    TRUNCATED,
    WRONG_LABEL,
)
from gossipd.wire.secure import Keyring
from tests.unit.wire.samples import KEY, OTHER_KEY, an_alive, damaged, datagram_messages, envelope

PING = codec.encode(an_alive("n"))     # any message will do
LONG = codec.encode(Ack(1, b"abc" * 200))


def refusal(opener: Envelope, datagram: bytes) -> str:
    with pytest.raises(WireError) as caught:
        opener.open(datagram)
    return caught.value.reason


def opened(datagram: bytes, opener: Envelope | None = None) -> list[bytes]:
    found, errors = (opener or envelope()).open(datagram)
    assert not errors
    return found


def raw_compound(*parts: bytes, lengths: list[int] | None = None) -> bytes:
    lengths = [len(part) for part in parts] if lengths is None else lengths
    return bytes([7, len(lengths)]) + b"".join(n.to_bytes(2, "big") for n in lengths) + b"".join(parts)


envelopes = st.builds(
    envelope, st.sampled_from([KEY, OTHER_KEY]), label=st.binary(max_size=255), compress=st.booleans(),
    nonce=st.binary(min_size=12, max_size=12),
) | st.builds(envelope, label=st.binary(max_size=20), compress=st.booleans())


@given(envelopes, st.lists(datagram_messages.map(codec.encode), min_size=1, max_size=127), st.booleans())
def test_what_is_sealed_opens_again(sealer, parts, crc):
    message = compound(parts) if len(parts) > 1 else parts[0]
    assert opened(sealer.seal(message, crc), sealer) == parts


def test_a_plain_message_is_sealed_by_doing_nothing():
    assert envelope().seal(PING, crc=False) is PING


def test_the_layers_lie_in_the_order_of_the_reference():
    sealed = envelope(KEY, label=b"blue", compress=True).seal(LONG, crc=True)
    assert sealed[:6] == b"\xf4\x04blue"
    plain = Keyring([KEY]).decrypt(sealed[6:], b"blue")
    assert plain[0] == 12 and int.from_bytes(plain[1:5], "big") == zlib.crc32(plain[5:])
    assert plain[5] == 9 and plain[5:] == wrap_compressed(LONG)


def test_compression_is_used_only_when_it_saves_a_byte():
    sealer = envelope(compress=True)
    incompressible = b"\x08" + bytes(range(200))
    assert sealer.seal(incompressible, crc=False) == incompressible
    assert len(sealer.seal(LONG, crc=False)) < len(LONG)
    candidates = (b"\x08" + bytes(n) + bytes(range(m)) for n in range(40) for m in range(40))
    even = next(message for message in candidates if len(wrap_compressed(message)) == len(message))
    assert sealer.seal(even, crc=False) == even


@given(envelopes, st.binary(min_size=1, max_size=600).map(lambda raw: b"\x08" + raw), st.booleans())
def test_a_sealed_packet_exceeds_its_message_by_the_overhead_and_the_crc_at_most(sealer, message, crc):
    assert len(sealer.seal(message, crc)) <= len(message) + sealer.overhead + 5 * crc


def test_the_overhead_follows_the_keyring():
    sealer = envelope(label=b"blue")
    assert sealer.overhead == 6
    sealer.keyring.add(KEY)
    assert sealer.overhead == 35


def test_no_keyring_is_an_empty_one():
    assert opened(PING, Envelope(None, b"", False, bytes)) == [PING]


# Label

@pytest.mark.parametrize("datagram", [b"", PING, b"\xf4", b"\xf4\x04", b"\xf4\x04blu", b"\xf4\x00" + PING,
                                      b"\xf4\x05blues" + PING, b"\xf4\x04grey" + PING])
def test_another_label_or_none_or_half_of_one_is_refused(datagram):
    assert refusal(envelope(label=b"blue"), datagram) == WRONG_LABEL


@pytest.mark.parametrize("datagram", [b"\xf4", b"\xf4\x00" + PING, b"\xf4\x04blue" + PING])
def test_a_label_is_refused_where_none_is_configured(datagram):
    assert refusal(envelope(), datagram) == WRONG_LABEL


def test_the_label_authenticates_the_box():
    sealed = envelope(KEY, label=b"blue").seal(PING, crc=False)
    assert refusal(envelope(KEY, label=b"grey"), b"\xf4\x04grey" + sealed[6:]) == DECRYPT_FAILED


def test_a_label_has_at_most_255_bytes():
    assert opened(envelope(label=b"x" * 255).seal(PING, crc=False), envelope(label=b"x" * 255)) == [PING]
    with pytest.raises(ValueError):
        envelope(label=b"x" * 256)


# Encryption and CRC

def test_plaintext_passes_a_keyed_node_only_if_it_does_not_verify():
    assert refusal(envelope(KEY), PING) == DECRYPT_FAILED
    assert opened(PING, envelope(KEY, verify_incoming=False)) == [PING]
    assert opened(envelope(KEY).seal(PING, crc=True), envelope(KEY, verify_incoming=False)) == [PING]


def test_a_node_that_does_not_verify_outgoing_sends_plaintext():
    assert envelope(KEY, verify_outgoing=False).seal(PING, crc=False) == PING


def test_a_key_added_later_is_used_from_then_on():
    node = envelope()
    node.keyring.add(KEY)
    assert opened(node.seal(PING, crc=False), envelope(KEY)) == [PING]


def test_an_empty_datagram_or_an_empty_box_is_refused():
    assert refusal(envelope(), b"") == TRUNCATED
    box = bytes.fromhex("01000102030405060708090a0b242e155e790d32ae85a17eea16e6c4e2")   # made with an all-0x41 key
    assert refusal(envelope(KEY), box) == TRUNCATED


def test_a_crc_that_does_not_match_or_covers_nothing_is_refused():
    sealed = envelope().seal(PING, crc=True)
    assert refusal(envelope(), sealed[:-1] + b"?") == BAD_CRC
    for size in range(1, 6):
        assert refusal(envelope(), sealed[:size]) == TRUNCATED


def test_a_crc_inside_a_crc_stays_where_it_is():
    inner = envelope().seal(PING, crc=True)
    assert opened(envelope().seal(inner, crc=True)) == [inner]


def test_an_empty_message_cannot_be_sealed():
    for sealer in (envelope(), envelope(KEY), envelope(compress=True)):
        with pytest.raises(AssertionError):
            sealer.seal(b"", crc=True)


# Compound

@pytest.mark.parametrize("count", [1, 2, 127])
def test_a_compound_holds_up_to_127_parts(count):
    parts = [bytes([8, n]) for n in range(count)]
    assert opened(compound(parts)) == parts


@pytest.mark.parametrize("parts", [[], [b""], [PING, b""], [PING] * 128], ids=len)
def test_a_compound_that_legacy_peers_cannot_read_is_never_made(parts):
    with pytest.raises(AssertionError):
        compound(parts)


@pytest.mark.parametrize("count", [0, 128, 255])
def test_a_compound_is_read_with_0_to_255_parts(count):
    parts = [bytes([8, n]) for n in range(count)]
    assert opened(raw_compound(*parts)) == parts


def test_parts_before_the_end_are_kept_and_the_rest_is_reported():
    messages, errors = envelope().open(raw_compound(PING, PING, b"short", b"gone", lengths=[len(PING)] * 2 + [200, 4]))
    assert messages == [PING, PING] and [error.reason for error in errors] == [TRUNCATED]


def test_empty_parts_are_skipped_and_bytes_behind_the_last_are_ignored():
    assert opened(raw_compound(b"", PING, b"") + b"junk") == [PING]


@pytest.mark.parametrize("datagram", [b"\x07", b"\x07\x01", b"\x07\x02\x00\x01\x00", b"\x07\xff" + b"\0\1" * 254])
def test_a_compound_without_its_lengths_is_refused(datagram):
    assert refusal(envelope(), datagram) == TRUNCATED


def test_an_unusable_part_does_not_cost_the_others():
    bad = b"\x09" + codec.pack({b"Algo": 1, b"Buf": b"\0\3\2"})
    messages, errors = envelope().open(raw_compound(PING, bad, b"\x07", LONG))
    assert messages == [PING, LONG]
    assert [error.reason for error in errors] == [BAD_ALGORITHM, TRUNCATED]


@given(st.binary(max_size=400))
def test_a_split_compound_has_no_more_bytes_than_it_came_with(raw):
    try:
        parts, _ = split_compound(b"\x07" + raw)
    except WireError:
        return
    assert all(parts) and sum(map(len, parts)) <= len(raw)


# Compression

@pytest.mark.parametrize("body, reason", [
    (codec.pack({b"Algo": 1, b"Buf": b"\0\3\2"}), BAD_ALGORITHM),
    (codec.pack({b"Algo": 0, b"Buf": b"\0\3\2"}), BAD_LZW),
    (codec.pack({b"Algo": 0, b"Buf": None}), BAD_LZW),
    (codec.pack({}), BAD_LZW),
    (b"", TRUNCATED),
])
def test_a_compression_that_cannot_be_undone_is_refused(body, reason):
    assert refusal(envelope(), b"\x09" + body) == reason


def test_the_buffer_may_be_bin_and_the_algorithm_missing():
    stream = codec.unpack_map(wrap_compressed(LONG)[1:])[b"Buf"]
    assert opened(b"\x09" + msgpack.packb({"Buf": stream}, use_bin_type=True)) == [LONG]


# Bounds

def nested(depth: int, wrap) -> bytes:
    message = PING
    for _ in range(depth):
        message = wrap(message)
    return message


@pytest.mark.parametrize("wrap", [raw_compound, wrap_compressed], ids=["compound", "compress"])
def test_layers_nest_to_a_limit(wrap):
    assert opened(nested(LAYERS_MAX, wrap)) == [PING]
    datagram = nested(LAYERS_MAX + 1, wrap)
    try:
        messages, errors = envelope().open(datagram)
    except WireError as error:
        messages, errors = [], [error]
    assert messages == [] and [error.reason for error in errors] == [TOO_DEEP]


def test_parts_are_limited_all_compounds_together():
    inner = raw_compound(*[b"\x0801"] * 200)
    messages, errors = envelope().open(raw_compound(*[inner] * 6))
    assert len(messages) <= PARTS_MAX and TOO_LARGE in [error.reason for error in errors]
    assert len(opened(raw_compound(*[inner] * 5))) == 1000


def test_decompressed_bytes_are_limited_all_parts_together():
    half = wrap_compressed(b"\x08" + bytes(DECOMPRESSED_MAX // 2))
    messages, errors = envelope().open(raw_compound(half, half, half))
    assert len(messages) == 1 and [error.reason for error in errors] == [TOO_LARGE] * 2


def test_a_bomb_of_compressions_costs_little_memory():
    bomb = wrap_compressed(b"\x08" + bytes(3_000_000))
    assert len(bomb) < 65536
    datagram = raw_compound(*[bomb] * (60000 // len(bomb)))
    tracemalloc.start()
    try:
        messages, errors = envelope().open(datagram)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert messages == [] and {error.reason for error in errors} == {TOO_LARGE}


sealed_packets = st.tuples(st.lists(datagram_messages.map(codec.encode), min_size=1, max_size=5), st.booleans()).map(
    lambda drawn: envelope(compress=True).seal(compound(drawn[0]), drawn[1]))


@given(st.binary(max_size=300) | damaged(sealed_packets),
       st.sampled_from([envelope(), envelope(KEY), envelope(label=b"blue"), envelope(KEY, verify_incoming=False)]))
def test_any_datagram_gives_messages_or_a_wire_error(datagram, opener):
    try:
        messages, errors = opener.open(datagram)
    except WireError:
        return
    assert all(messages) and all(isinstance(error, WireError) for error in errors)


@given(st.sampled_from([b"\x07", b"\x09"]), st.lists(st.binary(max_size=50), max_size=5))
def test_any_parts_give_messages_or_a_wire_error(kind, parts):
    message = raw_compound(*parts)
    if kind == b"\x09":
        message = b"\x09" + codec.pack({b"Buf": b"".join(parts)})
    try:
        envelope().open(message)
    except WireError:
        pass


@given(damaged(st.just(envelope(KEY).seal(LONG, crc=True))))
def test_a_changed_box_never_opens(datagram):
    original = envelope(KEY).seal(LONG, crc=True)
    if datagram == original:
        return
    with pytest.raises(WireError):
        envelope(KEY).open(datagram)
