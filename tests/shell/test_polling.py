"""A client that asks over and over is polled for a moment, which takes no turn from anybody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from select import select

import msgpack
import pytest
import trio
import trio.testing

from gossipd.client import Client
from gossipd.daemon import polling
from gossipd.daemon.polling import PAUSE_REQUESTS, POLL_S, POLLS_MAX, SOON_S, Poll
from tests.shell.test_rpc import a_daemon
from tests.support.virtual import in_real_time

ASKS_MAX = 20_000


class Clock:
    """Moves on by `step` whenever it is looked at."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step, self.looks = 100.0, step, 0

    def __call__(self) -> float:
        self.looks += 1
        self.now += self.step
        return self.now


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def hurry(poll: Poll, clock: Clock) -> None:
    """It asks again at once, as the only one."""
    poll.answered(clock.now, True)
    poll.answered(clock.now, True)


def test_who_asks_again_at_once_is_found_without_waiting(pair):
    ours, theirs = pair
    poll = Poll(ours, clock := Clock())
    hurry(poll, clock)
    theirs.send(b"next")
    assert poll.next_is_here() and ours.recv(10) == b"next", "it is left to be read"
    hurry(poll, clock)
    theirs.close()
    assert poll.next_is_here() and ours.recv(10) == b"", "its end, too"


def test_who_takes_its_time_or_is_not_alone_is_not_polled(pair):
    ours, theirs = pair
    poll = Poll(ours, clock := Clock())
    theirs.send(b"next")
    for late, alone in ((0.0, False), (SOON_S * 1.01, True)):
        poll.answered(clock.now, True)
        poll.answered(clock.now + late, alone)
        assert not poll.next_is_here()
    assert not Poll(ours, clock).next_is_here(), "nor at its first request"


@pytest.mark.parametrize(("step", "looks"), [(0.0, POLLS_MAX), (POLL_S / 10, 11), (1.0, 1)])
def test_a_poll_ends_by_time_and_by_number(pair, step, looks):
    poll = Poll(pair[0], clock := Clock())
    hurry(poll, clock)
    clock.step, clock.looks = step, 0
    assert not poll.next_is_here()
    assert clock.looks == pytest.approx(looks, abs=1)


def test_after_a_poll_in_vain_there_is_none_for_a_while(pair):
    ours, theirs = pair
    poll = Poll(ours, clock := Clock())
    hurry(poll, clock)
    assert not poll.next_is_here()
    theirs.send(b"next")
    found = []
    for _ in range(PAUSE_REQUESTS + 1):
        hurry(poll, clock)
        found.append(poll.next_is_here())
    assert found == [False] * PAUSE_REQUESTS + [True]


def test_too_late_for_a_poll_is_no_poll_in_vain(pair):
    ours, theirs = pair
    poll = Poll(ours, clock := Clock())
    hurry(poll, clock)
    clock.now += POLL_S * 1.01
    assert not poll.next_is_here()
    hurry(poll, clock)
    theirs.send(b"next")
    assert poll.next_is_here()


@in_real_time
async def test_bytes_that_bring_no_reply_are_not_polled_after(tmp_path, monkeypatch):
    monkeypatch.setattr(polling, "SOON_S", 1e9)
    async with a_daemon(tmp_path) as daemon:
        caller = await daemon.caller()
        (client,) = daemon.server.clients
        await caller.ask("members")
        await caller.read()
        client._poll._pause = 0
        *first, last = msgpack.packb({"Command": "members", "Seq": 7})
        for byte in first:
            await caller.stream.send_all(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
            assert not client._poll._pause
        await caller.stream.send_all(bytes([last]))
        assert (await caller.read())["Seq"] == 7
        await trio.testing.wait_all_tasks_blocked()
        assert client._poll._pause == PAUSE_REQUESTS, "only the whole request was worth it"


@in_real_time
async def test_one_that_asks_and_asks_takes_no_turn_from_others(tmp_path, monkeypatch):
    def always_in_time(poll: Poll) -> bool:
        return bool(select([poll._sock], [], [], 0.1)[0])

    monkeypatch.setattr(Poll, "next_is_here", always_in_time)
    over, asked = threading.Event(), []

    def ask() -> None:
        with Client(daemon.path) as client:
            while not over.is_set() and len(asked) < ASKS_MAX:
                asked.append(len(client.members()))

    async with a_daemon(tmp_path) as daemon, trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, ask)
        other = await daemon.caller()
        with trio.fail_after(10):
            for _ in range(5):
                assert (await other.ask("members"))["Error"] == ""
                await other.read()
        over.set()
    assert 0 < len(asked) < ASKS_MAX, "the others were served meanwhile"
