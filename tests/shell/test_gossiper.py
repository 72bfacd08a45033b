from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from gossipd.commands import Join
from gossipd.config.schema import JoinSection
from gossipd.daemon import gossiper
from gossipd.daemon.engine import Engine
from gossipd.daemon.gossiper import ADDRESSES_OF_NAME_MAX, FIRST_PAUSE_S, JOINS_MAX, LOOKUP_TIMEOUT_S, run_gossiper
from gossipd.daemon.life import Life
from gossipd.effects import Reply
from gossipd.errors import CommandError
from gossipd.serf.actions import lines_of_errors, list_of_errors
from tests.support.fakenode import FakeNode, refusing
from tests.support.memory import MemoryNetwork
from tests.support.virtual import in_virtual_time

PORT = 7950


class Names(trio.abc.HostnameResolver):
    """A name service of our own: trio asks it instead of the system's."""

    def __init__(self, **names: list[str]) -> None:
        self.names = {name.replace("_", "-"): hosts for name, hosts in names.items()}
        self.asked: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        if name == "slow":
            await trio.sleep_forever()
        if name == "busy":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if name not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [_entry(address, port) for address in self.names[name]]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


def _entry(host: str, port: int) -> Any:
    if ":" in host:
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)


class Gossip:
    """A gossiper that runs over a fake node, which takes joins and remembers them."""

    def __init__(self) -> None:
        network = MemoryNetwork()
        self.node = FakeNode()
        self.joins: list[Join] = []
        self.contacted = 1
        self.error = ""
        self.node.on_command = self._join
        self.connect = network.connect
        self.engine = Engine(  # type: ignore[arg-type]
            self.node, network.port(("127.0.0.1", PORT)), Life(), trio.current_time, lambda: 0.0)
        self.outcomes: list[tuple[object, str]] = []

    def _join(self, command: Any) -> list[Any]:
        self.joins.append(command)
        return [Reply(command.id, self.contacted, "" if self.contacted else self.error)]

    def join(self, *texts: str, replay: bool = False) -> None:
        self.engine.join(list(texts), replay, lambda result, error: self.outcomes.append((result, error)))


@asynccontextmanager
async def a_gossiper(**names: list[str]) -> AsyncIterator[Gossip]:
    gossip = Gossip()
    trio.socket.set_custom_hostname_resolver(Names(**names))
    async with trio.open_nursery() as nursery:
        scope = await nursery.start(run_gossiper, gossip.engine, gossip.connect, PORT)
        yield gossip
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()


@in_virtual_time
async def test_numeric_addresses_are_joined_as_they_are():
    async with a_gossiper() as gossip:
        gossip.join("192.0.2.1", "192.0.2.2:8000", "2001:db8::1", "[2001:db8::2]:9", replay=True)
        await trio.testing.wait_all_tasks_blocked()
    command, = gossip.joins
    assert command.addresses == [
        ("192.0.2.1", PORT), ("192.0.2.2", 8000), ("2001:db8::1", PORT), ("2001:db8::2", 9)]
    assert command.replay and gossip.outcomes == [(1, "")]


@in_virtual_time
async def test_all_addresses_of_a_name_are_joined_in_the_order_given():
    async with a_gossiper(seeds=["192.0.2.1", "2001:db8::1", "192.0.2.1"], other=["192.0.2.2"]) as gossip:
        gossip.join("seeds", "other")
    assert [host for host, _ in gossip.joins[0].addresses] == ["192.0.2.1", "2001:db8::1", "192.0.2.2"]


@in_virtual_time
async def test_serfs_form_with_a_node_name_in_front_is_understood():
    async with a_gossiper() as gossip:
        gossip.join("bea/192.0.2.1:8000")
    assert gossip.joins[0].addresses == [("192.0.2.1", 8000)]


@in_virtual_time
async def test_names_that_do_not_exist_do_not_hinder_the_others_and_are_one_line_in_the_log(caplog):
    async with a_gossiper(bea=["192.0.2.1"]) as gossip:
        gossip.join("nosuch", "bea", "no\nsuch")
    assert gossip.joins[0].addresses == [("192.0.2.1", PORT)] and gossip.outcomes == [(1, "")]
    line, = caplog.messages
    assert line.startswith("joined, but not through all failed=2 error='Failed to resolve nosuch: ")
    assert "\n" not in line


WRONG = {
    # what Serf's agent says of it; without the name server, which is Go's own resolver's
    "nosuch": "lookup nosuch: no such host", "": "lookup : no such host", ":1": "lookup : no such host",
    "a..b": "lookup a..b: no such host", "a:b:c": "lookup a:b:c: no such host", "[]:1": "lookup : no such host",
    "name/": "lookup : no such host", "a/b/nosuch:1": "lookup b/nosuch: no such host",
    "/192.0.2.1": "empty node name provided", "[::1": "address [::1: missing ']' in address",
    "[::1]x:1": "address [::1]x:1: missing port in address",
    "192.0.2.1:": 'strconv.ParseUint: parsing "": invalid syntax',
    "192.0.2.1:x": 'strconv.ParseUint: parsing "x": invalid syntax',
    "192.0.2.1:\u0661": 'strconv.ParseUint: parsing "\u0661": invalid syntax',
    "[::1]:-1": 'strconv.ParseUint: parsing "-1": invalid syntax',
    "192.0.2.1:65536": 'strconv.ParseUint: parsing "65536": value out of range',
    f"192.0.2.1:{'1' * 5000}": f'strconv.ParseUint: parsing "{"1" * 5000}": value out of range',
    "busy": "lookup busy: Temporary failure in name resolution",
}


