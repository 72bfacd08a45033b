from __future__ import annotations

from typing import Any

import pytest
import trio

from gossipd.commands import Command, Decline, Leave, Respond, SetTags, StartQuery
from gossipd.daemon import engine as engine_module
from gossipd.daemon.engine import Engine
from gossipd.daemon.life import EXIT_LEFT, EXIT_STOPPED, Life
from gossipd.daemon.prober import run_timers
from gossipd.daemon.throttle import KINDS_MAX
from gossipd.effects import DEBUG, INFO, Emit, Notice, OpenExchange, Part, Rejected, Reply, SendDatagram
from gossipd.errors import CommandError
from gossipd.events import MEMBER_JOIN, MemberEvent, QueryEvent
from gossipd.serfcli.agent.console import words_of
from tests.support.fakenode import FakeMachine, FakeNode, refusing
from tests.support.memory import MemoryNetwork
from tests.support.virtual import in_virtual_time

BEA = ("127.0.0.2", 7946)


def an_engine(node: FakeNode | None = None) -> Any:
    """An Engine with a fake node and a port in memory; `engine.port.sent` is what left."""
    port = MemoryNetwork(refuses=False).port(("127.0.0.1", 7946))
    return Engine(node or FakeNode(), port, Life(), lambda: 100.0, lambda: 1_000_000.0)  # type: ignore[arg-type]


def exchange(id: int = 1, purpose: str = "sync") -> OpenExchange:
    return OpenExchange(id, BEA, b"hello", 110.0, purpose)


def test_effects_are_carried_out_in_their_order():
    engine = an_engine()
    heard = []
    engine.listen(lambda event: heard.append((event, len(engine.port.sent))))
    event = MemberEvent(MEMBER_JOIN)
    engine.node.on_datagram = lambda data: [SendDatagram(b"1", BEA), Emit(event), SendDatagram(b"2", BEA)]

    engine.receive(b"x", BEA)

    assert engine.port.sent == [(b"1", BEA), (b"2", BEA)] and heard == [(event, 1)]


def test_what_an_answer_sets_off_comes_after_the_effects_before_it():
    engine = an_engine()
    commands = {1: [Reply(1), SendDatagram(b"of the first", BEA)], 2: [SendDatagram(b"of the second", BEA), Reply(2)]}
    engine.node.on_command = lambda command: commands[command.id]
    again = lambda result, error: engine.submit(Leave, lambda result, error: None)  # noqa: E731

    engine.submit(Leave, again)

    assert [data for data, _ in engine.port.sent] == [b"of the first", b"of the second"]


def test_answers_that_set_off_the_next_thing_do_not_pile_up():
    engine = an_engine()
    engine.node.on_datagram = lambda data: [exchange(0)]
    engine.node.on_exchange = lambda id, message, failure: [exchange(id + 1)] if id < 5000 else []
    engine.receive(b"x", BEA)
    assert len(engine.node.exchanges) == 5001


def test_every_listener_hears_every_event():
    engine = an_engine()
    first, second = [], []
    engine.listen(first.append)
    engine.listen(second.append)
    engine.node.on_datagram = lambda data: [Emit(MemberEvent(MEMBER_JOIN))]
    engine.receive(b"x", BEA)
    assert first == second == [MemberEvent(MEMBER_JOIN)]


def test_a_command_is_answered_once_by_its_reply():
    engine = an_engine()
    outcomes = []
    engine.submit(lambda id: SetTags(id, {}), lambda result, error: outcomes.append((result, error)))
    assert outcomes == []
    engine.node.on_datagram = lambda data: [Reply(1, 3, ""), Reply(1, 4, ""), Reply(99)]
    engine.receive(b"x", BEA)
    assert outcomes == [(3, "")]


def test_what_a_command_tells_goes_to_who_gave_it_until_the_reply():
    engine = an_engine()
    effects = [Part(1, "a"), Part(2, "not ours"), Part(1, "b"), Reply(1), Part(1, "late")]
    engine.node.on_command = lambda command: effects
    told: list[Any] = []
    engine.submit(Leave, lambda result, error: told.append("done"), told.append)
    assert told == ["a", "b", "done"]


