"""Snapshots of real daemons: clusters that come back by themselves, disks that cannot be written."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gossipd.serf.snapshot import Restored, replay
from tests.support.disks import small_disk
from tests.support.processes import Gossipd, Lab, alive, wait_until, wait_until_all_see

TOGETHER_S = 20.0
FAIL_S = 30.0
WRITTEN_S = 5.0
HUGE_START_S = 10.0         # 2 s on an idle machine: 200 MB
HUGE_MEMORY_KB = 100_000


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def a_gossipd(lab: Lab, name: str, path: Path | None = None, **settings: Any) -> Gossipd:
    path = path or snapshot_of(lab, name)
    return lab.gossipd(name, settings={"snapshot": {"path": str(path), **settings}, "network": {"profile": "local"}})


def snapshot_of(lab: Lab, name: str) -> Path:
    return lab.directory / f"{name}.snapshot"


def remembered(path: Path) -> Restored:
    return replay(path.read_bytes() if path.exists() else b"")


def three(lab: Lab, **settings: Any) -> list[Gossipd]:
    """Together, and each has it in its snapshot."""
    agents = [a_gossipd(lab, name, **settings) for name in ("a", "b", "c")]
    agents[0].start()
    for agent in agents[1:]:
        agent.start([agents[0].gossip])
    wait_until_all_see(agents, alive(agents), TOGETHER_S)
    for agent in agents:
        wait_until(lambda agent=agent: set(remembered(snapshot_of(lab, agent.name)).alive) == {"a", "b", "c"},
                   f"{agent} has all in its snapshot", WRITTEN_S)
    return agents


def test_three_that_were_killed_at_once_find_each_other_without_being_told_where(lab):
    agents = three(lab)
    for agent in agents:
        agent.signal(signal.SIGKILL)
    for agent in agents:
        agent.wait_for_end(5.0)
    lab.start(*agents)
    wait_until_all_see(agents, alive(agents), TOGETHER_S)


def test_three_that_were_killed_one_after_the_other_find_each_other_from_the_last_ones_memory_too(lab):
    """When the last one dies, it knows the others as failed only."""
    a, b, c = agents = three(lab)
    for gone in (a, b):
        gone.kill()
        wait_until(lambda gone=gone: c.statuses()[gone.name] == "failed", f"c sees {gone} as failed", FAIL_S)
    text = snapshot_of(lab, "c")
    wait_until(lambda: set(remembered(text).failed) == {"a", "b"}, "c remembers them as failed", WRITTEN_S)
    c.kill()
    for forgetful in ("a", "b"):
        snapshot_of(lab, forgetful).unlink()
    lab.start(*agents)
    wait_until_all_see(agents, alive(agents), TOGETHER_S)


def test_one_that_is_there_long_before_the_others_keeps_looking(lab):
    a, b, c = agents = three(lab)
    for agent in agents:
        agent.kill()
    for forgetful in ("b", "c"):
        snapshot_of(lab, forgetful).unlink()
    a.start()
    wait_until(lambda: "Failed to re-join" in a.log_text(), "a has tried in vain", TOGETHER_S)
    lab.start(b, c)
    wait_until_all_see(agents, alive(agents), TOGETHER_S)


def test_whoever_left_does_not_come_back_by_itself_unless_it_is_told_to(lab):
    a, b, c = three(lab, rejoin_after_leave=False)
    c.signal(signal.SIGINT)
    assert c.wait_for_end(10.0) == 0
    assert "\nleave\n" in snapshot_of(lab, "c").read_text()
    c.start()
    assert c.statuses() == {"c": "alive"}
    c.signal(signal.SIGINT)
    c.wait_for_end(10.0)

    b.signal(signal.SIGINT)
    b.wait_for_end(10.0)
    b.config.write_text(b.config.read_text().replace("rejoin_after_leave = false", "rejoin_after_leave = true"))
    b.start()
    wait_until(lambda: b.statuses() == {"a": "alive", "b": "alive"}, "b is back with a", TOGETHER_S)
    assert c.process is not None and not c.running


def test_the_clocks_go_on_where_they_were(lab):
    a, b, _ = three(lab)
    path = snapshot_of(lab, "a")
    text = path.read_text()
    assert replay(text.encode()).event_clock == 0
    with path.open("a") as file:
        file.write("event-clock: 41\nquery-clock: 42\n")
    a.kill()
    a.start()
    wait_until_all_see([a, b], alive([a, b, lab.agents["c"]]), TOGETHER_S)
    with a.client() as client:
        times = client.stats()["serf"]
    assert (times["event_time"], times["query_time"]) == ("42", "43")


@pytest.mark.parametrize("end", ["", "\x00" * 100, "alive: zed 127.0.0.1:79", "clock: 99999"],
                         ids=["whole", "NUL bytes", "half an address", "half a number"])
def test_a_file_with_a_damaged_end_is_no_obstacle_and_no_lie(lab, end):
    path = snapshot_of(lab, "a")
    path.write_text("alive: b 127.0.0.1:9\nclock: 7\n" + end)
    a = a_gossipd(lab, "a")
    a.start()
    wait_until(lambda: "a" in remembered(path).alive, "it is in its snapshot", WRITTEN_S)
    a.kill()
    restored = remembered(path)
    assert set(restored.alive) == {"a", "b"} and restored.clock < 100 and restored.warnings == []


def test_a_snapshot_that_cannot_be_read_ends_the_start_with_a_sentence(lab):
    path = snapshot_of(lab, "a")
    path.mkdir()
    a = a_gossipd(lab, "a")
    a.launch()
    assert a.wait_for_end(10.0) == 1
    assert a.log_text() == f"gossipd: {path}: Is a directory\n"


def test_a_second_daemon_on_the_same_snapshot_is_told_who_has_it_also_after_a_compaction(lab):
    path = snapshot_of(lab, "a")
    path.write_text("alive: zed 127.0.0.1:9\n" + "clock: 7\n" * 100000)
    a, b = a_gossipd(lab, "a"), a_gossipd(lab, "b", path)
    a.start()
    wait_until(lambda: path.stat().st_size < 1000, "the file is compacted", WRITTEN_S)
    b.launch()
    assert b.wait_for_end(10.0) == 1
    assert a.process is not None
    assert b.log_text() == f"gossipd: {path}: in use by another process (pid {a.process.pid})\n"
    a.kill()
    b.start()


def test_a_huge_snapshot_is_no_long_wait_and_is_soon_a_short_one(lab):
    path = snapshot_of(lab, "a")
    with path.open("wb") as file:
        for number in range(1_000_000):
            file.write(b"alive: %080d 127.0.0.1:9\nnot-alive: %080d\n" % (number, number))
    a = a_gossipd(lab, "a")
    began = time.monotonic()
    a.start()
    assert time.monotonic() - began < HUGE_START_S
    wait_until(lambda: path.stat().st_size < 1000, "the file is compacted", WRITTEN_S)
    assert a.process is not None and "VmHWM:" in (status := Path(f"/proc/{a.process.pid}/status").read_text())
    assert int(status.partition("VmHWM:")[2].split()[0]) < HUGE_MEMORY_KB


@pytest.mark.parametrize(("why", "spoil", "mend"), [
    ("No space left on device", lambda disk: disk.fill(), lambda disk: disk.free()),
    ("Read-only file system", lambda disk: disk.read_only(True), lambda disk: disk.read_only(False)),
], ids=["full", "read-only"])
def test_a_disk_that_cannot_be_written_is_told_once_and_used_again_when_it_can(lab, why, spoil, mend):
    with small_disk(lab.directory / "disk") as disk:
        path = disk.path / "snapshot"
        a, b = a_gossipd(lab, "a", path, recovery_interval="100ms", flush_interval="50ms"), a_gossipd(lab, "b")
        spoil(disk)
        a.start()
        wait_until(lambda: f"{why}; running on" in a.log_text(), "it says so", WRITTEN_S)
        b.start([a.gossip])
        wait_until_all_see([a, b], alive([a, b]), TOGETHER_S)
        with a.client() as client:
            assert client.stats()["gossipd"]["snapshot failures"] == "1"
        mend(disk)
        wait_until(lambda: "is written again" in a.log_text(), "it says so", WRITTEN_S)
        assert set(remembered(path).alive) == {"a", "b"}
        assert a.log_text().count("cannot") == 1
