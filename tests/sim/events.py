"""Scenarios of user events, and of the intents that travel like them."""

from __future__ import annotations

from functools import partial
from statistics import median

from gossipd.commands import Join
from gossipd.events import MEMBER_FAILED, MEMBER_JOIN, Event, MemberEvent
from gossipd.node import Node
from tests.sim.checkers import heard, status_at
from tests.sim.hearing import Ears
from tests.sim.host import Host
from tests.sim.network import Quality
from tests.sim.run import Run
from tests.sim.world import World

HISTORY = 400               # events: fewer than the ring has slots


def events(run: Run) -> None:
    """Events of all nodes, where packets are lost, doubled and overtaken: each node hears each of them once."""
    quality = Quality(loss=0.05, duplicate=0.05, reorder=0.05)
    world = run.begin(quality=quality)
    ears = Ears(world)
    names = list(world.hosts)
    for number in range(100):
        world.at(5.0 + 10.0 * world.rng.random(), ears.send, world.rng.choice(names), f"e{number}", b"%d" % number)
    world.run_until(20.0)
    run.facts["missed_by_gossip"] = len(ears.missing())
    world.run_until(20.0 + run.seconds)
    run.problems += ears.problems()
    delays = ears.delays()
    run.facts["median_s"], run.facts["p99_s"] = round(median(delays), 4), round(delays[len(delays) * 99 // 100], 4)
    run.facts["overtakings"] = ears.overtakings()
    run.agree(30.0)


def events_in_turn(run: Run) -> None:
    """Each event is sent when the last one has spread: everybody hears them in the order of their Lamport times."""
    world = run.begin()
    ears = Ears(world)
    names = list(world.hosts)
    for number in range(50):
        world.at(5.0 + 1.0 * number, ears.send, world.rng.choice(names), f"e{number}")
    world.run_until(5.0 + 50.0 + run.seconds)
    run.problems += ears.problems()
    run.expect(ears.overtakings() == 0, f"{ears.overtakings()} events overtook an earlier one")
    times = [sent.ltime for sent in ears.sent.values()]
    run.expect(sorted(set(times)) == times, "events sent one after the other do not have rising times")


def history(run: Run) -> None:
    """Newcomers to a cluster with a long history: those who ask for it hear all of it once, the others none of it."""
    world = run.begin()
    ears = Ears(world)
    for number in range(HISTORY):
        world.at(5.0 + 0.02 * number, ears.send, f"n{number % run.nodes}", f"e{number}", bytes(100))
    world.run_until(5.0 + 0.02 * HISTORY + 2.0)
    for name, replay in (("curious", True), ("indifferent", False)):
        world.add(name)
        world.command(name, partial(Join, addresses=[world.hosts["n0"].address], replay=replay))
    world.run_for(2.0)
    run.facts["replayed"] = ears.count("curious").total()
    run.expect(sorted(ears.count("curious")) == sorted(ears.sent), "the one who asked for it did not hear all of it")
    run.expect(not ears.count("indifferent"), f"{ears.count('indifferent').total()} heard without having asked")
    old = set(ears.sent)
    ears.send("n1", "news")
    world.run_for(run.seconds)      # push/pulls go on, and still bring no old ones
    run.expect(ears.count("indifferent") == {"news": 1}, f"heard: {ears.count('indifferent').most_common(5)}")
    for host in ears.heard.values():
        host[:] = [one for one in host if one.name not in old]
    for name in old:
        del ears.sent[name]
    run.problems += ears.problems()


def intents_first(run: Run) -> None:
    """A node is cut off while others come: of these it first hears that they leave, and then meets them again."""
    world, deaf = run.begin(), f"n{run.nodes - 1}"
    world.run_until(5.0)
    names = [f"x{number}" for number in range(5)]
    leaving_already: list[str] = []

    def listen(host: Host, event: Event) -> None:
        if host.name == deaf and isinstance(event, MemberEvent) and event.kind == MEMBER_JOIN:
            leaving_already.extend(member.name for member in event.members if member.status == "leaving")

    world.listeners.append(listen)
    for name in names:
        world.split([deaf])
        _come(world, name)
        world.run_for(3.0)
        world.heal()
        world.leave(name)
        world.run_for(3.0)
    core = world.hosts[deaf].core
    assert isinstance(core, Node)
    run.facts["intents_without_member"] = sum(name in names for name, _ in core.serf.roster.intents)
    run.expect(run.facts["intents_without_member"] != 0, "no intent came before its member: this run shows nothing")
    for name in names:
        statuses = _statuses(world, name)
        run.expect(statuses.keys() <= {"left", ""}, f"{name}: {statuses}")
        failed = heard(world, name, MEMBER_FAILED)
        run.expect(not failed, f"{name} failed at {sorted(failed)}")
        _come_back(world, name)
    run.facts["back_after_s"] = run.agree(run.seconds)
    run.facts["leaving_when_first_seen"] = len(leaving_already)
    run.expect(bool(leaving_already), "the intents that came first did not count")


def _come(world: World, name: str) -> None:
    world.add(name)
    world.join(name, "n0")


def _come_back(world: World, name: str) -> None:
    world.restart(name)
    world.join(name, "n1")


def _statuses(world: World, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for host in world.running():
        found.setdefault(status_at(host, name), []).append(host.name)
    return found