def test_a_query_may_be_answered_if_anybody_might_and_is_declined_if_nobody_else_might():
    engine = an_engine()
    asked: list[Any] = []
    engine.node.on_command = lambda command: asked.append(command) or [Reply(command.id)]
    one, other = (lambda query: query.name in "ab"), (lambda query: query.name in "bc")
    engine.answer_with(one)
    engine.answer_with(other)
    queries = {name: QueryEvent(id, name, None, 1, "bea", 200.0) for id, name in enumerate("abcd")}
    assert [name for name, query in queries.items() if engine.may_answer(query)] == ["a", "b", "c"]
    for name in "ab":
        engine.decline(queries[name], one)
    assert asked == [Decline(1, 0)]
    engine.node.on_command = refusing("too many")
    engine.decline(queries["a"], one)


def test_a_refused_command_raises_and_its_reply_is_not_awaited():
    engine = an_engine()
    engine.node.on_command = refusing("no")
    with pytest.raises(CommandError, match="no"):
        engine.submit(Leave, lambda result, error: pytest.fail("answered"))
    engine.node.on_datagram = lambda data: [Reply(1)]
    engine.receive(b"x", BEA)


def test_commands_under_way_are_limited(monkeypatch):
    monkeypatch.setattr(engine_module, "COMMANDS_MAX", 2)
    engine = an_engine()
    for _ in range(2):
        engine.submit(lambda id: SetTags(id, {}), lambda result, error: None)
    with pytest.raises(CommandError, match="more than 2 requests"):
        engine.submit(lambda id: SetTags(id, {}), lambda result, error: None)
    for make in (Leave, lambda id: Respond(id, 1, b""), lambda id: Decline(id, 1)):
        engine.submit(make, lambda result, error: None)


def test_queries_under_way_are_limited_and_keep_nothing_else_from_being_done(monkeypatch):
    monkeypatch.setattr(engine_module, "COMMANDS_MAX", 2)
    monkeypatch.setattr(engine_module, "QUERIES_MAX", 3)
    engine = an_engine()
    asks = lambda: engine.submit(lambda id: StartQuery(id, "load"), lambda result, error: None)  # noqa: E731
    for _ in range(3):
        asks()
    with pytest.raises(CommandError, match="more than 3 queries"):
        asks()
    engine.submit(lambda id: SetTags(id, {}), lambda result, error: None)
    engine.node.on_datagram = lambda data: [Reply(1)]
    engine.receive(b"x", BEA)
    engine.node.on_command = refusing("no")
    with pytest.raises(CommandError, match="no"):
        asks()      # which does not count then
    engine.node.on_command = lambda command: []
    asks()
    with pytest.raises(CommandError, match="more than 3 queries"):
        asks()


@pytest.mark.parametrize("dial", [None, lambda exchange: False], ids=["no dialer", "a full one"])
def test_an_exchange_that_cannot_begin_fails_at_once(dial):
    engine = an_engine()
    if dial:
        engine.dial_with("sync", dial)
    engine.node.on_datagram = lambda data: [exchange(7)]
    engine.node.on_exchange = lambda id, message, failure: [SendDatagram(failure.encode(), BEA)]
    engine.receive(b"x", BEA)
    assert engine.node.exchanges == [(7, None, "too many connections")]
    assert engine.port.sent == [(b"too many connections", BEA)]


def test_exchanges_go_to_the_dialer_of_their_purpose():
    engine = an_engine()
    pings, syncs = [], []
    engine.dial_with("ping", lambda exchange: pings.append(exchange.id) or True)
    engine.dial_with("sync", lambda exchange: syncs.append(exchange.id) or True)
    engine.node.on_datagram = lambda data: [exchange(1, "ping"), exchange(2, "sync")]
    engine.receive(b"x", BEA)
    assert pings == [1] and syncs == [2]


def test_refused_ports_are_told_to_the_core():
    engine = an_engine()
    engine.port.refused.append(BEA)
    assert engine.receive_batch() == 0
    assert engine.node.refused == [BEA]


def test_a_batch_is_limited_and_the_rest_stays():
    engine = an_engine()
    engine.port.waiting.extend((b"x", BEA) for _ in range(100))
    assert engine.receive_batch() == 64 and len(engine.port.waiting) == 36


