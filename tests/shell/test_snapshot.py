"""The snapshot's file under a running daemon. In real time: threads do the writing."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from gossipd.daemon import files
from gossipd.daemon import snapshot as module
from gossipd.daemon.files import LineFile
from gossipd.daemon.rpcsocket import bind_rpc_unix
from gossipd.daemon.snapshot import RECORDS_MAX, Recorder, read_snapshot, run_snapshot, snapshot_path
from gossipd.errors import GossipdError
from gossipd.events import MEMBER_JOIN
from gossipd.serf.config import SerfConfig
from gossipd.serf.snapshot import Restored, Snapshot, replay
from tests.support.disks import small_disk
from tests.support.virtual import in_real_time, until

QUICK = SerfConfig(snapshot_flush_s=0.01, snapshot_clock_s=0.01, snapshot_recovery_s=0.02)
NEVER = SerfConfig(snapshot_flush_s=3600.0, snapshot_clock_s=3600.0)


class AFile(LineFile):
    """Fails as told; may hang until told otherwise."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.append_error: OSError | None = None
        self.replace_error: OSError | None = None
        self.syncs = 0
        self.calls: list[str] = []
        self.gate, self.replace_gate = threading.Event(), threading.Event()
        self.gate.set()
        self.replace_gate.set()

    def append(self, lines: bytes) -> None:
        self.gate.wait(10.0)
        self.calls.append("append")
        if self.append_error is not None:
            raise self.append_error
        super().append(lines)

    def replace(self, text: bytes) -> None:
        self.gate.wait(10.0)
        self.replace_gate.wait(10.0)
        self.calls.append("replace")
        if self.replace_error is not None:
            raise self.replace_error
        super().replace(text)

    def sync(self) -> None:
        self.syncs += 1
        super().sync()


class Daemon:
    """What the recorder sees of a daemon: a snapshot machine, a clock, counters, an end."""

    def __init__(self, tmp_path: Path, config: SerfConfig = QUICK, compact_bytes: int = 1 << 20) -> None:
        self.file = AFile(tmp_path / "snapshot")
        self.snapshot = Snapshot(replay(b"".join(self.file.read())), compact_bytes, False)
        self.clock = 0
        self.counters: dict[str, int] = {}
        self.ending = trio.Event()
        self.recorder = Recorder(self.file, self.snapshot, lambda: self.snapshot.clock(self.clock), self._count, config)

    def _count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1

    def joins(self, name: str) -> None:
        self.recorder.record(self.snapshot.member(MEMBER_JOIN, name, ("10.0.0.1", 7946)))

    def text(self) -> str:
        path = Path(self.file.path)
        return path.read_text() if path.exists() else ""

    def known(self) -> list[str]:
        """Names that a restart would find."""
        return list(replay(self.text().encode()).alive)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ended as the daemon ends: by being cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_snapshot, self.recorder, self.ending)
            yield
            nursery.cancel_scope.cancel()


LONG_NAMES = ["a" * 300, "b" * 300, "c" * 300]      # whose lines are longer than what the peers are worth
NO_SPACE = OSError(28, "No space left on device")
READ_ONLY = OSError(30, "Read-only file system")


# reading

def test_a_file_is_read_and_its_oddities_are_told(tmp_path, caplog):
    (tmp_path / "s").write_bytes(b"alive: a 10.0.0.1:7946\n\x00\x00\nclock: 7\nclock: 8")
    with caplog.at_level(logging.INFO):
        restored = read_snapshot(LineFile(str(tmp_path / "s")), False)
    assert (restored.alive, restored.clock) == ({"a": "10.0.0.1:7946"}, 7)
    assert "unrecognized" in caplog.text and "unfinished" in caplog.text and "restored path=" in caplog.text


def test_of_many_oddities_the_first_are_told(tmp_path, caplog):
    (tmp_path / "s").write_bytes(b"?\n" * 1000)
    read_snapshot(LineFile(str(tmp_path / "s")), False)
    assert len(caplog.records) == 11 and "990 more" in caplog.text


def test_a_missing_file_is_an_empty_one_and_an_unreadable_one_ends_the_start(tmp_path):
    assert read_snapshot(LineFile(str(tmp_path / "s")), False) == Restored()
    with pytest.raises(GossipdError, match=str(tmp_path)):
        read_snapshot(LineFile(str(tmp_path)), False)


