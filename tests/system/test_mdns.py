"""Discovery with no seed at all: gossipd and Serf on a bridge of network namespaces, IPv4 and IPv6."""

from __future__ import annotations

import json
import os
import socket
import subprocess

import pytest

from gossipd.mdns.messages import A, Packet, Record, encode
from gossipd.mdns.service import Service
from tests.support.bridge import FIND_S, GROUP, WHAT, discover, seen, start, wait_until_together
from tests.support.processes import wait_until, wait_until_all_see
from tests.support.require import need_iptables

# --- with Serf ---

@pytest.mark.parametrize("options", [{}, {"ipv6": False}, {"ipv4": False, "gossip": 6}], ids=["both", "ipv4", "ipv6"])
def test_gossipd_and_serf_find_each_other_without_a_seed(bridge, options):
    net = bridge("a", "b", "c", "d", serf=True, **options)
    agents = [net.gossipd("g1", "a"), net.serf("s1", "b"), net.gossipd("g2", "c"), net.serf("s2", "d")]
    start(*agents)
    wait_until_together(*agents)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("finder", ["gossipd", "serf"])
def test_each_finds_the_other_by_itself(bridge, family, finder):
    """Only one of them can dial, and gossipd hears and speaks mDNS by one family. Hosts have both: without either,
    Serf's agent gives up asking."""
    need_iptables(f"{WHAT} in one direction")
    net = bridge("a", "b", serf=True, gossip=family)
    ours, theirs = net.gossipd("g1", "a", ipv4=family == 4, ipv6=family == 6), net.serf("s1", "b")
    refuser = net["b" if finder == "gossipd" else "a"]
    refuser.run("iptables" if family == 4 else "ip6tables", "-A", "OUTPUT", "-o", "eth0", "-p", "tcp", "--syn",
                "-j", "DROP")
    for agent in (theirs, ours) if finder == "gossipd" else (ours, theirs):     # Serf asks once a minute
        agent.start()
        if agent is ours:
            wait_until(lambda: json.loads(discover(ours, "-o", "json").stdout)["links"], "it listens", FIND_S)
    wait_until_together(ours, theirs)
    told = "joined discovered members" in ours.log_text(), "agent.mdns: Joined" in theirs.log_text()
    assert told[0 if finder == "gossipd" else 1]


def test_gossipctl_discover_shows_who_is_heard_and_where(bridge):
    net = bridge("a", "b", "c", serf=True)
    g1, g2, s1 = agents = net.gossipd("g1", "a"), net.gossipd("g2", "b"), net.serf("s1", "c")
    start(*agents)
    wait_until_together(*agents)
    assert {name: (one["address"], one["interfaces"], one["status"]) for name, one in seen(g1).items()} == {
        "g2": ("10.47.0.2:7946", ["eth0"], "member"), "s1": ("10.47.0.3:7946", ["eth0"], "member")}
    lines = discover(g1).stdout.splitlines()
    assert lines[0].split() == ["NAME", "ADDRESS", "STATUS", "INTERFACE", "HEARD"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["g2", "10.47.0.2:7946", "member", "eth0"], ["s1", "10.47.0.3:7946", "member", "eth0"]]


# --- gossipd alone ---

def test_two_daemons_on_one_host_share_the_port(bridge):
    net = bridge("a")
    net["a"].run("ip", "addr", "add", "10.47.0.9/24", "dev", "eth0")
    g1, g2 = net.gossipd("g1", "a"), net.gossipd("g2", "a", host="10.47.0.9")
    start(g1, g2)
    wait_until_together(g1, g2)


def test_on_loopback_daemons_find_each_other_if_it_is_named(bridge):
    net = bridge("a")
    g1, g2 = (net.gossipd(f"g{n}", "a", host=f"127.0.0.{n}", interfaces=["lo"]) for n in (1, 2))
    start(g1, g2)
    wait_until_together(g1, g2)
    assert seen(g1)["g2"]["interfaces"] == ["lo"]


def test_other_clusters_and_junk_are_not_joined(bridge):
    net = bridge("a", "b", "c")
    g1, other = net.gossipd("g1", "a"), net.gossipd("g2", "b", cluster="other")
    start(g1, other)
    wait_until(lambda: json.loads(discover(g1, "-o", "json").stdout)["links"], "it listens", FIND_S)
    printer = Record((b"Laser", b"_printer", b"_tcp", b"local"), 33, 120, target=(b"x", b"local"), port=631)
    with net["c"].inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("10.47.0.3", 5353))
        for data in (
            encode(Packet(response=True, records=[printer, Record((b"x", b"local"), A, 120, host="10.47.0.3")])),
            Service("app", "loop", ("127.0.0.1", 7946)).announcement(),
            Service("app", "group", ("224.0.0.251", 7946)).announcement(),
            Service("app", "self", ("10.47.0.1", 7946)).announcement(),
            os.urandom(300), Service("app", "cut", ("10.47.0.3", 7946)).announcement()[:-30],
            Service("app", "real", ("10.47.0.3", 7946)).announcement(),
        ):
            sock.sendto(data, GROUP)
    wait_until(lambda: "real" in seen(g1, "--wait", "0"), "what could be a member is heard of", FIND_S)
    assert list(seen(g1)) == ["real"]
    wait_until(lambda: seen(g1, "--wait", "0")["real"]["failures"] > 1, "it is tried again", FIND_S)
    assert g1.statuses() == {"g1": "alive"} and other.statuses() == {"g2": "alive"}


def test_who_leaves_says_goodbye(bridge):
    net = bridge("a", "b")
    g1, g2 = net.gossipd("g1", "a"), net.gossipd("g2", "b")
    start(g1, g2)
    wait_until_together(g1, g2)
    assert list(seen(g1)) == ["g2"]
    with g2.client() as client:
        client.leave()
    assert g2.wait_for_end(10.0) == 0
    code = discover(g1, "--wait", "0")
    assert (code.returncode, code.stdout) == (3, "") and "nobody of cluster 'app' is heard on eth0" in code.stderr


def test_a_link_that_comes_later_is_used_at_once_and_a_partition_heals(bridge):
    net = bridge("a", "b")
    net["b"].run("ip", "link", "set", "eth0", "down")
    advertise = "--advertise", "10.47.0.2"
    g1, g2 = net.gossipd("g1", "a"), net.gossipd("g2", "b", host="0.0.0.0", flags=advertise, interfaces=["eth0"])
    start(g1, g2)
    wait_until(lambda: "no discovery there" in g2.log_text(), "a missing interface is told", FIND_S)
    net["b"].run("ip", "link", "set", "eth0", "up")
    wait_until_together(g1, g2)
    net["b"].run("ip", "link", "set", "eth0", "down")
    wait_until_all_see([g1], {"g1": "alive", "g2": "failed"}, FIND_S)
    net["b"].run("ip", "link", "set", "eth0", "up")
    wait_until_together(g1, g2)


def test_discovery_that_is_off_says_so(bridge):
    net = bridge("a")
    g1 = net.gossipd("g1", "a", cluster="")
    g1.start()
    code = discover(g1)
    assert (code.returncode, code.stdout) == (3, "") and "discovery is off" in code.stderr
    assert json.loads(discover(g1, "-o", "json").stdout) == {"cluster": None, "links": [], "seen": []}
    with net["a"].inside():
        assert "5353" not in subprocess.run(["ss", "-lun"], capture_output=True, text=True).stdout
