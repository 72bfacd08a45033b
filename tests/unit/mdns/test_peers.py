"""Whom to join, and when: never a storm, never never again."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from gossipd.mdns.peers import JOIN_HOSTS_MAX, PEER_INTERFACES_MAX, PEERS_MAX, Peers
from tests.unit.mdns.fakes import OWN, FakeCluster

BEA, CAL = ("192.0.2.2", 7946), ("192.0.2.3", 7946)


class World:
    """Peers on a clock. What is heard is repeated every 50 s; joins take no time and make nobody a member."""

    def __init__(self, *heard, seed=1):
        self.cluster = FakeCluster()
        self.peers = Peers(OWN, self.cluster, Random(seed))
        self.now = 0.0
        self.joins = []
        self.hear(*heard)

    def hear(self, *addresses, ttl=120):
        return [self.peers.found(f"n{address[0]}", address, ttl, address[0], "eth0", self.now)
                for address in addresses]

    def run(self, until, repeat=(), joins_work=False):
        """The joins on the way."""
        before, next_repeat = len(self.joins), self.now
        while (at := min(max(self.now, self.peers.next_deadline()), next_repeat if repeat else until)) < until:
            self.now = at
            if repeat and at == next_repeat:
                self.hear(*repeat)
                next_repeat += 50.0
            if self.peers.next_deadline() <= at and (addresses := self.peers.take_due(at)):
                self.joins.append((at, addresses))
                if joins_work:
                    self.cluster.members |= dict.fromkeys(addresses, "alive")
                self.peers.join_done(at)
        self.now = until
        return self.joins[before:]


def test_a_host_that_does_not_answer_is_tried_again_less_and_less_often_while_it_is_heard_of():
    times = [at for at, _ in World(BEA).run(600.0, repeat=[BEA])]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] == pytest.approx(0.1)
    nominal = [2, 4, 8, 16, 32, 60, 60]
    assert [round(pause / wanted) for pause, wanted in zip(pauses, nominal, strict=False)] == 7 * [1]
    assert all(0.8 * 60 <= pause <= 1.2 * 60 for pause in pauses[5:])


def test_a_host_that_does_not_answer_for_days_is_tried_at_the_same_pace_as_ever():
    world = World(BEA)
    times = [at for at, _ in world.run(100_000.0, repeat=[BEA])]
    assert world.peers.listed(world.now)[0].failures == len(times) > 1100 and times[-1] > 100_000.0 - 1.2 * 60


def test_who_is_not_heard_of_any_more_is_not_tried_any_more():
    world = World(BEA)
    assert max(at for at, _ in world.run(1000.0)) < 120.0
    assert world.peers.listed(1000.0) == [] and world.peers.next_deadline() > 1000.0


def test_a_host_that_became_a_member_is_left_alone():
    world = World(BEA)
    assert len(world.run(500.0, repeat=[BEA], joins_work=True)) == 1
    assert world.peers.status(world.peers.listed(500.0)[0]) == "member"


def test_a_member_that_failed_is_joined_when_it_is_heard_of_again():
    """After a partition: Serf's agent never does (spec agent, T14)."""
    world = World(BEA)
    world.run(100.0, repeat=[BEA], joins_work=True)
    world.cluster.members[BEA] = "failed"
    assert [addresses for _, addresses in world.run(200.0)] == []
    world.hear(BEA)
    assert [addresses for _, addresses in world.run(202.0, joins_work=True)] == [[BEA]]


def test_after_it_was_a_member_its_failures_are_forgotten():
    world = World(BEA)
    world.run(40.0)
    failures = world.peers.listed(40.0)[0].failures
    world.cluster.members[BEA] = "alive"
    world.run(100.0)
    assert (failures > 3, world.peers.listed(100.0)[0].failures) == (True, 0)


def test_a_member_that_left_is_joined_only_if_it_is_heard_of_later():
    world = World()
    world.cluster.members[BEA], world.cluster.left_at[BEA] = "left", 5.0
    world.hear(BEA)
    assert world.run(5.0) == []
    world.now = 6.0
    world.hear(BEA)
    assert [addresses for _, addresses in world.run(7.0)] == [[BEA]]


