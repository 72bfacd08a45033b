"""Whatever bytes come at whatever point of a conversation: no exception, no lost neighbour, bounded memory."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from msgpack import packb

from gossipd.commands import QueryOutcome
from gossipd.events import QueryEvent, UserEvent
from gossipd.rpc import connection
from gossipd.rpc.codec import INPUT_BYTES_MAX
from gossipd.rpc.connection import UNSENT_BYTES_MAX, Held
from gossipd.rpc.rights import Right
from gossipd.rpc.session import COMMANDS
from tests.unit.rpc.fakes import Client, FakeBackend

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.binary(max_size=8)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=4),
    max_leaves=8)
KEYS = sorted({name.decode() for schema, _ in COMMANDS.values() for name, _ in schema or ()})
BODIES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6) | VALUES
HEADERS = st.fixed_dictionaries({"Command": st.sampled_from(sorted(COMMANDS)), "Seq": st.integers(0, 3)}) | VALUES
STEPS = st.lists(
    (HEADERS | BODIES).map(lambda value: packb(value, unicode_errors="surrogatepass")) | st.binary(max_size=12)
    | st.sampled_from(["event", "query", "finish", "read"]),
    max_size=12)
EVENTS = {"event": UserEvent("deploy", b"x", 1, False), "query": QueryEvent(1, "load", None, 1, "beta", 9.0)}


def go(client: Client, step: bytes | str) -> None:
    if step == "read":
        client.writes()
    elif step == "finish":
        while client.backend.waiting:
            client.backend.finish(QueryOutcome([], [], []))     # what others are not interested in
    elif isinstance(step, str):
        client.session.on_event(EVENTS[step], 1.0)
    else:
        client.send_bytes(step)


@settings(max_examples=300)
@given(STEPS, st.booleans(), st.booleans(), st.sampled_from(Right), st.sampled_from(["", "key"]))
def test_no_client_can_make_a_session_raise(steps, greeted, slow, right, auth_key):
    client = Client(FakeBackend(slow=slow), handshake=greeted, right=right, auth_key=auth_key)
    for step in steps:
        go(client, step)
    client.session.close()
    go(client, "finish")


@settings(max_examples=200)
@given(st.sampled_from(sorted(COMMANDS)), BODIES, st.integers(0, 40), st.binary(min_size=1, max_size=6))
def test_garbage_in_the_middle_of_a_request_closes_that_client_or_is_answered(command, body, at, garbage):
    client = Client()
    request = packb({"Command": command, "Seq": 1}) + packb(body, unicode_errors="surrogatepass")
    client.send_bytes(request[:at] + garbage + request[at:])
    client.writes()
    neighbour = Client(client.backend)
    assert neighbour.ask({"Command": "stats", "Seq": 1})[0] == {"Error": "", "Seq": 1}


def test_half_a_request_waits_and_takes_no_more_than_it_may():
    client = Client()
    client.send({"Command": "event", "Seq": 1})
    client.send_bytes(b"\x83\xa4Name\xda\xff\xff" + b"x" * 100)
    assert not client.session.closed and client.writes() == []
    endless = Client()
    endless.send({"Command": "event", "Seq": 1})
    endless.send_bytes(b"\x83\xa4Name\xdb\x00\x20\x00\x00")
    for _ in range(INPUT_BYTES_MAX // 65536 + 1):
        endless.send_bytes(b"x" * 65536)
    assert endless.session.closed


def test_clients_that_hold_much_are_closed_when_all_together_hold_too_much(monkeypatch):
    monkeypatch.setattr(connection, "HELD_BYTES_MAX", 1 << 20)
    held = Held()
    clients = [Client(held=held) for _ in range(20)]
    for client in clients:
        client.send({"Command": "stream", "Seq": 1}, {"Type": "*"})
        client.writes()
    for number in range(40):
        for client in clients:
            client.session.on_event(UserEvent("deploy", b"x" * 9000, number, False), 1.0)
        for reader in clients[:3]:
            assert reader.writes() and not reader.session.closed
        assert held.total <= 1 << 20
    assert sum(client.session.closed for client in clients) >= 10
    endless = Client(held=held)
    endless.send({"Command": "event", "Seq": 1})
    endless.send_bytes(b"\x83\xa4Name\xdb\x00\x0f\x00\x00")
    while not endless.session.closed:
        endless.send_bytes(b"x" * 32768)
    for client in [*clients, endless]:
        client.writes()
        client.session.close()
    assert held.total == 0


def test_what_a_closed_client_had_sent_is_freed_at_once_and_not_by_the_collector():
    client = Client()
    client.send({"Command": "event", "Seq": 1})
    client.session.take_output()
    tracemalloc.start()
    try:
        client.send_bytes(b"\x83\xa4Name\xdb\x00\x0f\x00\x00" + b"x" * 900_000)
        assert tracemalloc.get_traced_memory()[0] > 900_000
        client.session.close()
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


def test_a_client_that_asks_for_ever_and_never_reads_is_held_back():
    """It may fill its own buffers, which have limits; what it asks for beyond them is not even begun."""
    backend = FakeBackend()
    backend.tags = {"big": "x" * 60000}
    client = Client(backend)
    for seq in range(4000):
        client.send({"Command": "stats", "Seq": seq})
    assert client.session._unsent < 400_000 < UNSENT_BYTES_MAX
    assert not client.session.closed
    first = client.session.take_output()
    assert first and len(client.session.take_output()) > 0
