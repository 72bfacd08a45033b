from __future__ import annotations

import gc
import threading
import weakref

import pytest

from gossipd.daemon.fanout import SHARED_FROM, Fanout
from tests.shell.test_rpc import a_daemon
from tests.support.virtual import in_real_time

COUNT = 2 * SHARED_FROM
EVENTS = 80             # of one member, of two, ...: together more than a socket holds


class Sink:
    """A socket's `send` that takes so much, or fails."""

    def __init__(self, takes: int = 100, fails: OSError | None = None) -> None:
        self.takes, self.fails = takes, fails
        self.got: list[bytes] = []

    def send(self, data: bytes) -> int:
        if self.fails is not None:
            raise self.fails
        self.got.append(data[:self.takes])
        return min(self.takes, len(data))


def write(fanout: Fanout[int], sinks: list[Sink]) -> dict[int, bytes]:
    return dict(fanout.write([(at, sink.send, b"record %d" % at) for at, sink in enumerate(sinks)]))


@pytest.mark.parametrize("count", [0, 1, SHARED_FROM - 1, SHARED_FROM, COUNT])
def test_everybody_gets_his_bytes_once(count):
    sinks = [Sink() for _ in range(count)]
    assert write(Fanout(), sinks) == {}
    assert [sink.got for sink in sinks] == [[b"record %d" % at] for at in range(count)]


@pytest.mark.parametrize("count", [5, COUNT])
def test_what_one_does_not_take_is_left_and_the_others_do_not_notice(count):
    sinks = [Sink() for _ in range(count)]
    sinks[1] = Sink(takes=3)
    sinks[2] = Sink(fails=BlockingIOError())
    sinks[3] = Sink(fails=ConnectionResetError())
    assert write(Fanout(), sinks) == {1: b"ord 1", 2: b"record 2", 3: b"record 3"}
    assert all(sink.got == [b"record %d" % at] for at, sink in enumerate(sinks) if at not in (1, 2, 3))


def test_two_threads_share_many_writes_and_the_call_returns_after_both():
    """Each of two writes waits for the other: one thread alone would never end."""
    both, by = threading.Barrier(2, timeout=10), set()

    def meet(data: bytes) -> int:
        by.add(threading.get_ident())
        both.wait()
        return len(data)

    others = [(None, Sink().send, b"x")] * SHARED_FROM
    assert Fanout[None]().write([(None, meet, b"x"), (None, meet, b"x"), *others]) == []
    assert len(by) == 2


def test_few_writes_start_no_thread():
    before = threading.active_count()
    write(Fanout(), [Sink() for _ in range(SHARED_FROM - 1)])
    assert threading.active_count() == before


def test_where_no_thread_can_be_started_one_writes_all_and_nothing_is_kept_for_it(monkeypatch):
    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    fanout = Fanout[Sink]()
    sinks = [Sink(takes=4) for _ in range(COUNT)]
    left = fanout.write([(sink, sink.send, b"record") for sink in sinks])
    assert left == [(sink, b"rd") for sink in sinks] and all(sink.got == [b"reco"] for sink in sinks)
    kept = [weakref.ref(sink) for sink in sinks]
    del left, sinks
    gc.collect()
    assert not any(sink() for sink in kept)


@in_real_time
async def test_one_client_that_does_not_read_and_one_that_is_gone_cost_the_others_nothing(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        callers = [await daemon.caller() for _ in range(COUNT)]
        for caller in callers:
            assert (await caller.ask("stream", {"Type": "member-join"}))["Error"] == ""
        deaf, gone, *readers = callers
        for members in range(1, EVENTS):
            daemon.happen(members)
            if members == EVENTS // 2:
                await gone.stream.aclose()
            for caller in readers:
                await caller.read()
                assert len((await caller.read())["Members"]) == members
        for members in range(1, EVENTS):
            await deaf.read()
            assert len((await deaf.read())["Members"]) == members
