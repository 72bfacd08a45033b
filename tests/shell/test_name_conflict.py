"""What the daemon does when it has lost its name."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from gossipd.daemon.engine import Engine
from gossipd.daemon.life import EXIT_LEFT, EXIT_NAME_LOST, Life
from gossipd.effects import Effect, NameLost
from tests.support.fakenode import FakeNode
from tests.support.memory import MemoryNetwork

BEA = ("127.0.0.2", 7946)
WHY = "lost the name 'ann' to 127.0.0.2:7946: 0 of 2 votes"


def an_engine() -> Any:
    port = MemoryNetwork(refuses=False).port(("127.0.0.1", 7946))
    return Engine(FakeNode(), port, Life(), lambda: 100.0, lambda: 1_000_000.0)  # type: ignore[arg-type]


def loses_its_name(engine: Any) -> None:
    lost: list[Effect] = [NameLost(WHY)]
    engine.node.name_conflict = WHY
    engine.node.on_datagram = lambda data: lost
    engine.receive(b"x", BEA)


def test_it_says_why_and_ends_at_once_with_a_code_of_its_own(caplog):
    engine = an_engine()
    loses_its_name(engine)
    assert engine.life.over.is_set() and engine.life.exit_code == EXIT_NAME_LOST
    assert EXIT_NAME_LOST not in (0, 1, 2, 78)
    assert caplog.messages == [f"name conflict: {WHY}: stopping"] and caplog.records[0].levelno == logging.ERROR


def test_told_to_stay_it_stays_and_shows_it(caplog):
    engine = an_engine()
    engine.stays_without_name = True
    loses_its_name(engine)
    assert not engine.life.ending.is_set()
    assert caplog.messages == [f"name conflict: {WHY}: staying, in conflict with the other node"]
    assert engine.stats()["gossipd"]["name_conflict"] == WHY
    engine.node.name_conflict = ""
    assert "name_conflict" not in engine.stats()["gossipd"]


@pytest.mark.parametrize("leave_is_over", [True, False])
def test_who_is_leaving_anyway_need_not_mind(leave_is_over):
    life = Life()
    life.leave_begun()
    if leave_is_over:
        life.leave_over("")
    life.name_lost()
    assert life.over.is_set() and life.exit_code == (EXIT_LEFT if leave_is_over else EXIT_NAME_LOST)
