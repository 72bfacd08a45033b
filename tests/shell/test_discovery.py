"""The discovery subsystem with real daemons and sockets on loopback; what the network does is in tests/system."""

from __future__ import annotations

import logging
import os
import socket
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import trio

from gossipd.client import Client
from gossipd.config.schema import Config, DiscoverySection, NetworkSection, NodeSection, RpcSection
from gossipd.daemon import app, discovery, links
from gossipd.daemon.discovery import KnownCluster, OpenLink, Shell, families_of
from gossipd.daemon.links import find_places
from gossipd.events import MemberInfo
from tests.support.virtual import in_real_time

LO = DiscoverySection(cluster=f"test-{os.getpid()}", interfaces=("lo",))     # others test on this machine, too
FAST = {"serf.leave_propagate_delay_s": 0.01}


def a_config(tmp_path, name, section=LO):
    return Config(node=NodeSection(name=name), network=NetworkSection(bind="127.0.0.1:0", profile="local"),
                  rpc=RpcSection(socket=str(tmp_path / f"{name}.sock")), discovery=section, core=FAST)


@asynccontextmanager
async def running(*configs):
    async with trio.open_nursery() as nursery:
        for config in configs:
            nursery.start_soon(app.run, config)
        for config in configs:
            while not os.path.exists(config.rpc.socket):
                await trio.sleep(0.001)
        yield
        for config in configs:
            await call(config, Client.leave)


async def call(config, method):
    """What a client's method returns, from a thread."""
    def run():
        with Client(config.rpc.socket) as client:
            return method(client)

    return await trio.to_thread.run_sync(run)


async def discovered(config, ask=False):
    return await call(config, lambda client: client.discovered(ask=ask))


async def until(condition):
    while not await condition():
        await trio.sleep(0.02)


@in_real_time
async def test_daemons_without_seeds_find_each_other_and_tell_what_they_hear(tmp_path):
    ann, bea = a_config(tmp_path, "ann"), a_config(tmp_path, "bea")
    async with running(ann, bea):
        async def together():
            return [member.name for member in await call(ann, Client.members)] == ["ann", "bea"]

        await until(together)
        told = await discovered(ann, ask=True)
        assert told.cluster == LO.cluster and told.links[0] == ("lo", "ipv4", "")
        bea_seen, = told.seen
        assert (bea_seen.name, bea_seen.host, bea_seen.interfaces, bea_seen.status) == (
            "bea", "127.0.0.1", ["lo"], "member")
        assert time.time() - 20 < bea_seen.heard < bea_seen.expires < time.time() + 121


@in_real_time
async def test_without_discovery_its_code_is_not_imported_and_the_command_says_that_it_is_off(tmp_path, monkeypatch):
    monkeypatch.setattr(app, "discover", None)
    config = a_config(tmp_path, "ann", DiscoverySection())
    async with running(config):
        told = await discovered(config)
        assert (told.cluster, told.links, told.seen) == ("", [], [])


@in_real_time
async def test_a_link_without_sockets_is_told_and_tried_again(tmp_path, monkeypatch, caplog):
    real, failed = links.open_group, []

    def open_group(place):
        if len(failed) < 2:
            failed.append(place)
            raise OSError(98, "Address already in use")
        return real(place)

    monkeypatch.setattr(discovery, "open_group", open_group)
    monkeypatch.setattr(discovery, "SCAN_PAUSES_S", (0.05, 0.05))
    config = a_config(tmp_path, "ann", replace(LO, ipv6=False))
    async with running(config):
        async def well():
            links = (await discovered(config)).links
            return len(failed) == 2 and links and not links[0][2]

        await until(well)
    assert caplog.text.count("Address already in use") == 1, "said once"


