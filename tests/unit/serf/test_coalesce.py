from __future__ import annotations

from typing import Any

import pytest

from gossipd.effects import Effect, Emit
from gossipd.events import MEMBER_FAILED, MEMBER_JOIN, MEMBER_LEAVE, MEMBER_REAP, MEMBER_UPDATE, MemberInfo
from gossipd.serf.coalesce import MemberCoalescer
from gossipd.serf.members import ALIVE, Heard, SerfMember
from gossipd.swim.config import VERSIONS
from gossipd.swim.members import Member
from gossipd.timers import TimerQueue
from tests.unit.serf.vectors import load

RUN = load("queues.json")["member_coalescer_one_instance"]


class Bench:
    def __init__(self, period_s: float = 3.0, quiescent_s: float = 1.0) -> None:
        self.timers: TimerQueue[Any] = TimerQueue()
        self.coalescer = MemberCoalescer(period_s, quiescent_s, "me", _info, self.timers)
        self.members: dict[str, SerfMember] = {}
        self.out: list[Effect] = []

    def hear(self, kind: str, *names: str, now: float = 0.0) -> None:
        for name in names:
            if name not in self.members:
                self.members[name] = SerfMember(Member(name, bytes(4), 1, b"", VERSIONS, 0.0), 0.0)
            self.coalescer.hear(Heard(kind, self.members[name], ALIVE), now, self.out)

    def told(self) -> list[tuple[str, list[str]]]:
        told = [(e.event.kind, sorted(m.name for m in e.event.members)) for e in self.out if isinstance(e, Emit)]
        self.out.clear()
        return sorted(told)


def _info(member: SerfMember, status: object) -> MemberInfo:
    return MemberInfo(member.name, b"", 0, {}, "alive", b"")


# One step of the reference's run comes out differently here, on purpose.
OURS = {
    5: [],      # the reference tells an update again at every later flush; we forget what was delivered
}


def test_followers_come_out_as_from_the_reference():
    bench = Bench()
    bench.hear(MEMBER_UPDATE, "first")      # opens the quiet period, so that all that follows is held
    bench.told()
    for number, step in enumerate(RUN):
        for event in step["in"]:
            bench.hear(event["type"], *event["members"])
        bench.coalescer.flush(bench.out)
        theirs = sorted((e["type"], e["members"]) for e in step["flush_out"])
        assert bench.told() == OURS.get(number, theirs), f"step {number}"


def test_the_first_event_of_a_burst_passes_at_once_and_followers_gather_until_it_is_quiet():
    bench = Bench()
    bench.hear(MEMBER_FAILED, "a", now=10.0)
    assert bench.told() == [(MEMBER_FAILED, ["a"])]
    bench.hear(MEMBER_FAILED, "b", now=10.2)
    bench.hear(MEMBER_FAILED, "c", now=10.9)
    assert bench.told() == []
    assert bench.timers.next_deadline() == pytest.approx(11.9)      # a second after the last
    bench.coalescer.quiet(bench.out)
    assert bench.told() == [(MEMBER_FAILED, ["b", "c"])]


def test_after_a_quiet_period_the_next_event_is_a_first_one_again():
    bench = Bench()
    bench.hear(MEMBER_JOIN, "a", now=1.0)
    bench.timers.pop_due(2.0)
    bench.coalescer.quiet(bench.out)
    bench.told()
    assert bench.timers.next_deadline() == float("inf")
    bench.hear(MEMBER_JOIN, "b", now=9.0)
    assert bench.told() == [(MEMBER_JOIN, ["b"])]


def test_a_steady_stream_is_told_every_period_and_stays_a_burst():
    bench = Bench()
    told = []
    for tick in range(80):
        now = tick / 10
        while bench.timers.next_deadline() <= now:
            due = type(bench.timers.pop_due(now)).__name__
            assert due == "MembersPeriodOver"
            bench.coalescer.period_over(now, bench.out)
        bench.hear(MEMBER_JOIN, f"n{tick}", now=now)
        told += [(now, len(names)) for _, names in bench.told()]
    assert told == [(0.0, 1), (3.0, 29), (6.0, 30)]


def test_a_repetition_is_told_only_if_it_is_an_update():
    bench = Bench()
    bench.hear(MEMBER_JOIN, "a")
    bench.hear(MEMBER_JOIN, "a")
    bench.hear(MEMBER_UPDATE, "b")
    bench.coalescer.flush(bench.out)
    bench.told()
    bench.hear(MEMBER_UPDATE, "b")
    bench.hear(MEMBER_JOIN, "a")
    bench.coalescer.flush(bench.out)
    assert bench.told() == [(MEMBER_UPDATE, ["b"])]


def test_nobody_hears_of_the_end_of_a_member_that_nobody_heard_of():
    bench = Bench()
    bench.hear(MEMBER_LEAVE, "first")
    bench.hear(MEMBER_JOIN, "a")
    bench.hear(MEMBER_REAP, "a")
    bench.coalescer.flush(bench.out)
    assert bench.told() == [(MEMBER_LEAVE, ["first"])]


def test_a_member_forgotten_and_known_anew_within_a_burst_is_no_news():
    bench = Bench()
    bench.hear(MEMBER_JOIN, "a")
    bench.hear(MEMBER_REAP, "a")
    del bench.members["a"]
    bench.hear(MEMBER_JOIN, "a")
    bench.told()
    bench.coalescer.flush(bench.out)
    assert bench.told() == []


def test_without_periods_every_event_passes_at_once():
    bench = Bench(period_s=0.0)
    bench.hear(MEMBER_JOIN, "a")
    bench.hear(MEMBER_FAILED, "a")
    bench.hear(MEMBER_JOIN, "a")
    assert len(bench.told()) == 3


def test_what_happens_to_this_node_itself_opens_no_burst():
    bench = Bench()
    bench.hear(MEMBER_JOIN, "me")
    bench.hear(MEMBER_JOIN, "a")
    bench.hear(MEMBER_UPDATE, "me")
    assert bench.told() == [(MEMBER_JOIN, ["a"]), (MEMBER_JOIN, ["me"]), (MEMBER_UPDATE, ["me"])]