def test_a_leave_that_succeeds_ends_the_daemon_with_success():
    engine = an_engine()
    outcomes = []
    engine.leave(lambda result, error: outcomes.append(error))
    assert engine.life.ending.is_set() and not engine.life.over.is_set()
    engine.node.on_datagram = lambda data: [Reply(1)]
    engine.receive(b"x", BEA)
    assert outcomes == [""] and engine.life.over.is_set() and engine.life.exit_code == EXIT_LEFT


def test_a_leave_that_fails_ends_the_daemon_with_failure():
    engine = an_engine()
    engine.node.on_command = lambda command: [Reply(command.id, None, "timed out")]
    engine.leave(lambda result, error: None)
    assert engine.life.over.is_set() and engine.life.exit_code == EXIT_STOPPED


def test_a_refused_leave_ends_nothing():
    engine = an_engine()
    engine.node.on_command = refusing("Leave already in progress")
    with pytest.raises(CommandError):
        engine.leave(lambda result, error: None)
    assert not engine.life.ending.is_set()


def test_joining_before_the_gossiper_runs_is_refused():
    with pytest.raises(CommandError, match="too many joins"):
        an_engine().join(["bea"], False, lambda result, error: None)


def test_when_all_is_over_nobody_is_joined_or_dialled_any_more():
    engine, asked = an_engine(), []
    engine.join_with(lambda *join: asked.append(join) or True)
    engine.dial_with("sync", lambda exchange: asked.append(exchange) or True)
    engine.life.stop()
    with pytest.raises(CommandError, match="Serf can't Join after Leave or Shutdown"):
        engine.join(["bea"], False, lambda result, error: None)
    engine.node.on_datagram = lambda data: [exchange(7)]
    engine.receive(b"x", BEA)
    assert asked == [] and [id for id, _, _ in engine.node.exchanges] == [7]


def test_moments_turn_into_wall_time():
    assert an_engine().wall(99.0) == 999_999.0


def test_stats_are_text_in_serfs_sections_and_show_what_was_refused():
    engine = an_engine()
    engine.count("send ENOBUFS")
    engine.reject("wrong label", ("10.0.0.9", 7946))
    stats = engine.stats()
    assert {"agent", "runtime", "serf", "tags", "event_handlers"} <= set(stats)
    assert stats["agent"] == {"name": "ann"} and stats["tags"] == {"role": "web"}
    assert stats["gossipd"] == {"send ENOBUFS": "1", "wrong label": "1"}
    assert all(isinstance(value, str) for section in stats.values() for value in section.values())


# --- log lines -------------------------------------------------------------------------------------------------------

def test_a_refusal_is_logged_with_reason_source_and_detail_at_most_once_a_second(caplog):
    engine = an_engine()
    engine.node.on_datagram = lambda data: [Rejected("bad crc", BEA, "packet")]
    with caplog.at_level(INFO, "gossipd"):
        for _ in range(3):
            engine.receive(b"x", BEA)
    assert caplog.messages == ["refused input reason='bad crc' source=127.0.0.2:7946 detail='packet'"]


def test_a_peer_with_other_settings_is_worth_a_line_a_minute_that_says_what_to_look_at(caplog):
    engine = an_engine()
    now = 100.0
    engine.clock = lambda: now
    for _ in range(110):
        for host in ("127.0.0.2", "127.0.0.3"):
            engine._rejected(Rejected("wrong label", (host, 7946)))
        now += 0.5
    first, second = caplog.messages
    assert "127.0.0.2" in first and "127.0.0.3" in second and "label mismatch" in first and "label mismatch" in second
    now += 5.0
    engine._rejected(Rejected("wrong label", ("127.0.0.2", 7000)))
    assert caplog.messages[2].endswith(" more=109")


def test_each_refusal_that_is_held_back_is_spoken_for_once(caplog):
    engine = an_engine()
    now = 100.0
    engine.clock = lambda: now
    for host in ("127.0.0.2", "127.0.0.3"):
        engine._rejected(Rejected("wrong label", (host, 7946)))
    now = 101.0
    engine._rejected(Rejected("wrong label", ("127.0.0.3", 7946)))
    assert caplog.messages[1].endswith(" more=1")


