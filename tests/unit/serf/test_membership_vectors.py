"""Whole runs of the reference's state machine, step by step (tests/vectors/serf/membership.json)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gossipd.errors import WireError
from gossipd.serf.messages import (
    JoinIntent,
    LeaveIntent,
    QueryMessage,
    UserEventMessage,
    encode_join,
    encode_leave,
    encode_query,
    encode_user_event,
)
from tests.support.serf import SerfBench
from tests.unit.serf.vectors import load

HOLE = "clock_wraps_at_2_64"        # such a time is refused here
SCENARIOS = [s for s in load("membership.json")["scenarios"] if s["name"] != HOLE]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s["name"])
def test_a_run_gives_the_states_events_and_rebroadcasts_of_the_reference(scenario):
    bench = SerfBench(broadcast_timeout_s=0.05, leave_propagate_delay_s=0.01)
    for number, step in enumerate(scenario["steps"]):
        where = f"step {number}: {step['op']}"
        bench.now += 0.1
        again = apply(bench, step["op"])
        bench.runs_until(bench.now + 0.1)       # prune's waiting, which the reference does inside the step
        if "rebroadcast" in step:
            assert again is step["rebroadcast"], where
        assert bench.told() == step["events"], where
        assert state(bench) == step["state"], where


def test_a_time_that_would_wrap_the_clock_is_refused_and_the_next_event_is_heard():
    """In the reference its first step takes the event clock to 0 (spec serf 18.3)."""
    steps = next(s["steps"] for s in load("membership.json")["scenarios"] if s["name"] == HOLE)
    bench = SerfBench()
    before = state(bench)
    assert steps[0]["state"]["event_clock"] == 0
    with pytest.raises(WireError):
        apply(bench, steps[0]["op"])
    assert bench.told() == [] and state(bench) == before
    assert apply(bench, steps[1]["op"]) is True and bench.told() == steps[1]["events"]
    assert state(bench) == steps[1]["state"]


def apply(bench: SerfBench, op: dict[str, Any]) -> bool | None:
    match op:
        case {"memberlist": "join", "node": name}:
            bench.joins(name)
        case {"memberlist": "leave", "node": name}:
            bench.leaves(name)
        case {"memberlist": "update", "node": name}:
            bench.updates(name, {"new": "tag"})
        case {"message": "join"}:
            return bench.hears(encode_join(JoinIntent(op["ltime"], op["node"])))
        case {"message": "leave"}:
            return bench.hears(encode_leave(LeaveIntent(op["ltime"], op["node"], op["prune"])))
        case {"message": "userEvent"}:
            event = UserEventMessage(op["ltime"], op["name"], op["payload"].encode() or None, op["cc"])
            return bench.hears(encode_user_event(event))
        case {"message": "query"}:
            filters = [bytes.fromhex(one) for one in op["filters_hex"]]
            return bench.hears(encode_query(QueryMessage(
                op["ltime"], op["id"], bytes([127, 0, 47, 9]), 7946, "asker", op["name"], None, 10**9, filters,
                op["flags"])))
        case {"reap_after": age}:
            roster = bench.serf.roster
            for member in (*roster.failed.values(), *roster.left.values()):
                member.since = bench.now - seconds(age)
            for _, intent in roster.intents:
                intent.written = bench.now - seconds(age)
            roster.reap(bench.now, bench.out)
        case {"hex": state}:
            bench.serf.actions.ignoring_old = int(op["ignore_old"])
            bench.serf.merge_remote_state(bytes.fromhex(state), op["join"], bench.now, bench.out)
        case _:
            raise AssertionError(op)
    return None


def seconds(age: str) -> float:
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", age))


def state(bench: SerfBench) -> dict[str, Any]:
    serf = bench.serf
    roster = serf.roster
    return {
        "clock": serf.clocks.member.time,
        "event_clock": serf.clocks.event.time,
        "query_clock": serf.clocks.query.time,
        "event_min": serf.events.minimum,
        "query_min": serf.answers.minimum,
        "members": {name: [bench.status(name), member.ltime] for name, member in roster.table.items()},
        "failed": list(roster.failed),
        "left": list(roster.left),
        "recent_intents": {name: ["leave" if i.leave else "join", i.ltime] for name, i in roster.intents},
        "intent_queue": sum(queue is serf.queues()[0] and source is None for queue, _, source in bench.lower.queued),
    }
