"""Scenarios of snapshots and of disputed names: who a node is after a restart, and whose a name is."""

from __future__ import annotations

from gossipd.node import Node
from tests.sim.checkers import CLOCKS, status_at
from tests.sim.hearing import Ears, Mouths, ask_and_wait, keep_clocks, lose_tail, restart_from_disk
from tests.sim.host import Host, HostState
from tests.sim.run import Run
from tests.sim.world import World


def _with_snapshots(run: Run) -> World:
    """A cluster whose nodes keep snapshots and have joined each other, so that these know everybody."""
    world = run.begin(acquainted=False, snapshot=b"")
    for name in list(world.hosts)[1:]:
        world.join(name, "n0")
    keep_clocks(world)
    run.agree(10.0)
    return world


def clocks_kept(run: Run) -> None:
    """A node starts again from its snapshot: it hears what it missed, and nothing that it had heard before."""
    world = _with_snapshots(run)
    ears = Ears(world)
    mouths = Mouths(world, lambda host, event: 0.01)
    for number in range(40):
        ears.send(f"n{number % run.nodes}", f"before-{number}")
        world.run_for(0.1)
    ask_and_wait(world, "n0", timeout_s=1.0)
    world.run_for(1.0)
    clocks = _clocks(world.hosts["n1"])
    world.crash("n1")
    world.run_for(5.0)
    for number in range(5):
        ears.send("n2", f"missed-{number}")
    world.run_for(1.0)
    asked_before = mouths.asked["n1"]
    restart_from_disk(world, "n1")
    world.run_for(0.001)
    run.facts["clocks"] = f"{clocks} then {_clocks(world.hosts['n1'])}"
    run.expect(all(new >= old for new, old in zip(_clocks(world.hosts["n1"]), clocks, strict=True)),
               f"clocks went back: {run.facts['clocks']}")
    run.facts["back_after_s"] = run.agree(10.0)
    world.run_for(run.seconds)
    ears.send("n1", "after")
    world.run_for(2.0)
    wanted = {*(f"missed-{number}" for number in range(5)), "after"}
    run.expect(ears.count("n1", boot=1).keys() == wanted, f"heard after the restart: {ears.count('n1', boot=1)}")
    run.expect(mouths.asked["n1"] == asked_before, "it was asked again what it had been asked before")
    run.problems += ears.problems()


def all_down(run: Run) -> None:
    """All processes die within a moment, the last lines unwritten, and start again with snapshots alone."""
    world = _with_snapshots(run)
    ears = Ears(world)
    Mouths(world, lambda host, event: 0.01)
    for number in range(20):
        ears.send(f"n{number % run.nodes}", f"before-{number}")
        world.run_for(0.1)
    world.run_for(1.0)
    for name in world.hosts:
        world.at(world.now + 0.3 * world.rng.random(), world.crash, name)
    world.run_for(0.5)
    for name in world.hosts:
        lose_tail(world, name)
        world.at(world.now + 2.0 * world.rng.random(), restart_from_disk, world, name)
    world.run_for(2.0)
    run.facts["whole_again_after_s"] = run.agree(run.seconds)
    world.run_for(10.0)
    again = {name: ears.count(name, boot=1) for name in world.hosts if ears.count(name, boot=1)}
    run.expect(not again, f"old events were heard again: {again}")
    ears.send("n1", "after")
    asked, _ = ask_and_wait(world, f"n{run.nodes - 1}", early=True)
    world.run_for(2.0)
    run.expect(asked.answers.keys() == world.hosts.keys(), f"answers of {sorted(asked.answers)}")
    run.problems += ears.problems()
    run.agree(30.0)


