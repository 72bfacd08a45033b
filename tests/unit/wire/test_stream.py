"""Streams: decoded as they arrive, in bounded slices, within caps (spec memberlist §7, §19, §20)."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.errors import WireError
from gossipd.wire import codec, lzw, stream
from gossipd.wire.messages import Ack, Err, Message, Ping, PushPull, User
from gossipd.wire.packet import Envelope, wrap_compressed
from gossipd.wire.reasons import (
    BAD_ALGORITHM,
    BAD_FIELD,
    BAD_LZW,
    BAD_TYPE,
    CLOSED,
    DECRYPT_FAILED,
    GARBAGE,
    NO_KEY,
    PLAINTEXT_REFUSED,
    TOO_LARGE,
    TRUNCATED,
    WRONG_LABEL,
)
from gossipd.wire.secure import Keyring
from gossipd.wire.stream import (
    COMPRESS_BYTES_MAX,
    ENTRIES_MAX,
    MAP_BYTES_MAX,
    STATE_BYTES_MAX,
    STREAM_BYTES_MAX,
    StreamDecoder,
    UnwrapError,
    encode_push_pull,
    encode_stream_user,
    seal_stream,
)
from tests.unit.wire.samples import KEY, OTHER_KEY, an_entry, damaged, envelope, names, push_pulls, read_stream, u32

PING = Ping(5, "t", b"\x7f\0\0\1", 7946, "me")
PING_BYTES = codec.encode(PING)


def encoded(message: Message) -> bytes:
    if isinstance(message, PushPull):
        return encode_push_pull(message.join, message.entries, message.user_state)
    return encode_stream_user(message.payload) if isinstance(message, User) else codec.encode(message)


def received(
    data: bytes, reader: Envelope | None = None, chunk: int = 65536, *, dialled: bool = False
) -> Message | None:
    return read_stream(StreamDecoder(reader or envelope(), dialled=dialled), data, chunk)


def refusal(data: bytes, reader: Envelope | None = None, *, dialled: bool = False, eof: bool = False) -> WireError:
    decoder = StreamDecoder(reader or envelope(), dialled=dialled)
    with pytest.raises(WireError) as caught:
        read_stream(decoder, data)
        if eof:
            decoder.eof()
    assert decoder.message is None
    return caught.value


def closes(error: WireError, reason: str) -> None:
    assert error.reason == reason and not isinstance(error, UnwrapError)


def answers(error: WireError, reason: str) -> None:
    assert error.reason == reason and isinstance(error, UnwrapError)


def header(**fields: object) -> bytes:
    return b"\x06" + codec.pack({"Join": True, "Nodes": 0, "UserStateLen": 0} | fields)


requests: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ping, seq=u32, node=names), st.builds(User, payload=st.binary(max_size=300)), push_pulls)
responses: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ack, seq=u32, payload=st.binary(max_size=40)), st.builds(Err, error=st.text(max_size=40)), push_pulls)
envelopes = st.builds(
    envelope, st.sampled_from([KEY, OTHER_KEY]), label=st.binary(max_size=20), compress=st.booleans(),
) | st.builds(envelope, label=st.binary(max_size=20), compress=st.booleans())
chunks = st.integers(1, 50) | st.just(65536)


@given(requests, envelopes, chunks)
def test_a_request_is_read_as_it_was_written(message, both, chunk):
    assert received(seal_stream(both, encoded(message), dialled=True), both, chunk) == message


@given(responses, envelopes, chunks)
def test_a_response_is_read_as_it_was_written(message, both, chunk):
    assert received(seal_stream(both, encoded(message), dialled=False), both, chunk, dialled=True) == message


def test_only_the_dialling_side_writes_a_label_but_both_authenticate_it():
    both = envelope(KEY, label=b"blue")
    assert seal_stream(both, PING_BYTES, dialled=True).startswith(b"\xf4\x04blue\x0a")
    response = seal_stream(both, codec.encode(Ack(1)), dialled=False)
    assert response[0] == 10 and received(response, both, dialled=True) == Ack(1)
    answers(refusal(response, envelope(KEY, label=b"grey"), dialled=True), DECRYPT_FAILED)


def test_a_stream_is_compressed_even_if_it_grows_but_not_if_it_is_long():
    assert seal_stream(envelope(compress=True), b"\x08\x81", dialled=True) == wrap_compressed(b"\x08\x81")
    long = encode_stream_user(bytes(COMPRESS_BYTES_MAX))
    assert seal_stream(envelope(compress=True), long, dialled=True) == long


def test_nothing_is_encrypted_where_outgoing_is_not_verified():
    assert seal_stream(envelope(KEY, verify_outgoing=False), PING_BYTES, dialled=True) == PING_BYTES


# Label

@pytest.mark.parametrize("data", [b"\xf4\x04grey" + PING_BYTES, b"\xf4\x00" + PING_BYTES, b"\xf4\x05", PING_BYTES])
def test_a_wrong_label_closes_without_an_answer(data):
    closes(refusal(data, envelope(label=b"blue")), WRONG_LABEL)


def test_a_label_is_refused_where_none_is_configured_and_in_a_response():
    closes(refusal(b"\xf4\x04blue" + PING_BYTES), WRONG_LABEL)
    closes(refusal(b"\xf4\x04blue\x02\x80", envelope(label=b"blue"), dialled=True), BAD_TYPE)


def test_a_label_may_arrive_alone():
    decoder = StreamDecoder(envelope(label=b"blue"), dialled=False)
    for piece in (b"\xf4", b"\x04bl", b"ue", PING_BYTES):
        assert decoder.message is None
        assert read_stream(decoder, piece) is decoder.message
    assert decoder.message == PING


# What the outer layers get an answer for

def test_failures_of_the_outer_layers_are_answered():
    sealed = seal_stream(envelope(KEY), PING_BYTES, dialled=True)
    answers(refusal(sealed), NO_KEY)
    answers(refusal(PING_BYTES, envelope(KEY)), PLAINTEXT_REFUSED)
    answers(refusal(sealed, envelope(OTHER_KEY)), DECRYPT_FAILED)
    answers(refusal(b"\x0a\0\0\0\x05hello", envelope(KEY)), DECRYPT_FAILED)
    answers(refusal(b"\x0a" + (STATE_BYTES_MAX + 1).to_bytes(4, "big"), envelope(KEY)), TOO_LARGE)
    answers(refusal(b"\x09" + codec.pack({"Algo": 1, "Buf": b""})), BAD_ALGORITHM)
    answers(refusal(b"\x09" + codec.pack({"Algo": 0, "Buf": lzw.compress(b"")})), BAD_LZW)
    answers(refusal(b"\x09" + codec.pack({"Algo": 0, "Buf": b"\xff\xff"})), BAD_LZW)
    answers(refusal(b"\x09\x05"), GARBAGE)
    answers(refusal(sealed[:-1], envelope(KEY), eof=True), TRUNCATED)
    answers(refusal(wrap_compressed(PING_BYTES)[:-1], eof=True), TRUNCATED)


def test_the_length_of_an_encrypted_stream_is_authenticated():
    sealed = seal_stream(envelope(KEY), PING_BYTES, dialled=True)
    longer = b"\x0a" + (len(sealed) - 4).to_bytes(4, "big") + sealed[5:] + b"?"
    answers(refusal(longer, envelope(KEY)), DECRYPT_FAILED)


@pytest.mark.parametrize("dialled", [False, True])
def test_a_stream_that_began_before_its_key_was_removed_is_still_read_and_the_next_one_is_not(dialled):
    old, new = bytes(16), bytes(range(16))
    ours, theirs = Keyring([new, old]), Keyring([old])
    envelopes = [Envelope(ring, b"", False, bytes) for ring in (ours, theirs)]
    sealed = seal_stream(envelopes[1], encode_push_pull(False, [], b"state"), dialled=not dialled)
    decoder = StreamDecoder(envelopes[0], dialled=dialled)
    decoder.feed(sealed[:20])
    while decoder.advance():
        pass
    ours.remove(old)
    decoder.feed(sealed[20:])
    while decoder.advance():
        pass
    assert decoder.message == PushPull(False, [], b"state")
    late = StreamDecoder(envelopes[0], dialled=dialled)
    late.feed(sealed)
    with pytest.raises(WireError, match="no installed key fits"):
        while late.advance():
            pass


def test_plaintext_passes_where_incoming_is_not_verified():
    assert received(PING_BYTES, envelope(KEY, verify_incoming=False)) == PING


def test_later_failures_just_close():
    closes(refusal(header(Nodes=-1)), BAD_FIELD)
    closes(refusal(header(UserStateLen=-1)), BAD_FIELD)
    closes(refusal(header(Nodes=1) + b"\x05"), GARBAGE)
    closes(refusal(header(Nodes=1) + codec.pack({"Port": 65536})), BAD_FIELD)
    closes(refusal(header(Nodes=2) + stream.encode_entry(an_entry()), eof=True), TRUNCATED)
    closes(refusal(wrap_compressed(wrap_compressed(PING_BYTES))), BAD_TYPE)
    closes(refusal(wrap_compressed(header(Nodes=1))), TRUNCATED)
    closes(refusal(encode_stream_user(b"hello")[:-1], eof=True), TRUNCATED)


def test_an_encrypted_stream_with_nothing_in_it_closes():
    aad = b"\x0a\x00\x00\x00\x1d"
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    box = b"\x01" + bytes(12) + AESGCM(KEY).encrypt(bytes(12), b"", aad)
    closes(refusal(aad + box, envelope(KEY)), BAD_TYPE)


def test_closing_before_the_first_byte_is_a_case_of_its_own():
    closes(refusal(b"", eof=True), CLOSED)


def test_closing_after_the_message_is_no_error():
    decoder = StreamDecoder(envelope(), dialled=False)
    read_stream(decoder, PING_BYTES)
    decoder.eof()
    assert decoder.message == PING


@pytest.mark.parametrize("dialled, kinds", [(False, {0, 6, 8}), (True, {2, 6, 13})])
def test_each_side_takes_only_its_own_kinds_of_message(dialled, kinds):
    for kind in set(range(16)) - kinds - {9, 10}:
        closes(refusal(bytes([kind]) + b"\x80", dialled=dialled), BAD_TYPE)
    for kind in kinds:
        assert received(bytes([kind]) + b"\x80", dialled=dialled) is not None


def test_bytes_after_the_message_are_ignored():
    assert received(PING_BYTES + b"junk") == PING
    decoder = StreamDecoder(envelope(), dialled=False)
    assert read_stream(decoder, PING_BYTES) == PING
    decoder.feed(bytes(STREAM_BYTES_MAX + 1))
    assert not decoder.advance() and decoder.message == PING


# Push/pull

def test_lengths_may_be_signed():
    data = bytes.fromhex("0683a44a6f696ec3a54e6f646573d10001ac5573657253746174654c656ed10003")
    nobody = an_entry("", addr=b"", port=0, meta=b"", incarnation=0, vsn=b"")
    assert received(data + b"\x80abc") == PushPull(True, [nobody], b"abc")


def test_entries_and_headers_may_be_arrays_or_nil_or_hold_unknown_fields():
    entry = an_entry()
    array = codec.pack(
        [entry.name, entry.addr, entry.port, entry.meta, entry.incarnation, entry.state, entry.vsn, "newer"])
    odd = stream.encode_entry(entry)
    odd = b"\x89" + odd[1:] + b"\xa1?\x81\x90\xc0" + b"\xa2??\xdc\x01\x00" + bytes(256)
    message = received(b"\x06" + codec.pack([3, 2, True]) + array + odd + b"\xc0" + b"us")
    assert isinstance(message, PushPull) and message.user_state == b"us" and message.join
    assert message.entries[:2] == [entry, entry] and message.entries[2].name == ""


def test_an_entry_with_impossible_name_or_metadata_is_left_out():
    entries = [an_entry("a"), an_entry("b" * 513), an_entry("c", meta=bytes(513)), an_entry("d" * 512, meta=bytes(512))]
    message = received(encode_push_pull(False, entries, b"us"))
    assert message == PushPull(False, [entries[0], entries[3]], b"us")


def test_a_state_that_we_do_not_know_is_passed_on():
    message = received(encode_push_pull(False, [an_entry(state=77)], b""))
    assert isinstance(message, PushPull) and message.entries[0].state == 77


def test_a_large_state_is_decoded_in_slices_without_a_long_one():
    entries = [an_entry(f"node-{n}") for n in range(5000)]
    data = encode_push_pull(True, entries, bytes(100_000))
    decoder = StreamDecoder(envelope(), dialled=False)
    decoder.feed(data)
    slices, seen = 0, 0
    while decoder.advance():
        slices += 1
    assert isinstance(decoder.message, PushPull) and decoder.message.entries == entries
    assert slices >= 5000 / stream._ENTRIES_PER_SLICE
    decoder = StreamDecoder(envelope(), dialled=False)
    decoder.feed(wrap_compressed(data[:1] + codec.pack({"Nodes": 0, "UserStateLen": 300_000}) + bytes(300_000)))
    while decoder.advance():
        seen += 1
    assert seen > 0 and decoder.message == PushPull(False, [], bytes(300_000))


def test_nothing_is_done_without_input():
    decoder = StreamDecoder(envelope(), dialled=False)
    assert not decoder.advance() and not decoder.advance() and decoder.message is None


def test_plaintext_behind_an_encrypted_message_is_no_part_of_it():
    count = stream._ENTRIES_PER_SLICE + 1
    data = encode_push_pull(False, [an_entry()] * count, b"")
    missing = len(stream.encode_entry(an_entry()))
    decoder = StreamDecoder(envelope(KEY), dialled=False)
    decoder.feed(seal_stream(envelope(KEY), data[:-missing], dialled=True))
    assert decoder.advance()
    decoder.feed(data[-missing:])
    with pytest.raises(WireError) as caught:
        while decoder.advance():
            pass
    closes(caught.value, TRUNCATED)


# Caps

def test_counts_and_lengths_in_headers_are_capped_before_anything_is_read():
    for data in (header(Nodes=ENTRIES_MAX + 1), header(UserStateLen=STATE_BYTES_MAX + 1), header(Nodes=2**62),
                 b"\x08" + codec.pack({"UserMsgLen": STATE_BYTES_MAX + 1})):
        closes(refusal(data), TOO_LARGE)
    tracemalloc.start()
    try:
        assert received(header(Nodes=ENTRIES_MAX, UserStateLen=STATE_BYTES_MAX)) is None
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_one_map_is_capped():
    value = b"\xdb" + MAP_BYTES_MAX.to_bytes(4, "big") + bytes(MAP_BYTES_MAX)
    closes(refusal(b"\x00\x81\xa1?" + value), TOO_LARGE)
    closes(refusal(header(Nodes=1) + b"\x81\xa1?" + value), TOO_LARGE)
    fits = b"\xdb" + (MAP_BYTES_MAX - 10).to_bytes(4, "big") + bytes(MAP_BYTES_MAX - 10)
    assert received(b"\x00\x81\xa1?" + fits, chunk=1000) == Ping(0, "")


def test_all_that_is_read_from_a_connection_is_capped():
    decoder = StreamDecoder(envelope(), dialled=False)
    decoder.feed(header(UserStateLen=STATE_BYTES_MAX))
    decoder.advance()
    decoder.feed(bytes(STREAM_BYTES_MAX - 1000))
    with pytest.raises(WireError) as caught:
        decoder.feed(bytes(1001))
    closes(caught.value, TOO_LARGE)


def test_what_a_stream_expands_to_is_capped(monkeypatch):
    monkeypatch.setattr(stream, "DECOMPRESSED_MAX", 100_000)
    assert received(wrap_compressed(encode_stream_user(bytes(99_000)))) == User(bytes(99_000))
    answers(refusal(wrap_compressed(encode_stream_user(bytes(101_000)))), TOO_LARGE)


# Any bytes

whole = st.one_of(requests, responses).map(encoded)
sealed = whole | whole.map(wrap_compressed) | whole.map(lambda data: seal_stream(envelope(KEY), data, dialled=True))


@given(st.binary(max_size=200) | damaged(sealed), chunks, st.booleans(),
       st.sampled_from([envelope(), envelope(KEY), envelope(label=b"blue"), envelope(KEY, verify_incoming=False)]))
def test_any_bytes_are_a_message_or_a_wire_error(data, chunk, dialled, reader):
    decoder = StreamDecoder(reader, dialled=dialled)
    try:
        read_stream(decoder, data, chunk)
        decoder.eof()
    except WireError:
        assert decoder.message is None
    else:
        assert decoder.message is not None


@given(st.sampled_from([b"\x00", b"\x02", b"\x06", b"\x08", b"\x09", b"\x0d"]), st.binary(max_size=60), st.booleans())
def test_any_bytes_behind_a_good_type_are_a_message_or_a_wire_error(kind, body, dialled):
    try:
        received(kind + body, dialled=dialled)
    except WireError:
        pass


@given(damaged(sealed), chunks)
def test_how_a_stream_arrives_makes_no_difference(data, chunk):
    assert outcome(data, chunk) == outcome(data, 65536)


def outcome(data: bytes, chunk: int) -> object:
    try:
        return received(data, chunk=chunk)
    except WireError as error:
        return error.reason


def test_a_keyring_that_changes_while_a_stream_arrives_is_the_one_that_decrypts():
    reader = Envelope(Keyring([OTHER_KEY]), b"", False, bytes)
    data = seal_stream(envelope(KEY), PING_BYTES, dialled=True)
    decoder = StreamDecoder(reader, dialled=False)
    read_stream(decoder, data[:20])
    reader.keyring.add(KEY)
    assert read_stream(decoder, data[20:]) == PING