@in_virtual_time
async def test_a_join_of_unknown_names_only_fails_with_a_line_for_each():
    async with a_gossiper() as gossip:
        gossip.join(*WRONG)
    (result, error), = gossip.outcomes
    assert result == 0 and gossip.joins == []
    assert lines_of_errors(error) == [f"Failed to resolve {text}: {why}" for text, why in WRONG.items()]


@in_virtual_time
async def test_a_join_that_nobody_answers_also_tells_the_unknown_names_each_in_its_place():
    async with a_gossiper(two=["192.0.2.2", "192.0.2.3"], bea=["192.0.2.1"]) as gossip:
        gossip.contacted = 0
        gossip.error = list_of_errors(["1st", "2nd", "3rd"])
        gossip.join("two", "nosuch", "bea", "[::1")
    (result, error), = gossip.outcomes
    assert result == 0 and lines_of_errors(error) == [
        "1st", "2nd", "Failed to resolve nosuch: lookup nosuch: no such host", "3rd",
        "Failed to resolve [::1: address [::1: missing ']' in address"]


@in_virtual_time
async def test_a_slow_name_service_delays_for_a_limited_time():
    async with a_gossiper(bea=["192.0.2.1"]) as gossip:
        start = trio.current_time()
        gossip.join("slow", "bea")
        await trio.sleep(LOOKUP_TIMEOUT_S + 0.1)
        assert gossip.outcomes == [(1, "")] and trio.current_time() - start < LOOKUP_TIMEOUT_S + 1
        gossip.join("slow")
        await trio.sleep(LOOKUP_TIMEOUT_S + 0.1)
        assert gossip.outcomes[1] == (0, list_of_errors(["Failed to resolve slow: lookup slow: i/o timeout"]))


@in_virtual_time
async def test_a_name_stands_for_a_limited_number_of_addresses():
    async with a_gossiper(many=[f"192.0.2.{i}" for i in range(200)]) as gossip:
        gossip.join("many")
    assert len(gossip.joins[0].addresses) == ADDRESSES_OF_NAME_MAX


@in_virtual_time
async def test_joins_at_once_are_limited():
    async with a_gossiper() as gossip:
        for _ in range(JOINS_MAX):
            gossip.join("slow")
        with pytest.raises(CommandError, match="too many joins"):
            gossip.join("slow")
        await trio.sleep(LOOKUP_TIMEOUT_S + 0.1)
        gossip.join("192.0.2.1")


@in_virtual_time
async def test_a_join_that_the_core_refuses_is_answered_with_its_words():
    async with a_gossiper() as gossip:
        gossip.node.on_command = refusing("cannot join while leaving")
        gossip.join("192.0.2.1")
    assert gossip.outcomes == [(0, "cannot join while leaving")]


# --- joins of the configuration --------------------------------------------------------------------------------------

async def attempts(gossip: Gossip, join: JoinSection, seconds: float) -> list[float]:
    """When the configured joins were tried in this time, relative to the start."""
    start = trio.current_time()
    tried: list[float] = []
    take = gossip.node.on_command
    gossip.node.on_command = lambda command: tried.append(round(trio.current_time() - start, 3)) or take(command)
    with trio.move_on_after(seconds):
        await gossiper.keep_joining(gossip.engine, join)
    return tried


@in_virtual_time
async def test_a_join_that_succeeds_is_not_repeated():
    async with a_gossiper() as gossip:
        assert await attempts(gossip, JoinSection(seeds=("192.0.2.1",)), 300.0) == [0.0]


@in_virtual_time
async def test_a_failing_join_is_tried_again_soon_and_then_at_the_configured_pace():
    async with a_gossiper() as gossip:
        gossip.contacted = 0
        tried = await attempts(gossip, JoinSection(seeds=("192.0.2.1",), retry_interval_s=2.0), 10.0)
    assert tried == [0.0, FIRST_PAUSE_S, 0.75, 1.75, 3.75, 5.75, 7.75, 9.75]
    assert not gossip.engine.life.ending.is_set()


@in_virtual_time
async def test_seeds_that_never_answer_are_told_at_once_and_then_less_and_less(caplog):
    async with a_gossiper() as gossip:
        gossip.contacted = 0
        tried = await attempts(gossip, JoinSection(seeds=("192.0.2.1",), retry_interval_s=30.0), 10 * 3600.0)
    lines = [line for line in caplog.messages if "join failed" in line]
    assert len(tried) > 1000 and 8 <= len(lines) < 20 and "in_s=0.25" in lines[0]


@in_virtual_time
async def test_a_seed_that_comes_later_is_found():
    async with a_gossiper() as gossip:
        gossip.contacted = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gossiper.keep_joining, gossip.engine, JoinSection(seeds=("192.0.2.1",)))
            await trio.sleep(5.0)
            gossip.contacted = 1
        assert gossip.joins[-1].addresses == [("192.0.2.1", PORT)] and trio.current_time() > 5.0


@in_virtual_time
async def test_joining_ends_the_daemon_after_the_configured_number_of_attempts():
    async with a_gossiper() as gossip:
        gossip.contacted = 0
        join = JoinSection(seeds=("192.0.2.1",), retry_interval_s=1.0, retry_max=2)
        tried = await attempts(gossip, join, 100.0)
        assert tried == [0.0, 0.25, 0.75, 1.75, 2.75] and gossip.engine.life.over.is_set()


@in_virtual_time
async def test_nothing_is_joined_once_the_daemon_ends():
    async with a_gossiper() as gossip:
        gossip.engine.life.stop()
        assert await attempts(gossip, JoinSection(seeds=("192.0.2.1",)), 100.0) == []