def rolling_blackout(run: Run) -> None:
    """All machines go down one after the other, each having seen the earlier ones fail, and come back in any order."""
    world = _with_snapshots(run)
    world.run_for(5.0)
    names = list(world.hosts)
    for number, name in enumerate(names):
        world.at(world.now + 5.0 * number, world.crash, name)
    world.run_for(5.0 * len(names) + 5.0)
    world.rng.shuffle(names)
    for name in names:
        world.at(world.now + 20.0 * world.rng.random(), restart_from_disk, world, name)
    world.run_for(20.0)
    run.facts["whole_again_after_s"] = run.agree(run.seconds)
    world.run_for(10.0)
    run.agree(10.0)


def split_down(run: Run) -> None:
    """A split cluster goes down, each half having seen the other fail: back on a whole network it is one cluster."""
    world = _with_snapshots(run)
    names = list(world.hosts)
    world.split(names[::2], names[1::2])
    world.run_for(60.0)
    seen = {status_at(world.hosts[one], other) for one in names[::2] for other in names[1::2]}
    run.expect(seen == {"failed"}, f"the halves see each other {seen}")
    for name in names:
        world.crash(name)
    world.heal()
    world.run_for(1.0)
    for name in names:
        world.at(world.now + 2.0 * world.rng.random(), restart_from_disk, world, name)
    world.run_for(2.0)
    run.facts["whole_again_after_s"] = run.agree(run.seconds)


# disputed names


def namesake(run: Run) -> None:
    """A newcomer has a member's name: the cluster votes, the newcomer goes, the member stays."""
    world = run.begin()
    world.run_until(5.0)
    rival = world.add("rival", name="n1")
    world.join("rival", "n0")
    took = world.wait_for(lambda: rival.state is HostState.STOPPED, run.seconds)
    run.facts["decided_after_s"] = took
    run.expect(took is not None, "the rival is still there")
    world.run_for(20.0)
    _expect_at(run, "n1", world.hosts["n1"])


def namesakes_meet(run: Run) -> None:
    """Two clusters that each have a member of one name become one: the one whom fewer know goes."""
    world = run.begin(acquainted=False)
    rival = world.add("rival", name="n1")
    few = [f"n{number}" for number in range(run.nodes - run.nodes // 3, run.nodes)]
    for number in range(1, run.nodes):
        world.join(f"n{number}", "rival" if f"n{number}" in few else "n0")
    world.run_until(20.0)
    run.expect(status_at(world.hosts[few[0]], "n0") == "", "they have met already: this run shows nothing")
    world.join(few[0], "n0")
    took = world.wait_for(lambda: rival.state is HostState.STOPPED, run.seconds)
    run.facts["decided_after_s"] = took
    run.expect(took is not None, "the rival is still there")
    world.run_for(120.0)        # until its record is forgotten by those who knew it
    _expect_at(run, "n1", world.hosts["n1"])


def namesakes_alone(run: Run) -> None:
    """Two nodes with one name and nobody else to vote meet again and again: one goes, they do not both go."""
    world = run.begin(acquainted=False, nodes=1)
    world.add("rival", name="n0")
    for number in range(int(run.seconds / 10)):
        world.at(10.0 * number, _join_if_there, world, "rival", "n0")
    world.run_for(run.seconds)
    run.facts["still_there"] = names = [host.name for host in world.running()]
    run.expect(len(names) == 1, f"{len(names)} of them are still there")


def _join_if_there(world: World, name: str, seed: str) -> None:
    if world.hosts[name].state is HostState.RUNNING:
        world.join(name, seed)


def _expect_at(run: Run, name: str, owner: Host) -> None:
    """Everybody counts `name` as alive, at the owner's address."""
    run.expect(owner.state is HostState.RUNNING, f"{name} is gone too")
    for host in run.world.running():
        core = host.core
        assert isinstance(core, Node)
        member = core.serf.roster.table.get(name)
        where = "nowhere" if member is None else f"{member.record.address} {member.status.name}"
        run.expect(where == f"{owner.address} ALIVE", f"{host.name} sees {name} at {where}")


def _clocks(host: Host) -> list[int]:
    stats = host.core.stats()
    return [int(stats[clock]) for clock in CLOCKS]
