"""Messages, envelopes and strategies that the wire tests share."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gossipd.wire.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Message,
    Nack,
    Ping,
    PushPull,
    PushPullEntry,
    Suspect,
    User,
)
from gossipd.wire.packet import Envelope
from gossipd.wire.secure import Keyring
from gossipd.wire.stream import StreamDecoder

KEY, OTHER_KEY = b"A" * 16, b"0123456789abcdef0123456789abcdef"
VSN = bytes([1, 5, 2, 2, 5, 5])


def envelope(
    *keys: bytes, label: bytes = b"", compress: bool = False, nonce: bytes = bytes(12), **verify: bool
) -> Envelope:
    return Envelope(Keyring(keys), label, compress, lambda size: nonce[:size], **verify)


def an_alive(name: str = "t", **changes: Any) -> Alive:
    fields: dict[str, Any] = {"incarnation": 1, "addr": b"\x7f\0\0\1", "port": 7946, "meta": b"\xff\x80", "vsn": VSN}
    return Alive(node=name, **(fields | changes))


def an_entry(name: str = "t", **changes: Any) -> PushPullEntry:
    fields: dict[str, Any] = {
        "addr": b"\x7f\0\0\1", "port": 7946, "meta": b"\xff\x80", "incarnation": 1, "state": 0, "vsn": VSN,
    }
    return PushPullEntry(name=name, **(fields | changes))


def read_stream(decoder: StreamDecoder, data: bytes, chunk: int = 65536) -> Message | None:
    """Feed `data` in pieces of `chunk` bytes, working after each. Raises what the decoder raises."""
    for start in range(0, len(data), chunk):
        decoder.feed(data[start:start + chunk])
        while decoder.advance():
            pass
    return decoder.message


u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
names = st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
octets = st.binary(max_size=70)
sources = {"source_addr": octets, "source_port": u16, "source_node": names}
entries = st.builds(
    PushPullEntry, name=names, addr=octets, port=u16, meta=octets, incarnation=u32, state=st.integers(0, 9),
    vsn=st.just(b"") | st.binary(min_size=6, max_size=9),
)
datagram_messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ping, seq=u32, node=names, **sources),
    st.builds(IndirectPing, seq=u32, target=octets, port=u16, node=names, nack=st.booleans(), **sources),
    st.builds(Ack, seq=u32, payload=octets),
    st.builds(Nack, seq=u32, refused=st.booleans()),
    st.builds(Suspect, incarnation=u32, node=names, source=names, refused=st.lists(names, max_size=16).map(tuple)),
    st.builds(Dead, incarnation=u32, node=names, source=names, why=st.text(max_size=50)),
    st.builds(
        Alive, incarnation=u32, node=names, addr=octets, port=u16, meta=octets,
        vsn=st.just(b"") | st.binary(min_size=6, max_size=9),
    ),
    st.builds(User, payload=octets),
)
push_pulls = st.builds(
    PushPull, join=st.booleans(), entries=st.lists(entries, max_size=8), user_state=st.binary(max_size=300)
)


@st.composite
def damaged(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Valid bytes with something changed, cut off, put in or put behind."""
    data = bytearray(draw(originals))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                del data[at:]
            case 1:
                data[at:at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 2:
                data[at:at] = draw(st.binary(max_size=6))
            case _:
                data += draw(st.binary(max_size=6))
    return bytes(data)
