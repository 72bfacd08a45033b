"""Firewalls that reject: what one host sees of another proves nothing about that one's process.

Real daemons, each in a network namespace of its own, on one bridge. They have no grace, in which a victim could object:
all that protects it is the number of witnesses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.netns import Network
from tests.support.processes import Gossipd, Lab, alive, wait_until, wait_until_all_see
from tests.support.require import need_iptables

NAMES = ("one", "two", "three", "four")
SETTINGS = {"swim": {"refusal_grace": 0}, "serf": {"coalesce_period": 0}}
UDP = ("-p", "udp", "--dport", "7946", "-j", "REJECT", "--reject-with", "icmp-port-unreachable")
TCP = ("-p", "tcp", "--dport", "7946", "-j", "REJECT", "--reject-with", "tcp-reset")
REJECTED = 6            # packets; the verdict would come with the first
SETTLE_S, FAIL_S, OBSERVE_S = 15.0, 6.0, 40.0


class Hosts:
    def __init__(self, lab: Lab, net: Network) -> None:
        self.lab, self.net = lab, net
        self.agents = {name: lab.gossipd(name, net[name].host, net[name].inside, settings=SETTINGS) for name in NAMES}

    def __getitem__(self, name: str) -> Gossipd:
        return self.agents[name]

    def gather(self) -> None:
        first, *others = self.agents.values()
        self.lab.start(first, *others)
        for agent in others:
            agent.join(first.gossip)
        wait_until_all_see(self.agents.values(), alive(self.agents.values()), SETTLE_S)

    def logs(self) -> list[tuple[str, str]]:
        return self.lab.logs()

    def rejected(self, name: str, chain: str) -> dict[str, int]:
        """Packets that the rules of this host have rejected, by protocol."""
        rules = self.net[name].run("iptables", "-vS", chain)
        return {protocol: int(count) for protocol, count in re.findall(r"-p (\w+) .*-c (\d+)", rules)}


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    need_iptables("a firewall's REJECT is no crash")
    with Network(NAMES) as net, Lab() as lab:
        hosts = Hosts(lab, net)
        hosts.gather()
        yield hosts


@pytest.mark.parametrize("place", ["at the one that asks", "at the one that is asked"])
def test_what_one_hosts_firewall_rejects_is_not_declared_failed(hosts, place):
    """The victim's own firewall answers exactly as a host without the process would, but only to one of us."""
    watches = [agent.watch("member-failed") for agent in hosts.agents.values()]
    asker, victim = hosts["one"], hosts["two"]
    if place == "at the one that asks":
        firewall, rule = "one", ["OUTPUT", "-d", victim.host]
    else:
        firewall, rule = "two", ["INPUT", "-s", asker.host]
    for protocol in (TCP, UDP):
        hosts.net[firewall].run("iptables", "-A", *rule, *protocol)

    wait_until(lambda: hosts.rejected(firewall, rule[0]).get("udp", 0) >= REJECTED, "one cannot reach two", OBSERVE_S)
    assert [watch.told() for watch in watches] == [[], [], [], []]
    for agent in hosts.agents.values():
        wait_until(lambda agent=agent: set(agent.states().values()) == {"alive"}, f"{agent} suspects nobody", SETTLE_S)


def test_what_all_others_see_rejected_is_a_crash(hosts):
    """The same rule for everybody: so the test above does not pass for want of evidence."""
    for protocol in (TCP, UDP):
        hosts.net["two"].run("iptables", "-A", "INPUT", "-i", "eth0", *protocol)
    others = [agent for name, agent in hosts.agents.items() if name != "two"]
    wait_until_all_see(others, {**alive(others), "two": "failed"}, FAIL_S)
    assert "port refused, seen by" in (hosts["one"].members()["two"].reason or "")


def test_a_killed_process_is_seen_as_failed_across_hosts(hosts):
    hosts["two"].kill()
    others = [agent for name, agent in hosts.agents.items() if name != "two"]
    wait_until_all_see(others, {**alive(others), "two": "failed"}, FAIL_S)
    assert "port refused, seen by" in (hosts["one"].members()["two"].reason or "")
