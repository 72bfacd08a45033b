"""Real nodes for the simulated world."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import fields
from random import Random
from typing import Any

from gossipd.addresses import Address, pack_ip
from gossipd.events import MEMBER_JOIN
from gossipd.node import Node, NodeConfig
from gossipd.serf.config import SerfConfig
from gossipd.serf.members import SerfMember
from gossipd.serf.snapshot import replay
from gossipd.swim.config import SwimConfig
from gossipd.swim.gossiper import PUSH_PULL
from gossipd.swim.members import ALIVE, Member
from gossipd.swim.sync import periodic_interval_s
from tests.sim.checkers import ACQUAINTED
from tests.sim.network import Quality
from tests.sim.trace import Trace
from tests.sim.world import World

SWIM_FIELDS = frozenset(field.name for field in fields(SwimConfig))
SERF_FIELDS = frozenset(field.name for field in fields(SerfConfig))
SNAPSHOT = "snapshot"           # among the settings: the bytes of the file to start from; without it none is kept
NO_GATHERING = {"member_period_s": 0.0, "member_quiescent_s": 0.0, "user_period_s": 0.0, "user_quiescent_s": 0.0}
"""Checkers want to hear of everything at once."""


def real_core(name: str, address: Address, rng: Random, entropy: Callable[[int], bytes],
              settings: dict[str, Any]) -> Node:
    """A node as the daemon would make it; `settings` are fields of SwimConfig or SerfConfig, or the snapshot."""
    unknown = settings.keys() - SWIM_FIELDS - SERF_FIELDS - {SNAPSHOT}
    assert not unknown, f"no such settings: {sorted(unknown)}"
    own: dict[str, Any] = {"name": name, "addr": pack_ip(address[0]), "port": address[1], "bind_port": address[1]}
    swim = SwimConfig(**{**own, **{key: value for key, value in settings.items() if key in SWIM_FIELDS}})
    serf = SerfConfig(**{key: value for key, value in settings.items() if key in SERF_FIELDS})
    restored = replay(settings[SNAPSHOT]) if SNAPSHOT in settings else None
    return Node(NodeConfig(swim=swim, serf=serf), rng=rng, entropy=entropy, restored=restored)


def real_world(seed: int, nodes: int = 0, quality: Quality | None = None, *, acquainted: bool = True,
               trace: Trace | None = None, **settings: Any) -> World:
    """A world with nodes n0, n1, ... that were just started, and know each other if `acquainted`."""
    world = World(seed, quality, make_core=real_core, trace=trace, **{**NO_GATHERING, **settings})
    for number in range(nodes):
        world.add(f"n{number}", start=not acquainted)
    if acquainted:
        for host in world.hosts.values():
            world.start(host)
        acquaint(world)
    return world


def acquaint(world: World) -> None:
    """Put everybody into everybody's tables, as after a long quiet time, without a million messages."""
    gc.disable()
    nodes = {name: host.core for name, host in world.hosts.items() if isinstance(host.core, Node)}
    for name, node in nodes.items():
        swim, serf = node._swim, node.serf.roster.table
        for other in nodes.values():
            local = other._swim.local
            if other is not node:
                member = Member(local.name, local.addr, local.port, local.meta, local.vsn, world.now)
                member.incarnation = local.incarnation
                member.set_state(ALIVE, world.now, "joined")
                swim.members._by_name[member.name] = member
                swim.members.order.append(member)
                serf[member.name] = record = SerfMember(member, world.now)
                record.told = MEMBER_JOIN
        swim.members.shuffle()
        swim.version += 1
        swim.queue.prune(0, world.now)      # nobody needs to hear of the start
        interval = periodic_interval_s(swim.config.push_pull_interval_s, len(nodes))
        if interval > 0:
            node.gossiper._timers.set(PUSH_PULL, world.now + interval * world.rng.random())
        host = world.hosts[name]
        host.events.append((world.now, ACQUAINTED, name))
        world._arm(host)
    gc.freeze()         # a million records that stay: collections need not look at them again
    gc.enable()
