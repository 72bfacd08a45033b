"""The snapshot's file: read before the network starts, kept by a subsystem that nobody ever waits for."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

import trio

from gossipd.daemon.engine import Engine
from gossipd.daemon.files import LineFile
from gossipd.daemon.threads import in_thread
from gossipd.serf.config import SerfConfig
from gossipd.serf.snapshot import MEMBERS_MAX, Replay, Restored, Snapshot

RECORDS_MAX = 2048          # waiting to be written; further ones are dropped, and the file is written anew
LAST_WORDS_S = 1.0          # how long the end of the daemon waits for the disk
FILE_NAME = "snapshot"      # in the state directory

log = logging.getLogger("gossipd.snapshot")


def snapshot_path(configured: str) -> str:
    """Where the snapshot is, "" for nowhere: as configured, else in the directory that systemd gives a service."""
    directory = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return configured or (os.path.join(directory, FILE_NAME) if directory else "")


def read_snapshot(file: LineFile, rejoin_after_leave: bool, members_max: int = MEMBERS_MAX) -> Restored:
    """Raises GossipdError if the file is there and cannot be read, or belongs to another daemon."""
    replay = Replay(rejoin_after_leave, members_max)
    for piece in file.read():
        replay.feed(piece)
    restored = replay.end()
    if file.skipped:
        log.warning("%s: is very long, the first %d MiB were not read", file.path, file.skipped >> 20)
    for warning in restored.warnings:
        log.warning("%s: %s", file.path, warning)
    if restored.warnings_count > len(restored.warnings):
        log.warning("%s: %d more lines like these", file.path, restored.warnings_count - len(restored.warnings))
    if not restored.ends_in_newline:
        log.warning("%s: the last line is unfinished and does not count", file.path)
    if file.size:
        log.info("restored path=%s members=%d failed=%d clock=%d event_clock=%d query_clock=%d", file.path,
                 len(restored.alive), len(restored.failed), restored.clock, restored.event_clock, restored.query_clock)
    return restored


async def run_snapshot(recorder: Recorder, ending: trio.Event) -> None:
    """Write until cancelled, then write what is left. When `ending` is set everything so far goes to the disk."""
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recorder.keep_writing)
            nursery.start_soon(recorder.keep_clock)
            await ending.wait()
            await recorder.flush(sync=True)
    finally:
        with trio.move_on_after(LAST_WORDS_S) as patience:
            patience.shield = True
            recorder.record_clock()
            await recorder.flush(sync=True)
        recorder.close()
        if patience.cancelled_caught:
            log.error("the disk takes too long, the last lines of %s may be lost", recorder.path)


class Recorder:
    """Lines wait here until the next write, at most so many. What the file lacks, the next compaction brings back."""

    def __init__(self, file: LineFile, snapshot: Snapshot, clock_lines: Callable[[], bytes],
                 count: Callable[[str], None], config: SerfConfig) -> None:
        self._file, self._snapshot, self._clock_lines = file, snapshot, clock_lines
        self._count, self._config = count, config
        self._waiting: deque[bytes] = deque()
        self._news = trio.Event()
        self._lock = trio.Lock()            # one task at a time looks after the file,
        self._in_use = threading.Lock()     # and one thread: a cancelled task leaves one behind
        self._incomplete = False            # lines were dropped: only a compaction helps
        self._unwritable = False            # the last write failed
        self._uncompactable = False         # the last compaction failed
        self._next_compaction = 0.0         # not before: seconds, trio's clock

    @property
    def path(self) -> str:
        return self._file.path

    def record(self, lines: bytes) -> None:
        if not lines:
            return
        if len(self._waiting) < RECORDS_MAX:
            self._waiting.append(lines)
        else:
            self._incomplete = True
            self._count("snapshot lines dropped")
        self._news.set()

    def record_clock(self) -> None:
        self.record(self._clock_lines())

    async def keep_clock(self) -> None:
        while True:
            await trio.sleep(self._config.snapshot_clock_s)
            self.record_clock()

    async def keep_writing(self) -> None:
        while True:
            await self._something_to_do()
            self._news = trio.Event()
            await self.flush()

    async def _something_to_do(self) -> None:
        config = self._config
        if self._unwritable:
            await trio.sleep(config.snapshot_recovery_s)
            return
        with trio.move_on_after(config.snapshot_recovery_s if self._uncompactable else inf):
            await self._news.wait()
        await trio.sleep(config.snapshot_flush_s)

    async def flush(self, sync: bool = False) -> None:
        """Write what waits; `sync`: down to the disk. A failure is logged, once, and tried again later."""
        async with self._lock:
            if self._waiting:
                await self._append()
            if self._wants_compaction() and (sync or trio.current_time() >= self._next_compaction):
                await self._compact()
            if sync and not self._unwritable:
                await self._try_to_sync()

    def _wants_compaction(self) -> bool:
        return self._incomplete or self._unwritable or self._snapshot.wants_compaction(self._file.size)

    async def _append(self) -> None:
        count = len(self._waiting)
        try:
            await self._in_thread(self._file.append, b"".join(self._waiting))
        except OSError as error:
            if not self._unwritable:
                log.error("cannot write %s: %s; running on, trying again every %.1f s", self.path, error.strerror,
                          self._config.snapshot_recovery_s)
                self._count("snapshot failures")
            self._unwritable = True
            self._incomplete |= isinstance(error, FileNotFoundError)    # the next append would begin a new file
            return
        self._written(count)

    async def _compact(self) -> None:
        count = len(self._waiting)
        lacking, self._incomplete = self._incomplete, False     # what is dropped from now on is not in the new file
        try:
            await self._in_thread(self._replace, self._snapshot.compaction())
            lacking = False
        except OSError as error:
            if not self._uncompactable and not self._unwritable:
                log.error("cannot rewrite %s: %s; it goes on growing", self.path, error.strerror)
            self._uncompactable = True
            self._next_compaction = trio.current_time() + self._config.snapshot_recovery_s
            return
        finally:
            self._incomplete |= lacking
        if self._uncompactable and not self._unwritable:
            log.info("%s was rewritten", self.path)
        self._uncompactable = False
        self._written(count)

    def _replace(self, compaction: Callable[[], bytes]) -> None:
        """In a thread: the lines of many members take a while."""
        self._file.replace(compaction())

    def _written(self, count: int) -> None:
        """The file now says what the first `count` of the waiting records say."""
        for _ in range(count):
            self._waiting.popleft()
        if self._unwritable:
            self._unwritable = False
            log.info("%s is written again", self.path)

    async def _try_to_sync(self) -> None:
        try:
            await self._in_thread(self._file.sync)
        except OSError as error:
            log.error("cannot write %s: %s", self.path, error.strerror)

    def close(self) -> None:
        """Let others have the file; unless a thread hangs in it: then the end of the process does that."""
        if self._in_use.acquire(blocking=False):
            self._file.close()
            self._in_use.release()

    async def _in_thread(self, work: Callable[..., None], *arguments: Any) -> None:
        """If this is cancelled, `work` is not begun any more: it would come after what is written later."""
        wanted = True

        def alone() -> None:
            with self._in_use:
                if wanted:
                    work(*arguments)

        try:
            await in_thread(alone)
        finally:
            wanted = False


def make_recorder(engine: Engine, file: LineFile) -> Recorder:
    """For an engine whose node was restored from `file`; from now on its records go there."""
    serf = engine.node.serf
    assert serf.snapshot is not None
    recorder = Recorder(file, serf.snapshot, serf.clock_lines, engine.count, engine.node.config.serf)
    engine.record_with(recorder.record)
    return recorder