@in_real_time
async def test_an_interface_that_is_missing_is_told_once_and_no_end(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(discovery, "SCAN_PAUSES_S", (0.01, 0.01))
    config = a_config(tmp_path, "ann", replace(LO, interfaces=("lo", "nosuch0")))
    async with running(config):
        await until(lambda: has_links(config))
        await trio.sleep(0.05)
    assert caplog.text.count("interfaces=nosuch0") == 1


async def has_links(config):
    return bool((await discovered(config)).links)


@pytest.mark.parametrize("outcome, words", [
    ((2, ""), (logging.INFO, "agent.mdns", "Joined 2 hosts")),
    ((0, "nobody answers"), (logging.ERROR, "agent.mdns", "Failed to join: nobody answers")),
])
def test_joins_of_discovered_members_have_serfs_words_too(outcome, words, caplog):
    caplog.set_level(logging.INFO, "gossipd")
    shell = SimpleNamespace(
        _engine=SimpleNamespace(join=lambda texts, replay, done: done(*outcome), clock=lambda: 0.0), _replay=False,
        machine=SimpleNamespace(join_done=lambda now: None, next_deadline=lambda: 1.0), _nap=SimpleNamespace())
    Shell._join(shell, [("127.0.0.1", 7946)])
    assert [record.serf for record in caplog.records] == [words]


def test_a_link_that_breaks_is_told_once_for_each_kind_of_trouble(caplog):
    place, = find_places(["lo"], v4=True, v6=False, loopback=True)
    opened = OpenLink(place)
    for _ in range(3):
        opened.tell(bytes(70000), None)
        opened.tell(bytes(70000), ("127.0.0.1", 9))
    assert caplog.text.count("discovery trouble") == 1 and opened.trouble == "Message too long"
    for sock in opened.sockets:
        sock.close()
    opened.tell(b"x", None)
    assert opened.trouble == "Message too long", "closed sockets are no trouble"


@pytest.mark.parametrize(("bound", "families"), [
    ("0.0.0.0", (False,)), ("192.0.2.1", (False,)), ("::", (False, True)), ("2001:db8::1", (True,))])
def test_gossip_reaches_the_families_of_its_socket(bound, families):
    assert families_of((bound, 7946)) == families


def a_member(host, status, changed=0.0):
    return MemberInfo(name=str(host), addr=bytes((192, 0, 2, host)), port=7946, tags={}, status=status,
                      versions=bytes(6), changed=changed)


def test_what_gossip_knows_decides_whom_to_join():
    engine = SimpleNamespace(members_version=1, members=lambda: [a_member(1, "alive")])
    cluster = KnownCluster(engine)
    assert (cluster.others(), cluster.complete()) == (0, False)
    engine.members = lambda: [a_member(1, "alive"), a_member(2, "alive"), a_member(3, "leaving"),
                              a_member(4, "failed"), a_member(5, "left", changed=10.0)]
    assert cluster.others() == 0, "looked through only when the version changes"
    engine.members_version = 2
    assert (cluster.others(), cluster.complete()) == (1, False)
    settled = [cluster.settled((f"192.0.2.{host}", 7946), 5.0) for host in range(2, 7)]
    assert settled == [True, True, False, True, False]
    assert not cluster.settled(("192.0.2.5", 7946), 11.0) and not cluster.settled(("192.0.2.2", 7947), 5.0)


def test_the_socket_of_a_link_hears_only_that_link():
    place, = find_places(["lo"], v4=True, v6=False, loopback=True)
    others = find_places([], v4=True, v6=False, loopback=False)
    with links.open_group(place) as ours, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for other in others:
            links._send_on(sender, other)
            sender.sendto(f"elsewhere-{os.getpid()}".encode(), links.group_of(other))
        links._send_on(sender, place)
        sender.sendto(f"here-{os.getpid()}".encode(), links.group_of(place))
        ours.settimeout(5.0)
        while not (data := ours.recv(9000)).endswith(str(os.getpid()).encode()):
            pass        # other programs' packets
        assert data.startswith(b"here")
