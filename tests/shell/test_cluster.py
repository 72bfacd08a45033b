"""Real nodes, real subsystems, a network in memory, virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import trio

from gossipd.addresses import Address
from gossipd.config.schema import JoinSection
from gossipd.daemon.engine import Engine
from gossipd.daemon.gossiper import keep_joining, run_gossiper
from gossipd.daemon.life import EXIT_LEFT, Life
from gossipd.daemon.prober import run_prober
from gossipd.daemon.transport import run_transport
from gossipd.events import MEMBER_FAILED, MEMBER_JOIN, MEMBER_LEAVE, MemberEvent
from gossipd.node import Node, NodeConfig
from gossipd.serf.config import SerfConfig
from tests.support.fakenode import a_swim_config
from tests.support.memory import MemoryNetwork
from tests.support.virtual import in_virtual_time


class Daemon:
    """A node with everything of a daemon but sockets and RPC."""

    def __init__(self, network: MemoryNetwork, number: int, seeds: tuple[str, ...], **changes: Any) -> None:
        self.address: Address = (f"127.0.0.{number}", 7946)
        self.network, self.seeds = network, seeds
        config = NodeConfig(a_swim_config(f"n{number}", self.address, **changes), SerfConfig())
        node = Node(config, rng=Random(number), entropy=Random(number).randbytes)
        self.port = network.port(self.address)
        self.engine = Engine(node, self.port, Life(), trio.current_time, lambda: 0.0)
        self.events: list[str] = []
        self.engine.listen(self._hear)
        self.scope = trio.CancelScope()

    def _hear(self, event: Any) -> None:
        if isinstance(event, MemberEvent):
            self.events += [f"{event.kind} {member.name}" for member in event.members]

    async def run(self) -> None:
        with self.scope:
            async with trio.open_nursery() as nursery:
                self.engine.start()
                await nursery.start(run_transport, self.engine, self.port, 10.0)
                await nursery.start(run_prober, self.engine, self.network.connect)
                await nursery.start(run_gossiper, self.engine, self.network.connect, 7946)
                if self.seeds:
                    nursery.start_soon(keep_joining, self.engine, JoinSection(seeds=self.seeds))

    def kill(self) -> None:
        self.scope.cancel()
        self.network.crash(self.address)

    def sees(self) -> dict[str, str]:
        return {member.name: member.status for member in self.engine.members()}


@asynccontextmanager
async def a_cluster(size: int, refuses: bool = True, **changes: Any) -> AsyncIterator[list[Daemon]]:
    """Joined, and 10 s old."""
    network = MemoryNetwork(refuses=refuses)
    daemons = [Daemon(network, 1 + i, ("127.0.0.1",) if i else (), **changes) for i in range(size)]
    async with trio.open_nursery() as nursery:
        for daemon in daemons:
            nursery.start_soon(daemon.run)
        await trio.sleep(10)
        yield daemons
        nursery.cancel_scope.cancel()


async def seconds_until(condition: Any, limit: float = 120.0) -> float:
    start = trio.current_time()
    while not condition():
        await trio.sleep(0.05)
        assert trio.current_time() - start < limit
    return trio.current_time() - start


ALL = {f"n{i}": "alive" for i in range(1, 6)}


@in_virtual_time
async def test_daemons_that_know_one_seed_find_each_other():
    async with a_cluster(5) as daemons:
        assert [daemon.sees() for daemon in daemons] == [ALL] * 5
        for daemon in daemons:
            assert sorted(event for event in daemon.events) == [f"{MEMBER_JOIN} {name}" for name in ALL]


@in_virtual_time
async def test_nothing_happens_in_a_quiet_cluster():
    async with a_cluster(5) as daemons:
        await trio.sleep(600)
        assert [daemon.sees() for daemon in daemons] == [ALL] * 5
        assert all(not daemon.engine.counters for daemon in daemons)


@in_virtual_time
async def test_a_crashed_process_is_seen_as_failed_by_all_within_seconds():
    async with a_cluster(5) as daemons:
        daemons[4].kill()
        took = await seconds_until(lambda: all(daemon.sees()["n5"] == "failed" for daemon in daemons[:4]))
        assert took < 5.0
        assert all(f"{MEMBER_FAILED} n5" in daemon.events for daemon in daemons[:4])


@in_virtual_time
async def test_a_host_that_falls_silent_is_seen_as_failed_by_all():
    async with a_cluster(5, refuses=False) as daemons:
        daemons[4].kill()
        took = await seconds_until(lambda: all(daemon.sees()["n5"] == "failed" for daemon in daemons[:4]))
        assert took < 45.0


@in_virtual_time
async def test_a_graceful_leave_is_seen_as_left_by_all_and_ends_well():
    async with a_cluster(5) as daemons:
        daemons[4].engine.leave(lambda result, error: None)
        with trio.fail_after(10):
            await daemons[4].engine.life.over.wait()
        assert daemons[4].engine.life.exit_code == EXIT_LEFT
        daemons[4].kill()
        await trio.sleep(60)
        assert all(daemon.sees()["n5"] == "left" for daemon in daemons[:4])
        assert all(f"{MEMBER_LEAVE} n5" in daemon.events for daemon in daemons[:4])
        assert not any(f"{MEMBER_FAILED} n5" in daemon.events for daemon in daemons)


@in_virtual_time
async def test_encrypted_daemons_find_each_other_and_a_stranger_stays_outside():
    async with a_cluster(2, keys=(b"k" * 16,)) as daemons:
        stranger = Daemon(daemons[0].network, 9, ("127.0.0.1",))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stranger.run)
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        assert all(daemon.sees() == {"n1": "alive", "n2": "alive"} for daemon in daemons)
        assert stranger.sees() == {"n9": "alive"} and daemons[0].engine.counters


@in_virtual_time
async def test_garbage_is_counted_and_harms_nobody():
    async with a_cluster(2) as daemons:
        stranger = daemons[0].network.port(("127.0.0.99", 7946))
        rng = Random(1)
        for _ in range(2000):
            stranger.send(rng.randbytes(rng.randrange(1, 200)), daemons[0].address)
        await trio.sleep(30)
        assert sum(daemons[0].engine.counters.values()) >= 1000
        assert daemons[1].sees() == {"n1": "alive", "n2": "alive"} == daemons[0].sees()
