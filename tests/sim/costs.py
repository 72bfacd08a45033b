"""Scenarios that count what it costs."""

from __future__ import annotations

from collections import Counter
from statistics import median

from gossipd.events import MEMBER_FAILED
from gossipd.wire import messages as m
from gossipd.wire.packet import Envelope
from tests.sim.hearing import Ears
from tests.sim.membership import start_and_join
from tests.sim.run import Run
from tests.sim.world import World

EVENTS, EVENTS_BEGIN_S = 40, 5.0


def quiet(run: Run) -> None:
    """Nothing happens, for the cost of it: nobody fails, and only probes and push/pulls travel."""
    world = run.begin()
    world.run_until(run.seconds)
    run.facts["packets_per_node_s"] = round(_packets(world) / run.nodes / run.seconds, 3)
    sent_bytes = sum(host.sent_bytes for host in world.hosts.values())
    run.facts["bytes_per_node_s"] = round(sent_bytes / run.nodes / run.seconds, 1)
    run.expect(not any(kind == MEMBER_FAILED for host in world.hosts.values() for _, kind, _ in host.events),
               "somebody failed")


def eager(run: Run) -> None:
    """The same joins and crashes with and without eager first copies: the updates sent do not become more."""
    counts = {}
    for eagerly in (False, True):
        world = run.begin(acquainted=False, nodes=1, eager=eagerly)
        counts[eagerly] = sent = Counter[int]()
        _count_updates(world, sent)
        for number in range(1, run.nodes):
            world.at(0.1 * number, start_and_join, world, f"n{number}", "n0")
        world.at(0.1 * run.nodes + 10.0, world.crash, "n1")
        world.run_until(0.1 * run.nodes + run.seconds)
        run.agree(10.0)
        run.facts["eager_updates" if eagerly else "plain_updates"] = sent.total()
    run.expect(counts[True].total() <= 1.05 * counts[False].total(), f"more updates: {counts}")


def events(run: Run) -> None:
    """User events with and without eager first copies: the packets that leave for an event do not become more."""
    for eagerly in (False, True):
        world = run.begin(eager=eagerly)
        ears = Ears(world)
        world.run_until(EVENTS_BEGIN_S)
        before = _packets(world)
        world.run_for(run.seconds)
        idle = _packets(world) - before
        for number in range(EVENTS):
            world.at(world.now + run.seconds * number / EVENTS, ears.send, f"n{number % run.nodes}", f"e{number}")
        world.run_for(run.seconds)
        each = (_packets(world) - before - 2 * idle) / EVENTS
        run.facts["eager_packets" if eagerly else "plain_packets"] = round(each, 1)
        run.facts["eager_all_s" if eagerly else "plain_all_s"] = round(median(ears.last_delays()), 3)
        run.problems += ears.problems()


def _packets(world: World) -> int:
    return sum(host.sent_packets for host in world.hosts.values())


def _count_updates(world: World, sent: Counter[int]) -> None:
    envelope = Envelope(None, b"", False, lambda size: bytes(size))

    def look(_host: object, data: bytes, _to: object) -> None:
        for part in envelope.open(data)[0]:
            if part[0] in (m.ALIVE, m.SUSPECT, m.DEAD, m.USER):
                sent[part[0]] += 1

    world.taps.append(look)
