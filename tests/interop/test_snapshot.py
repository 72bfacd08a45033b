"""A Serf agent's snapshot is taken over by gossipd, and given back."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossipd.serf.snapshot import Restored, replay
from tests.support.processes import Agent, Gossipd, Lab, Serf, alive, wait_until, wait_until_all_see
from tests.support.require import need_serf

JOIN_S = 15.0
FAIL_S = 45.0
WRITTEN_S = 10.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(need_serf("snapshots between gossipd and Serf")) as lab:
        yield lab


def the_file(lab: Lab) -> Path:
    return lab.directory / "snapshot"


def as_serf(lab: Lab, host: str = "") -> Serf:
    return lab.serf("x", host, options=[f"-snapshot={the_file(lab)}"])


def as_gossipd(lab: Lab, host: str = "") -> Gossipd:
    return lab.gossipd("x", host, settings={"snapshot": {"path": str(the_file(lab))}})


def remembered(lab: Lab) -> Restored:
    return replay(the_file(lab).read_bytes() if the_file(lab).exists() else b"")


def send_events(lab: Lab, through: Serf, count: int) -> None:
    for number in range(count):
        subprocess.run([through.program, "event", f"-rpc-addr={through.rpc}", f"deploy-{number}"], check=True,
                       capture_output=True)


def until_written(lab: Lab, names: set[str], events: int) -> None:
    def written() -> bool:
        restored = remembered(lab)
        return set(restored.alive) == names and restored.event_clock >= events

    wait_until(written, lambda: f"{names} and {events} events in the file, which has {remembered(lab)}", WRITTEN_S)


def clocks(agent: Agent) -> dict[str, int]:
    with agent.client() as client:
        stats = client.stats()["serf"]
    return {name: int(stats[name]) for name in ("member_time", "event_time", "query_time")}


@pytest.mark.parametrize("first", [as_serf, as_gossipd], ids=["serf first", "gossipd first"])
def test_a_snapshot_is_taken_over_and_given_back(lab, first):
    """x changes its kind twice and never is told where the others are."""
    g, s = lab.gossipd("g"), lab.serf("s")
    x: Agent = first(lab)
    lab.start(g, s, x)
    g.join(s.gossip)
    x.join(g.gossip)
    wait_until_all_see([g, s, x], alive([g, s, x]), JOIN_S)
    send_events(lab, s, 3)
    for kind in (as_gossipd if first is as_serf else as_serf, first):
        wait_until(lambda x=x: clocks(x)["event_time"] >= 4, "x has heard the events", WRITTEN_S)
        before = clocks(x)
        x.signal(signal.SIGTERM)        # Serf writes what it holds back
        x.wait_for_end(10.0)
        until_written(lab, {"g", "s", "x"}, 3)
        assert remembered(lab).warnings == []
        x = kind(lab, x.host)
        x.start()
        wait_until_all_see([g, s, x], alive([g, s, x]), JOIN_S)
        after = clocks(x)
        assert all(after[name] >= before[name] for name in before), (before, after)
        assert "nrecognized" not in x.log_text()


def test_serf_skips_what_only_gossipd_writes(lab):
    """Failed members: gossipd remembers them in lines that Serf takes for comments."""
    g, s, x = lab.gossipd("g"), lab.serf("s"), as_gossipd(lab)
    lab.start(g, s, x)
    g.join(s.gossip)
    x.join(g.gossip)
    wait_until_all_see([g, s, x], alive([g, s, x]), JOIN_S)
    s.kill()
    wait_until(lambda: set(remembered(lab).failed) == {"s"}, "s is remembered as failed", FAIL_S)
    x.kill()
    assert "\n# failed: s " in the_file(lab).read_text()
    x = as_serf(lab, x.host)
    x.start()
    wait_until(lambda: x.statuses().get("g") == "alive", "x has found g", JOIN_S)
    assert "previously known node: g" in x.log_text() and "previously known node: s" not in x.log_text()
    assert "nrecognized" not in x.log_text()


def test_after_a_leave_neither_kind_rejoins_by_the_others_snapshot(lab):
    g = lab.gossipd("g")
    g.start()
    for writer, reader in ((as_serf, as_gossipd), (as_gossipd, as_serf)):
        the_file(lab).unlink(missing_ok=True)
        x: Agent = writer(lab)
        x.start([g.gossip])
        wait_until(lambda x=x: x.statuses().get("g") == "alive", "they meet", JOIN_S)
        x.signal(signal.SIGINT)
        assert x.wait_for_end(10.0) == 0
        assert remembered(lab).alive == {} and "\nleave\n" in the_file(lab).read_text()
        x = reader(lab, x.host)
        x.start()
        wait_until(lambda: remembered(lab).alive.keys() == {"x"}, "it has begun anew", WRITTEN_S)
        assert x.statuses() == {"x": "alive"}
        x.kill()