def test_no_more_members_are_remembered_than_the_table_holds(tmp_path, caplog):
    (tmp_path / "s").write_bytes(b"".join(b"alive: n%d 10.0.0.1:1\n" % number for number in range(50)))
    restored = read_snapshot(LineFile(str(tmp_path / "s")), False, members_max=20)
    assert len(restored.alive) == 20 and "30 lines left out" in caplog.text


def test_of_a_file_that_is_too_long_the_end_is_read_and_the_log_says_so(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(files, "READ_BYTES_MAX", 2 << 20)
    (tmp_path / "s").write_bytes(b"alive: old 10.0.0.1:1\n" + b"clock: 123456789\n" * 200000 + b"alive: a 10.0.0.1:1\n")
    restored = read_snapshot(LineFile(str(tmp_path / "s")), False)
    assert list(restored.alive) == ["a"] and restored.clock == 123456789
    assert "the first 1 MiB were not read" in caplog.text


def test_in_a_directory_that_was_deleted_relative_paths_are_no_traceback(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert read_snapshot(LineFile("s"), False) == Restored()    # that it cannot be written, the log will say
    with pytest.raises(GossipdError, match="No such file"):
        bind_rpc_unix("s")


def test_a_service_has_its_snapshot_in_the_state_directory_and_others_have_none(monkeypatch):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert (snapshot_path(""), snapshot_path("/x")) == ("", "/x")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/gossipd:/var/lib/other")
    assert (snapshot_path(""), snapshot_path("/x")) == ("/var/lib/gossipd/snapshot", "/x")


# writing

@in_real_time
async def test_lines_are_written_soon_without_anything_else_happening(tmp_path):
    daemon = Daemon(tmp_path)
    async with daemon.running():
        daemon.joins("a")
        await until(lambda: daemon.text() == "alive: a 10.0.0.1:7946\n")
        daemon.joins("b")
        await until(lambda: daemon.known() == ["a", "b"])


@in_real_time
async def test_what_comes_close_together_is_written_at_once(tmp_path):
    daemon = Daemon(tmp_path)
    async with daemon.running():
        for number in range(100):
            daemon.joins(f"n{number}")
        await until(lambda: len(daemon.known()) == 100)
        assert daemon.file.calls == ["append"]


@in_real_time
async def test_the_clock_is_written_when_it_moved(tmp_path):
    daemon = Daemon(tmp_path)
    async with daemon.running():
        daemon.clock = 8
        await until(lambda: daemon.text() == "clock: 7\n")
        await trio.sleep(0.05)
        assert daemon.file.calls == ["append"]


@in_real_time
async def test_a_leave_goes_to_the_disk_at_once(tmp_path):
    daemon = Daemon(tmp_path, NEVER)
    async with daemon.running():
        daemon.recorder.record(daemon.snapshot.leave())
        daemon.ending.set()
        await until(lambda: daemon.file.syncs)
        assert daemon.text() == "leave\n"


@in_real_time
async def test_what_comes_after_the_leave_is_still_written(tmp_path):
    daemon = Daemon(tmp_path)
    async with daemon.running():
        daemon.ending.set()
        await until(lambda: daemon.file.syncs)
        daemon.clock = 5
        await until(lambda: daemon.text() == "clock: 4\n")


@in_real_time
async def test_at_the_end_the_last_lines_and_the_clock_go_to_the_disk(tmp_path):
    daemon = Daemon(tmp_path, NEVER)
    async with daemon.running():
        await trio.testing.wait_all_tasks_blocked()
        daemon.joins("a")
        daemon.clock = 4
    assert daemon.text() == "alive: a 10.0.0.1:7946\nclock: 3\n" and daemon.file.syncs == 1


@in_real_time
async def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.02)
    daemon = Daemon(tmp_path)
    async with daemon.running():
        daemon.file.gate.clear()
        daemon.joins("a")
        await trio.sleep(0.03)
    assert "the disk takes too long" in caplog.text
    daemon.file.gate.set()


@in_real_time
async def test_nobody_waits_for_a_disk_that_hangs_and_the_file_is_made_anew_afterwards(tmp_path):
    daemon = Daemon(tmp_path)
    async with daemon.running():
        daemon.file.gate.clear()
        for number in range(RECORDS_MAX + 100):
            daemon.joins(f"n{number}")
        assert daemon.counters == {"snapshot lines dropped": 100}
        daemon.file.gate.set()
        await until(lambda: len(daemon.known()) == RECORDS_MAX + 100)
        assert "replace" in daemon.file.calls


# compaction

@in_real_time
async def test_a_file_that_grew_is_compacted_and_goes_on(tmp_path):
    daemon = Daemon(tmp_path, compact_bytes=1000)
    async with daemon.running():
        for round in range(1, 61):
            daemon.joins("a")
            daemon.clock = round
            if round % 20 == 0:
                await until(lambda round=round: replay(daemon.text().encode()).clock == round - 1)
        await until(lambda: len(daemon.text()) < 100)
        assert "replace" in daemon.file.calls and daemon.known() == ["a"]
        assert sorted(os.listdir(tmp_path)) == ["snapshot"]


@in_real_time
async def test_lines_that_come_during_a_compaction_follow_it(tmp_path):
    a, b, c = LONG_NAMES
    daemon = Daemon(tmp_path, compact_bytes=0)
    async with daemon.running():
        daemon.joins(a)
        await until(lambda: daemon.file.calls == ["append", "replace"])
        daemon.file.gate.clear()
        daemon.joins(b)
        await trio.sleep(0.03)
        daemon.joins(c)
        daemon.file.gate.set()
        await until(lambda: daemon.known() == [a, b, c])


@in_real_time
async def test_where_nothing_can_be_compacted_the_file_grows_and_the_log_says_so_once(tmp_path, caplog):
    daemon = Daemon(tmp_path, compact_bytes=0)
    daemon.file.replace_error = READ_ONLY
    async with daemon.running():
        for name in LONG_NAMES:
            daemon.joins(name)
            await until(lambda name=name: name in daemon.known())
            await trio.sleep(0.05)
        assert daemon.file.calls.count("replace") > 1
        assert [record.getMessage() for record in caplog.records] == [
            f"cannot rewrite {daemon.file.path}: Read-only file system; it goes on growing"]
        daemon.file.replace_error = None
        await until(lambda: "event-clock: 0" in daemon.text())
        assert daemon.known() == LONG_NAMES


@in_real_time
async def test_what_is_dropped_during_a_compaction_is_brought_back_by_the_next(tmp_path):
    daemon = Daemon(tmp_path, compact_bytes=0)
    async with daemon.running():
        daemon.joins("a" * 300)
        await until(lambda: daemon.file.calls == ["append", "replace"])
        daemon.joins("b" * 300)
        daemon.file.replace_gate.clear()
        await until(lambda: daemon.file.calls[2:] == ["append"])
        await trio.sleep(0.02)
        for number in range(RECORDS_MAX + 100):
            daemon.joins(f"n{number}")
        assert daemon.counters == {"snapshot lines dropped": 100}
        daemon.file.replace_gate.set()
        await until(lambda: len(daemon.known()) == RECORDS_MAX + 102)


@in_real_time
async def test_work_given_up_before_it_began_does_not_come_after_later_work(tmp_path):
    daemon = Daemon(tmp_path)
    recorder = daemon.recorder
    with recorder._in_use:      # by a thread that hangs
        with trio.move_on_after(0.02):
            await recorder._in_thread(daemon.file.replace, b"alive: old 10.0.0.1:7946\n")
        async with trio.open_nursery() as nursery:
            daemon.joins("late")
            nursery.start_soon(recorder.flush)
            await trio.sleep(0.02)
            recorder._in_use.release()
        recorder._in_use.acquire()
    assert daemon.file.calls == ["append"] and daemon.known() == ["late"]


@in_real_time
async def test_a_compaction_that_failed_just_now_is_tried_once_more_at_the_end(tmp_path):
    daemon = Daemon(tmp_path, SerfConfig(snapshot_flush_s=0.01, snapshot_clock_s=3600.0, snapshot_recovery_s=3600.0))
    async with daemon.running():
        daemon.file.replace_error = READ_ONLY
        for number in range(RECORDS_MAX + 100):
            daemon.joins(f"n{number}")
        await until(lambda: "replace" in daemon.file.calls)
        daemon.file.replace_error = None
    assert len(daemon.known()) == RECORDS_MAX + 100


@in_real_time
async def test_a_file_far_longer_than_what_it_says_is_compacted_as_soon_as_something_happens(tmp_path):
    (tmp_path / "snapshot").write_bytes(b"alive: b 10.0.0.2:1\n" + b"clock: 7\n" * 200000)
    daemon = Daemon(tmp_path)
    async with daemon.running():
        daemon.joins("a")
        await until(lambda: len(daemon.text()) < 200)
        assert daemon.known() == ["b", "a"]


@in_real_time
async def test_the_file_is_free_for_others_at_the_end_and_not_before(tmp_path):
    daemon = Daemon(tmp_path)
    async with daemon.running():
        with pytest.raises(GossipdError, match=f"{daemon.file.path}: in use by another process"):
            read_snapshot(LineFile(daemon.file.path), False)
    assert read_snapshot(LineFile(daemon.file.path), False).warnings == []


# trouble

@in_real_time
async def test_on_a_full_disk_it_runs_on_says_so_once_and_recovers_with_everything(tmp_path, caplog):
    daemon = Daemon(tmp_path)
    async with daemon.running():
        daemon.joins("a")
        await until(lambda: daemon.known() == ["a"])
        daemon.file.append_error = daemon.file.replace_error = NO_SPACE
        for name in ("b", "c", "d"):
            daemon.joins(name)
            await trio.sleep(0.03)
        assert daemon.known() == ["a"] and daemon.counters == {"snapshot failures": 1}
        assert [record.getMessage() for record in caplog.records] == [
            f"cannot write {daemon.file.path}: No space left on device; running on, trying again every 0.0 s"]
        daemon.file.append_error = daemon.file.replace_error = None
        with caplog.at_level(logging.INFO):
            await until(lambda: daemon.known() == ["a", "b", "c", "d"])
            await until(lambda: "is written again" in caplog.text)


@in_real_time
async def test_a_compaction_repairs_what_an_append_cannot(tmp_path):
    daemon = Daemon(tmp_path)
    async with daemon.running():
        daemon.joins("a")
        await until(lambda: daemon.known() == ["a"])
        os.unlink(daemon.file.path)
        daemon.joins("b")
        await until(lambda: daemon.known() == ["a", "b"])
        daemon.joins("c")
        await until(lambda: daemon.known() == ["a", "b", "c"])


@in_real_time
async def test_a_file_that_was_removed_is_made_anew_with_everything_even_if_that_fails_at_first(tmp_path, caplog):
    daemon = Daemon(tmp_path)
    async with daemon.running():
        daemon.joins("a")
        await until(lambda: daemon.known() == ["a"])
        daemon.file.replace_error = NO_SPACE
        os.unlink(daemon.file.path)
        daemon.joins("b")
        await until(lambda: "removed or replaced" in caplog.text)
        daemon.file.replace_error = None
        await until(lambda: daemon.known() == ["a", "b"])


@in_real_time
async def test_after_more_trouble_than_fits_the_queue_the_file_is_complete_again(tmp_path):
    daemon = Daemon(tmp_path)
    daemon.file.append_error = daemon.file.replace_error = NO_SPACE
    async with daemon.running():
        for number in range(RECORDS_MAX + 100):
            daemon.joins(f"n{number}")
        await trio.sleep(0.05)
        daemon.file.replace_error = None
        await until(lambda: len(daemon.known()) == RECORDS_MAX + 100)


@in_real_time
async def test_a_disk_that_is_really_full_and_then_read_only(tmp_path, caplog):
    with small_disk(tmp_path / "disk") as disk:
        daemon = Daemon(disk.path)
        async with daemon.running():
            daemon.joins("a")
            await until(lambda: daemon.known() == ["a"])
            disk.fill()
            for number in range(300):
                daemon.joins(f"{number:0100}")
            await until(lambda: "No space left" in caplog.text)
            assert daemon.text().endswith("\n")
            disk.free()
            await until(lambda: len(daemon.known()) == 301)


@in_real_time
async def test_a_file_system_that_is_read_only_at_the_start_is_told_and_used_once_it_is_not(tmp_path, caplog):
    with small_disk(tmp_path / "disk") as disk:
        disk.read_only(True)
        daemon = Daemon(disk.path)
        async with daemon.running():
            daemon.joins("a")
            await until(lambda: "Read-only file system" in caplog.text)
            await trio.sleep(0.05)
            assert len(caplog.records) == 1
            disk.read_only(False)
            await until(lambda: daemon.known() == ["a"])
