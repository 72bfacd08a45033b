from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from errno import ECONNABORTED, EMFILE
from itertools import pairwise

import pytest
import trio
import trio.testing

from gossipd.addresses import Address
from gossipd.daemon.engine import Engine
from gossipd.daemon.guests import STREAMS_MAX, STREAMS_PER_SOURCE_MAX
from gossipd.daemon.life import Life
from gossipd.daemon.transport import ACCEPT_PAUSE_S, run_transport
from gossipd.wire.codec import encode
from gossipd.wire.messages import Ping
from tests.support.fakenode import FakeNode
from tests.support.memory import MemoryNetwork, MemoryPort
from tests.support.virtual import in_virtual_time

ANN = ("127.0.0.1", 7946)
TIMEOUT_S = 10.0
PING = encode(Ping(1, "ann"))


class Host:
    """A transport that runs, and how to reach it."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.port = self.network.port(ANN)
        self.node = FakeNode()
        self.tries: list[float] = []    # when accept was called
        self.engine = Engine(self.node, self.port, Life(), trio.current_time, lambda: 0.0)  # type: ignore[arg-type]

    async def dial(self) -> trio.abc.Stream:
        return await self.network.connect(ANN)

    async def ask(self, *chunks: bytes) -> bytes:
        """What comes back for these bytes until the other side closes."""
        stream = await self.dial()
        for chunk in chunks:
            await stream.send_all(chunk)
            await trio.testing.wait_all_tasks_blocked()
        return await everything(stream)


class Listener:
    """Fails a few times, then accepts."""

    def __init__(self, port: MemoryPort, errors: list[int]) -> None:
        self.tries: list[float] = []
        self._port, self._errors = port, errors

    async def accept(self) -> tuple[trio.abc.Stream, Address]:
        await trio.lowlevel.checkpoint()
        self.tries.append(trio.current_time())
        if self._errors:
            raise OSError(self._errors.pop(0), "")
        return await self._port.accept()


async def everything(stream: trio.abc.Stream) -> bytes:
    answer = b""
    while data := await stream.receive_some(1000):
        answer += bytes(data)
    return answer


@asynccontextmanager
async def a_host(*errors: int) -> AsyncIterator[Host]:
    """`errors` are what the first attempts to accept end with."""
    host = Host()
    listener = Listener(host.port, list(errors))
    host.tries = listener.tries
    async with trio.open_nursery() as nursery:
        scope = await nursery.start(run_transport, host.engine, listener, TIMEOUT_S)
        yield host
        scope.cancel()


@in_virtual_time
async def test_datagrams_reach_the_core():
    async with a_host() as host:
        seen: list[bytes] = []
        host.node.on_datagram = lambda data: seen.append(data) or []
        other = host.network.port(("127.0.0.2", 7946))
        for number in range(150):
            other.send(b"%d" % number, ANN)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [b"%d" % number for number in range(150)]


@in_virtual_time
async def test_a_request_by_stream_is_answered_and_the_stream_closed():
    async with a_host() as host:
        host.node.stream_reply = b"pong"
        assert await host.ask(PING) == b"pong"
        assert host.node.streams == [Ping(1, "ann")]


@in_virtual_time
async def test_streams_that_are_over_make_room():
    async with a_host() as host:
        host.node.stream_reply = b"pong"
        for _ in range(2 * STREAMS_MAX):
            assert await host.ask(PING) == b"pong"
        assert host.engine.counters == {}


@in_virtual_time
async def test_a_request_may_come_byte_by_byte():
    async with a_host() as host:
        host.node.stream_reply = b"pong"
        assert await host.ask(*(bytes([byte]) for byte in PING)) == b"pong"


@in_virtual_time
async def test_a_silent_stream_is_closed_after_the_timeout_and_counted():
    async with a_host() as host:
        before = trio.current_time()
        assert await host.ask() == b""
        assert trio.current_time() - before == TIMEOUT_S
        assert host.engine.counters == {"stream too slow": 1}


@in_virtual_time
async def test_a_trickle_of_bytes_does_not_extend_the_time():
    async with a_host() as host:
        stream = await host.dial()
        before = trio.current_time()
        try:
            for byte in PING:
                await stream.send_all(bytes([byte]))
                await trio.sleep(3.0)
        except trio.BrokenResourceError:
            pass
        assert trio.current_time() - before <= TIMEOUT_S + 3.0 and host.node.streams == []


@in_virtual_time
async def test_a_stream_that_ends_before_its_first_byte_is_no_offence():
    async with a_host() as host:
        stream = await host.dial()
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert host.node.failures == [] and host.engine.counters == {}


@in_virtual_time
async def test_what_cannot_be_unwrapped_gets_an_err_reply():
    async with a_host() as host:
        assert await host.ask(b"\x0a\x00\x00\x00\x40") == b"err"    # encrypted, and we have no key
        assert [failure.reason for failure in host.node.failures] == ["no key"]


@in_virtual_time
async def test_what_is_wrong_inside_just_ends_the_stream():
    async with a_host() as host:
        assert await host.ask(b"\x03garbage") == b""
        assert len(host.node.failures) == 1


@in_virtual_time
async def test_a_stream_cut_off_in_the_middle_is_counted_by_the_core():
    async with a_host() as host:
        stream = await host.dial()
        await stream.send_all(PING[:-3])
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert len(host.node.failures) == 1 and host.node.streams == []


@in_virtual_time
async def test_a_stream_for_which_there_is_no_memory_ends_and_the_others_go_on():
    async with a_host() as host:
        refuse = host.node.receive_stream

        def too_much(*arguments: object) -> tuple[bytes, list[object]]:
            host.node.receive_stream = refuse
            raise MemoryError

        host.node.receive_stream = too_much
        host.node.stream_reply = b"ack"
        assert [await host.ask(PING), await host.ask(PING)] == [b"", b"ack"]
        assert host.engine.counters == {"out of memory": 1}


@in_virtual_time
async def test_a_thousand_silent_streams_do_not_keep_others_out():
    async with a_host() as host:
        silent = [await host.dial() for _ in range(1000)]
        await trio.testing.wait_all_tasks_blocked()
        host.node.stream_reply = b"pong"
        with trio.fail_after(1.0):
            assert await host.ask(PING) == b"pong"
        assert host.engine.counters["stream displaced"] >= 1000 - STREAMS_PER_SOURCE_MAX
        assert len(silent) == 1000


@in_virtual_time
async def test_accepting_pauses_when_file_descriptors_run_out():
    async with a_host(EMFILE, EMFILE) as host:
        host.node.stream_reply = b"pong"
        assert await host.ask(PING) == b"pong"
        pauses = [later - earlier for earlier, later in pairwise(host.tries[:3])]
        assert pauses == [pytest.approx(ACCEPT_PAUSE_S)] * 2
        assert host.engine.counters == {"accept failed": 2}


@in_virtual_time
async def test_a_connection_that_broke_before_it_was_taken_costs_no_pause():
    async with a_host(ECONNABORTED) as host:
        host.node.stream_reply = b"pong"
        assert await host.ask(PING) == b"pong"
        assert host.tries[0] == host.tries[1]