def test_peers_with_other_settings_of_any_number_take_no_memory():
    engine = an_engine()
    for number in range(5000):
        engine._rejected(Rejected("wrong label", (f"10.0.{number >> 8}.{number & 255}", 7946)))
    assert len(engine._strangers._held) + len(engine._strangers._last) <= 2 * KINDS_MAX + 2



def test_a_source_cannot_break_a_log_line(caplog):
    engine = an_engine()
    engine.node.on_datagram = lambda data: [Rejected("bad name", BEA, "evil\n<3>forged")]
    with caplog.at_level(INFO, "gossipd"):
        engine.receive(b"x", BEA)
    assert "evil\\n<3>forged" in caplog.text and "evil\n" not in caplog.text


def test_notices_are_logged_at_their_level(caplog):
    engine = an_engine()
    engine.node.on_datagram = lambda data: [Notice(INFO, "100% sure")]
    with caplog.at_level(INFO, "gossipd"):
        engine.receive(b"x", BEA)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", "100% sure")]


def test_a_flood_of_notices_is_no_flood_of_lines(caplog):
    engine = an_engine()
    engine.node.on_datagram = lambda data: [Notice(INFO, "said"), Notice(INFO, f"said of {data.decode()}")]
    with caplog.at_level(INFO, "gossipd"):
        for number in range(1000):
            engine.receive(b"%d" % number, BEA)
        assert caplog.messages[:3] == ["said", "said of 0", "said of 1"] and len(caplog.messages) <= KINDS_MAX + 1
        engine.clock = lambda: 101.0
        engine.receive(b"later", BEA)
    assert "said more=999" in caplog.messages[-2:]


def test_serfs_own_words_are_not_demoted_where_its_agent_is_played(caplog):
    engine = an_engine()
    engine.node.on_datagram = lambda data: [Notice(INFO, "Received use-key query", as_serf=True), Notice(INFO, "ours")]
    with caplog.at_level(INFO, "gossipd"):
        engine.receive(b"x", BEA)
    assert [words_of(record) for record in caplog.records] == [
        (INFO, "serf", "Received use-key query"), (DEBUG, "serf", "ours")]


# --- timers ----------------------------------------------------------------------------------------------------------

@in_virtual_time
async def test_a_machine_runs_when_it_is_due():
    engine, machine = a_timed_engine()
    start = trio.current_time()
    machine.due = [start + 5.0, start + 7.0]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_timers, engine, machine)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert machine.ran == [start + 5.0, start + 7.0]


@in_virtual_time
async def test_a_deadline_that_comes_forward_is_met():
    engine, machine = a_timed_engine()
    start = trio.current_time()
    machine.due = [start + 50.0]
    engine.node.on_datagram = lambda data: machine.due.append(start + 3.0) or []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_timers, engine, machine)
        await trio.sleep(1)
        engine.port.waiting.append((b"x", BEA))
        engine.receive_batch()
        await trio.sleep(1)
        assert machine.ran == []
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert machine.ran == [start + 3.0]


@in_virtual_time
async def test_a_deadline_that_goes_away_wakes_nobody():
    engine, machine = a_timed_engine()
    machine.due = [trio.current_time() + 5.0]
    engine.node.on_command = lambda command: machine.due.clear() or [Reply(command.id)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_timers, engine, machine)
        await trio.sleep(1)
        engine.submit(lambda id: Leave(id), lambda result, error: None)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert machine.ran == []


def a_timed_engine() -> tuple[Any, FakeMachine]:
    port = MemoryNetwork(refuses=False).port(("127.0.0.1", 7946))
    return Engine(FakeNode(), port, Life(), trio.current_time, lambda: 0.0), FakeMachine()  # type: ignore[arg-type]


def test_a_command_gets_an_id_of_its_own():
    engine = an_engine()
    seen: list[Command] = []
    engine.node.on_command = lambda command: seen.append(command) or [Reply(command.id)]
    for _ in range(3):
        engine.submit(Leave, lambda result, error: None)
    assert len({command.id for command in seen}) == 3
