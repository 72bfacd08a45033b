from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pytest
import trio
import trio.testing

from gossipd.config.schema import LeaveSection
from gossipd.daemon.engine import Engine
from gossipd.daemon.life import EXIT_LEFT, EXIT_STOPPED, Life
from gossipd.daemon.signals import catch_signals, on_signal, run_signals
from gossipd.effects import Reply
from tests.support.fakenode import FakeNode, refusing
from tests.support.memory import MemoryNetwork
from tests.support.virtual import in_real_time

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
LEAVES, STOPS, LEFT = "leaves", "stops", "left"


def an_engine() -> Any:
    port = MemoryNetwork(refuses=False).port(("127.0.0.1", 7946))
    return Engine(FakeNode(), port, Life(), lambda: 100.0, lambda: 0.0)  # type: ignore[arg-type]


def send(engine: Any, *numbers: signal.Signals, on_interrupt: bool = True, on_terminate: bool = False) -> str:
    for number in numbers:
        on_signal(engine, number, {INT: on_interrupt, TERM: on_terminate})
    return state(engine.life)


def state(life: Life) -> str:
    if not life.ending.is_set():
        return ""
    if not life.over.is_set():
        return LEAVES
    return LEFT if life.exit_code == EXIT_LEFT else STOPS


@pytest.mark.parametrize("number, setting, outcome", [
    (INT, True, LEAVES), (INT, False, STOPS), (TERM, True, LEAVES), (TERM, False, STOPS)])
def test_int_and_term_leave_or_stop_as_configured(number, setting, outcome):
    assert send(an_engine(), number, on_interrupt=setting, on_terminate=setting) == outcome


def test_int_leaves_and_term_stops_unless_configured_otherwise():
    assert LeaveSection().on_interrupt and not LeaveSection().on_terminate


@pytest.mark.parametrize("second", [INT, TERM, HUP])
def test_any_second_signal_stops_at_once(second):
    assert send(an_engine(), INT, second) == STOPS


@in_real_time
async def test_children_can_be_waited_for_though_our_parent_ignored_its_own():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with catch_signals():
            assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGCHLD, before)


@in_real_time
async def test_whoever_handled_signals_before_does_so_again_unless_it_is_decided():
    told: list[str] = []
    before = signal.signal(TERM, lambda number, frame: told.append("before"))
    try:
        with catch_signals():
            os.kill(os.getpid(), TERM)
            await trio.testing.wait_all_tasks_blocked()
        os.kill(os.getpid(), TERM)
        with catch_signals(decided=lambda: told.append("decided")):
            pass
        os.kill(os.getpid(), TERM)
        assert told == ["before", "decided"]
    finally:
        signal.signal(TERM, before)
        for number in (INT, HUP):
            signal.signal(number, signal.default_int_handler if number == INT else signal.SIG_DFL)


@in_real_time
async def test_a_signal_that_waits_already_costs_nothing_more_and_one_that_was_heard_is_heard_again():
    with catch_signals() as signals:
        heard = []
        for _ in range(2):
            for number in (TERM, INT, TERM, TERM):
                os.kill(os.getpid(), number)
            with trio.move_on_after(0.05):
                async for number in signals:
                    heard.append(number)
        assert heard == [TERM, INT] * 2
        frames = []
        signals._token = None   # nobody needs to be woken for a signal that waits
        signals._waiting.append(TERM)
        sys.setprofile(lambda frame, event, argument: frames.append(event))
        signals.handle(TERM, None)
        sys.setprofile(None)
        assert frames.count("call") == 1


def test_a_leave_that_is_completed_exits_with_0():
    engine = an_engine()
    send(engine, INT)
    engine.node.on_datagram = lambda data: [Reply(1)]
    engine.receive(b"x", ("127.0.0.2", 7946))
    assert state(engine.life) == LEFT and EXIT_LEFT == 0 and EXIT_STOPPED == 1


def test_a_leave_that_the_core_refuses_stops():
    engine = an_engine()
    engine.node.on_command = refusing("already left")
    assert send(engine, INT) == STOPS


def test_a_signal_during_a_leave_by_rpc_stops_at_once():
    engine = an_engine()
    engine.leave(lambda result, error: None)
    assert send(engine, INT) == STOPS


def test_hup_ends_nothing_and_says_that_it_does_nothing(caplog):
    assert send(an_engine(), HUP) == ""
    assert "reload is not supported yet" in caplog.text


@in_real_time
async def test_real_signals_arrive():
    engine = an_engine()
    with catch_signals() as signals:
        os.kill(os.getpid(), HUP)       # before anybody listens: they wait
        os.kill(os.getpid(), TERM)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_signals, engine, signals, LeaveSection())
            await engine.life.over.wait()
            nursery.cancel_scope.cancel()
    assert state(engine.life) == STOPS
