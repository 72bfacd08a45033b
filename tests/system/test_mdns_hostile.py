"""Discovery in bad company, and on hosts with several interfaces, in network namespaces."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from dataclasses import replace

import pytest

from gossipd.daemon.links import Place, find_places, open_asker, open_group
from gossipd.mdns.messages import A, Packet, Record, encode
from gossipd.mdns.service import Service
from tests.support.bridge import FIND_S, GROUP, Bridge, Daemon, discover, seen, start, wait_until_together
from tests.support.processes import wait_until

CROWD = 5000
RSS_GROWTH_MAX = 16 << 20
ANSWER_MAX_S = 2.0


def listens(agent: Daemon) -> bool:
    return bool(json.loads(discover(agent, "-o", "json", "--wait", "0").stdout)["links"])


def say(net: Bridge, at: str, *packets: bytes) -> None:
    """To all, from port 5353."""
    with net[at].inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((net[at].host, 5353))
        for data in packets:
            sock.sendto(data, GROUP)


def crowd(first: int, count: int) -> bytes:
    """A packet that names so many members of the cluster who are not there."""
    records = []
    for number in range(first, first + count):
        one = Service("app", f"fake-{number}", (f"10.47.{8 + number // 250}.{1 + number % 250}", 7946))
        records += [one.server, one.place]
    return encode(Packet(response=True, records=records))


def test_thousands_who_are_not_there_take_neither_memory_nor_time_nor_many_joins(bridge):
    net = bridge("a", "b", "c")
    g1 = net.gossipd("g1", "a")
    g1.start()
    wait_until(lambda: listens(g1), "it listens", FIND_S)
    before, log_before = g1.rss_bytes(), len(g1.log_text())
    slowest = 0.0
    for _ in range(20):
        say(net, "c", *(crowd(first, 50) for first in range(0, CROWD, 50)))
        begun = time.monotonic()
        assert g1.statuses() == {"g1": "alive"}
        slowest = max(slowest, time.monotonic() - begun)
    assert len(seen(g1, "--wait", "0")) <= 2048 and slowest < ANSWER_MAX_S
    assert g1.rss_bytes() - before < RSS_GROWTH_MAX
    with net["a"].inside():
        dialing = sum(line.split()[3] == "02" for line in open(f"/proc/{g1.pid}/net/tcp").readlines()[1:])
    assert dialing <= 8
    g2 = net.gossipd("g2", "b")
    g2.start()
    wait_until_together(g1, g2)
    assert g1.log_text().count("\n", log_before) < 100


@pytest.mark.parametrize("record", [
    {"port": 0}, {"host": "0.0.0.0"}, {"host": "224.0.0.251"}, {"host": "127.0.0.1"}, {"host": "255.255.255.255"},
    {"host": "10.47.0.255"}, {"host": "240.0.0.1"}, {"ttl": 0}], ids=str)
def test_what_can_be_no_member_is_not_heard_of(bridge, record):
    net = bridge("a", "c")
    g1 = net.gossipd("g1", "a")
    g1.start()
    wait_until(lambda: listens(g1), "it listens", FIND_S)
    host, port = record.get("host", "10.47.0.2"), record.get("port", 7946)
    junk = Service("app", "junk", (host, 7946))
    records = [replace(one, ttl=record.get("ttl", 120), port=port if one.port else 0) for one in junk.records]
    odd = Record((b"bad\xff\x1b[31m", *junk.name), 33, 120, target=(b"x", b"local"), port=7946)
    say(net, "c", encode(Packet(response=True, records=records)), bytes(9001), b"\0" * 12 + junk.name[0],
        b"\0\0\x84\0\0\1\0\1\0\0\0\0\xc0\x0c\0\x0c\0\1_serf_app", os.urandom(500) + junk.name[0],
        encode(Packet(response=True, records=[odd, Record((b"x", b"local"), A, 120, host="10.47.0.2")])))
    wait_until(lambda: seen(g1, "--wait", "0"), "the last packet is heard", FIND_S)
    assert list(seen(g1, "--wait", "0")) == ["bad\\xff\x1b[31m"]
    table = discover(g1, "--wait", "0").stdout
    assert "junk" not in table and "\x1b" not in table and "bad\\xff\\x1b[31m" in table


def test_each_socket_hears_its_own_link_whatever_port_a_packet_comes_from(bridge):
    """With SO_REUSEPORT, the port would decide."""
    net = bridge("a", "b")
    net.second_network("eth1", "10.48.0")
    with net["a"].inside():
        heard = {place.link.interface: open_group(place) for place in two_places()}
    with net["b"].inside():
        for place in two_places():
            for _ in range(20):
                with open_asker(place) as sender:
                    sender.sendto(place.link.interface.encode(), GROUP)
            with open_group(place) as sender:
                sender.sendto(place.link.interface.encode(), GROUP)
    for interface, sock in heard.items():
        sock.settimeout(5.0)
        assert [sock.recv(100) for _ in range(21)] == [interface.encode()] * 21
        sock.close()


def two_places() -> list[Place]:
    def places() -> list[Place]:
        return find_places([], v4=True, v6=False, loopback=False)

    wait_until(lambda: len(places()) == 2, "both interfaces run", FIND_S)
    return places()


def links(agent: Daemon) -> set[tuple[str, str]]:
    """Interfaces and families."""
    return {(link["interface"], link["family"]) for link in json.loads(discover(agent, "-o", "json").stdout)["links"]}


def test_the_interfaces_are_all_or_those_that_are_chosen(bridge):
    """Both hosts are on two networks."""
    net = bridge("a", "b", "c")
    net.second_network("eth1", "10.48.0")
    every, one, none = (net.gossipd("g1", "a"), net.gossipd("g2", "b", interfaces=["eth1"]),
                        net.gossipd("g3", "c", interfaces=["nosuch0"]))
    start(every, one, none)
    wait_until_together(every, one)
    wait_until(lambda: seen(every).get("g2", {}).get("interfaces") == ["eth1"], "heard on eth1", FIND_S)
    both = {("eth0", "ipv4"), ("eth0", "ipv6"), ("eth1", "ipv4"), ("eth1", "ipv6")}
    wait_until(lambda: links(every) == both, "both families on both interfaces", FIND_S)     # IPv6 takes its time
    assert {interface for interface, _ in links(one)} == {"eth1"} and seen(one)["g1"]["interfaces"] == ["eth1"]
    assert none.statuses() == {"g3": "alive"} and "no interface" in discover(none).stderr


def test_an_interface_that_is_made_later_is_used_and_one_that_is_removed_is_not(bridge):
    net = bridge("a", "b")
    for name in ("a", "b"):
        net[name].run("ip", "link", "set", "eth0", "multicast", "off")
    g1, g2 = net.gossipd("g1", "a"), net.gossipd("g2", "b")
    start(g1, g2)
    assert g1.statuses() == {"g1": "alive"} and "no interface" in discover(g1).stderr
    net.second_network("eth1", "10.48.0")
    wait_until_together(g1, g2)
    assert "eth1" in discover(g1).stdout
    net.remove_network("eth1")
    wait_until(lambda: not listens(g1), "it does not listen there any more", FIND_S)
    net.second_network("eth1", "10.48.0")
    wait_until(lambda: listens(g1) and listens(g2), "it listens there again", FIND_S)
    wait_until(lambda: seen(g1).get("g2", {}).get("interfaces") == ["eth1"], "and hears", FIND_S)


def test_who_is_told_to_end_says_goodbye_too_without_leaving(bridge):
    net = bridge("a", "b")
    g1, g2 = net.gossipd("g1", "a"), net.gossipd("g2", "b")
    start(g1, g2)
    wait_until_together(g1, g2)
    assert list(seen(g1)) == ["g2"]
    g2.signal(signal.SIGTERM)
    g2.wait_for_end(10.0)
    wait_until(lambda: not seen(g1, "--wait", "0"), "the goodbye is heard", FIND_S)
    g2.start()
    wait_until_together(g1, g2)
