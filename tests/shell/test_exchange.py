from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from errno import EHOSTUNREACH

import pytest
import trio
import trio.testing

from gossipd.addresses import Address
from gossipd.daemon.engine import Engine
from gossipd.daemon.exchange import Dialer
from gossipd.daemon.gossiper import SYNCS_MAX, run_gossiper
from gossipd.daemon.life import Life
from gossipd.daemon.prober import TCP_PINGS_MAX, run_prober
from gossipd.effects import OpenExchange
from gossipd.wire.codec import encode
from gossipd.wire.messages import Ack
from tests.support.fakenode import FakeNode
from tests.support.memory import MemoryNetwork
from tests.support.virtual import in_virtual_time

ANN, BEA = ("127.0.0.1", 7946), ("127.0.0.2", 7946)
LIMIT = 3


class Caller:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.network = MemoryNetwork()
        self.node = FakeNode()
        self.bea = self.network.port(BEA)
        port = self.network.port(ANN)
        self.engine = Engine(self.node, port, Life(), trio.current_time, lambda: 0.0)  # type: ignore[arg-type]
        self.dialer = Dialer(self.engine, self.network.connect, nursery, LIMIT)

    def dial(self, id: int = 1, to: Address = BEA, wait_s: float = 5.0) -> bool:
        return self.dialer.dial(OpenExchange(id, to, b"hello", trio.current_time() + wait_s, "ping"))

    async def answer(self, reply: bytes) -> bytes:
        """Take the next connection, read its request, answer, close."""
        stream, _ = await self.bea.accept()
        request = bytes(await stream.receive_some(100))
        await stream.send_all(reply)
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        return request


@asynccontextmanager
async def a_caller() -> AsyncIterator[Caller]:
    async with trio.open_nursery() as nursery:
        yield Caller(nursery)
        nursery.cancel_scope.cancel()


@in_virtual_time
async def test_an_exchange_writes_its_request_and_reports_the_answer():
    async with a_caller() as caller:
        assert caller.dial(7)
        assert await caller.answer(encode(Ack(5))) == b"hello"
        assert caller.node.exchanges == [(7, Ack(5), "")]


@in_virtual_time
async def test_a_refused_connection_is_called_refused():
    async with a_caller() as caller:
        caller.network.crash(BEA)
        caller.dial()
        await trio.testing.wait_all_tasks_blocked()
        assert caller.node.exchanges == [(1, None, "refused")]


@in_virtual_time
async def test_an_exchange_that_takes_too_long_is_called_timeout():
    async with a_caller() as caller:
        start = trio.current_time()
        caller.dial(wait_s=2.0)
        await trio.sleep(1.9)
        assert caller.node.exchanges == []
        await trio.sleep(0.2)
        assert caller.node.exchanges == [(1, None, "timeout")] and trio.current_time() - start < 3


@in_virtual_time
async def test_a_peer_that_closes_without_an_answer_is_called_closed():
    async with a_caller() as caller:
        caller.dial()
        await caller.answer(b"")
        assert caller.node.exchanges == [(1, None, "closed")]


@in_virtual_time
async def test_an_unusable_answer_is_reported_in_words():
    async with a_caller() as caller:
        caller.dial()
        await caller.answer(b"\x63nonsense")
        (id, message, failure), = caller.node.exchanges
        assert (id, message) == (1, None) and failure not in ("", "closed", "timeout", "refused")


@in_virtual_time
async def test_an_answer_for_which_there_is_no_memory_is_reported_in_words(monkeypatch):
    def too_much(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("gossipd.wire.stream.StreamDecoder.feed", too_much)
    async with a_caller() as caller:
        caller.dial()
        await caller.answer(encode(Ack(5)))
        assert caller.node.exchanges == [(1, None, "out of memory")]


@in_virtual_time
async def test_other_errors_of_the_network_are_reported_in_words():
    async with a_caller() as caller:
        async def unreachable(to: Address) -> trio.abc.Stream:
            raise OSError(EHOSTUNREACH, "whatever trio says")

        caller.dialer._connect = unreachable
        caller.dial()
        await trio.testing.wait_all_tasks_blocked()
        assert caller.node.exchanges == [(1, None, "connect: no route to host")]


@in_virtual_time
async def test_exchanges_at_once_are_limited_and_the_limit_frees_up():
    async with a_caller() as caller:
        assert [caller.dial(id, wait_s=1.0) for id in range(LIMIT + 1)] == [True] * LIMIT + [False]
        await trio.sleep(1.5)
        assert len(caller.node.exchanges) == LIMIT
        assert caller.dial(9)


@pytest.mark.parametrize("purpose, run, limit", [
    ("ping", run_prober, TCP_PINGS_MAX), ("sync", run_gossiper, SYNCS_MAX)])
def test_each_purpose_has_its_own_limit(purpose, run, limit):
    @in_virtual_time
    async def check() -> None:
        async with a_caller() as caller, trio.open_nursery() as nursery:
            more = [7946] if run is run_gossiper else []
            await nursery.start(run, caller.engine, caller.network.connect, *more)
            exchanges = [OpenExchange(id, BEA, b"hello", trio.current_time() + 5, purpose) for id in range(limit + 1)]
            caller.node.on_datagram = lambda data: exchanges
            caller.engine.receive(b"x", BEA)
            assert caller.node.exchanges == [(limit, None, "too many connections")]
            nursery.cancel_scope.cancel()
    check()
