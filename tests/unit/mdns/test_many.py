"""Many machines on one link, in virtual time: they become one cluster without a storm, also after a partition."""

from __future__ import annotations

from ipaddress import ip_network
from random import Random

from gossipd.mdns.discovery import Ask, Discovery, JoinPeers, Tell
from gossipd.mdns.links import Link
from gossipd.mdns.service import Service

LINK = Link("eth0", False, (ip_network("192.0.2.0/24"),))
GOSSIP_S = 0.5      # after a join everybody knows everybody


class Node:
    def __init__(self, number, world):
        self.address = (f"192.0.2.{number}", 7946)
        self.world, self.side = world, 0
        self.known = {self.address}
        self.lost = set()
        service = Service("app", f"n{number}", self.address)
        self.machine = Discovery(service, self, [False], Random(number), {})

    # what it knows of the cluster

    def others(self):
        return len(self.known) - 1

    def complete(self):
        return self.others() > 0 and not self.lost

    def settled(self, address, heard):
        return address in self.known


class World:
    def __init__(self, count):
        self.now = 0.0
        self.nodes = {node.address: node for node in (Node(number, self) for number in range(1, count + 1))}
        self.joins, self.packets = [], 0
        self.merges = []        # when, a set of nodes that will know each other
        for node in self.nodes.values():
            node.machine.set_links([LINK], node.machine._rng.uniform(0.0, 0.3))

    def run(self, until):
        while True:
            node = min(self.nodes.values(), key=lambda node: node.machine.next_deadline())
            at = max(self.now, min([node.machine.next_deadline(), *(when for when, _ in self.merges)]))
            if at > until:
                self.now = until
                return
            self.now = at
            self._merge()
            out = []
            node.machine.advance(at, out)
            self._do(node, out)

    def _do(self, node, actions):
        for action in actions:
            match action:
                case Ask(_, data):
                    self._deliver(node, data, (node.address[0], 40000), None)
                case Tell(_, data, to):
                    self._deliver(node, data, (node.address[0], 5353), to)
                case JoinPeers(addresses):
                    self.joins.append((self.now, node.address, addresses))
                    reached = [peer for peer in addresses if self.nodes[peer].side == node.side]
                    self.merges += [(self.now + GOSSIP_S, (node.address, peer)) for peer in reached]
                    node.machine.join_done(self.now)

    def _deliver(self, sender, data, source, to):
        self.packets += 1
        for node in self.nodes.values():
            if node.side == sender.side and (to is None or to[0] == node.address[0]):
                out = []
                node.machine.hear(data, source, LINK, to is None, self.now, out)
                self._do(node, out)

    def _merge(self):
        for when, (one, other) in list(self.merges):
            if when <= self.now:
                self.merges.remove((when, (one, other)))
                everybody = self.nodes[one].known | self.nodes[other].known
                for address in everybody:
                    self.nodes[address].known = set(everybody)
                    self.nodes[address].lost -= everybody

    def split(self):
        """Two halves that fail for each other."""
        for number, node in enumerate(self.nodes.values()):
            node.side = number % 2
        for node in self.nodes.values():
            there = {other.address for other in self.nodes.values() if other.side != node.side}
            node.lost, node.known = node.known & there, node.known - there

    def together(self):
        return all(len(node.known) == len(self.nodes) for node in self.nodes.values())


def test_machines_that_start_together_are_one_cluster_at_once_and_quiet_afterwards():
    world = World(16)
    world.run(5.0)
    assert world.together()
    assert len(world.joins) <= 2 * 16 and all(len(addresses) <= 3 for _, _, addresses in world.joins)
    joins, packets = len(world.joins), world.packets
    world.run(605.0)
    assert len(world.joins) == joins
    assert (world.packets - packets) / 600 < 16, "packets a second of all of them"


def test_a_newcomer_is_not_joined_by_everybody():
    world = World(16)
    newcomer = list(world.nodes.values())[-1]
    newcomer.machine.set_links([], 0.0)
    world.run(60.0)
    before = len(world.joins)
    newcomer.machine.set_links([LINK], 60.0)
    world.run(65.0)
    assert world.together() and len(world.joins) - before <= 2


def test_after_a_partition_they_find_each_other_again():
    world = World(8)
    world.run(10.0)
    world.split()
    world.run(400.0)
    assert not world.together()
    for node in world.nodes.values():
        node.side = 0
    before = len(world.joins)
    world.run(480.0)
    assert world.together() and len(world.joins) - before <= 8