def test_joins_come_one_at_a_time_a_second_apart_to_a_few_hosts_each():
    crowd = [(f"192.0.2.{number}", 7946) for number in range(2, 102)]
    world = World(*crowd)
    joins = world.run(10.0, joins_work=True)
    assert {len(addresses) for _, addresses in joins} == {JOIN_HOSTS_MAX}
    assert min(later - earlier for (earlier, _), (later, _) in pairwise(joins)) >= 0.999
    assert len({address for _, addresses in joins for address in addresses}) == JOIN_HOSTS_MAX * len(joins)


def test_while_a_join_is_under_way_there_is_no_other():
    world = World(BEA)
    assert world.peers.take_due(0.1) == [BEA]
    world.hear(CAL)
    assert world.peers.next_deadline() > 1e9
    assert world.peers.status(world.peers.listed(1.0)[0]) == "joining"
    world.peers.join_done(3.0)
    assert [world.peers.status(peer) for peer in world.peers.listed(3.0)] == ["failed", "waiting"]
    assert [addresses for _, addresses in world.run(4.1)] == [[CAL]]


def test_members_leave_it_to_a_newcomer_to_join_and_do_not_all_try_at_once():
    times = []
    for seed in range(200):
        world = World(seed=seed)
        world.cluster.members = {(f"192.0.3.{number}", 1): "alive" for number in range(200)}
        world.hear(BEA)
        times.append(world.run(100.0)[0][0])
    assert min(times) >= 1.0 and max(times) <= 21.0
    assert max(sum(second <= at < second + 1 for at in times) for second in range(25)) < 30


def test_the_others_find_out_that_one_of_them_was_enough():
    world = World()
    world.cluster.members = {(f"192.0.3.{number}", 1): "alive" for number in range(100)}
    world.hear(BEA)
    world.cluster.members[BEA] = "alive"        # another one's join, by gossip
    assert world.run(100.0) == []


def test_our_own_address_is_nobody():
    world = World()
    assert world.hear(OWN) == [True]
    assert world.peers.listed(0.0) == [] and world.run(10.0) == []


def test_it_remembers_where_each_was_heard_up_to_a_limit():
    world = World(BEA)
    for number in range(20):
        world.peers.found("bea", BEA, 120, BEA[0], f"eth{number}", 1.0)
    peer, = world.peers.listed(1.0)
    assert peer.name == "bea" and list(peer.interfaces) == [f"eth{number}" for number in range(PEER_INTERFACES_MAX)]


def test_the_table_is_bounded_and_gives_room_for_those_that_failed_longest_ago():
    world = World()
    crowd = [(f"10.0.{number >> 8}.{number & 255}", 7946) for number in range(PEERS_MAX)]
    assert all(world.hear(*crowd))
    assert world.hear(BEA) == [False]
    tried = world.peers.take_due(1.0)
    world.peers.join_done(1.0)
    assert world.hear(BEA) == [True]
    known = {peer.address for peer in world.peers.listed(2.0)}
    assert BEA in known and len(known & set(tried)) == len(tried) // 2 and len(known) > PEERS_MAX - 3


def test_a_full_table_is_not_searched_for_room_again_and_again(monkeypatch):
    world, searched = World(), []
    world.hear(*[(f"10.0.{number >> 8}.{number & 255}", 7946) for number in range(PEERS_MAX)])
    listed = Peers.listed
    monkeypatch.setattr(Peers, "listed", lambda peers, now: searched.append(now) or listed(peers, now))
    others = [(f"10.1.{number >> 8}.{number & 255}", 7946) for number in range(1000)]
    assert not any(world.hear(*others)) and len(searched) == 1


def test_a_time_to_live_is_believed_up_to_a_limit():
    world = World()
    world.hear(BEA, ttl=2**31)
    assert world.peers.listed(4499.0) and not world.peers.listed(4501.0)
