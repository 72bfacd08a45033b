"""Scenarios of members: who comes, goes, fails, stands still, and in what kinds of network."""

from __future__ import annotations

from collections import Counter
from functools import partial
from statistics import median
from typing import Any

from gossipd.commands import SetTags
from gossipd.events import MEMBER_FAILED, MEMBER_LEAVE
from tests.sim.checkers import crashes_missed, everyone_sees, heard, status_at
from tests.sim.network import Quality
from tests.sim.run import Run
from tests.sim.world import World

# coming and going


def joins(run: Run) -> None:
    """All nodes start within 50 ms and join the first one at once: soon all agree, and nobody is left out."""
    world = run.begin(acquainted=False, nodes=1)
    for number in range(1, run.nodes):
        world.at(world.now + 0.05 * world.rng.random(), start_and_join, world, f"n{number}", "n0")
    world.run_until(0.05)
    took = run.agree(run.seconds, step_s=0.01)
    run.facts["agreed_after_s"] = None if took is None else round(0.05 + took, 2)
    world.run_for(1.0)
    run.expect(run.agreement.holds(), "agreement did not last")


def leave(run: Run) -> None:
    """A node leaves gracefully: all see it left, nobody sees it fail."""
    world, name = run.begin(), "n1"
    world.run_until(5.0)
    id = world.leave(name)
    world.run_for(run.seconds)
    told = heard(world, name, MEMBER_LEAVE, 5.0)
    _report_times(run, told)
    run.expect(id in world.hosts[name].replies, "the leave command had no reply")
    run.expect(everyone_sees(world, name, "left"), f"{name} is not left at everybody")
    run.expect(not heard(world, name, MEMBER_FAILED), f"{name} failed at {list(heard(world, name, MEMBER_FAILED))[:5]}")
    run.expect(len(told) == run.nodes - 1, f"only {len(told)} were told that {name} left")


def force_leave(run: Run) -> None:
    """A failed node is declared left by force, then another one is pruned; a living one objects and stays."""
    world = run.begin()
    world.run_until(5.0)
    for name in ("n1", "n2"):
        world.crash(name)
    gone = world.wait_for(lambda: everyone_sees(world, "n1", "failed") and everyone_sees(world, "n2", "failed"), 60.0)
    run.expect(gone is not None, "the crashes were not seen by all")
    world.force_leave("n0", "n1")
    run.facts["left_after_s"] = took = _until(world, "n1", "left")
    run.expect(took is not None, "n1 is not left at everybody")
    world.force_leave("n0", "n2", prune=True)
    run.facts["pruned_after_s"] = took = _until(world, "n2", "")
    run.expect(took is not None, "n2 was not pruned everywhere")
    world.force_leave("n0", "n3")
    world.run_for(run.seconds)
    run.expect(everyone_sees(world, "n3", "alive"), "the living n3 did not object to its leave")
    run.expect(not heard(world, "n3", MEMBER_LEAVE), "somebody heard that the living n3 left")


# failing


def crash(run: Run) -> None:
    """A process dies and its machine refuses its port: all see it within seconds."""
    world, name = run.begin(), "n1"
    world.at(5.0, world.crash, name)
    world.run_until(5.0 + run.seconds)
    _report_times(run, heard(world, name, MEMBER_FAILED, 5.0))
    run.problems += crashes_missed(world, name, 5.0)


def crashes(run: Run) -> None:
    """A tenth of all processes die at the same moment: all the others see each of them."""
    world = run.begin()
    names = [f"n{number}" for number in range(1, run.nodes, 10)]
    world.run_until(5.0)
    for name in names:
        world.crash(name)
    world.run_for(run.seconds)
    times = {f"{name} {seen}": at for name in names for seen, at in heard(world, name, MEMBER_FAILED, 5.0).items()}
    _report_times(run, times)
    for name in names:
        run.problems += crashes_missed(world, name, 5.0)
    run.agree(1.0)


def silence(run: Run) -> None:
    """A machine dies without a word: Lifeguard's suspicion runs its course, then all see it."""
    world, name = run.begin(), "n1"
    world.at(5.0, world.silence, name)
    world.run_until(5.0 + run.seconds)
    _report_times(run, heard(world, name, MEMBER_FAILED, 5.0))
    run.problems += crashes_missed(world, name, 5.0)


def restart(run: Run) -> None:
    """A process is started again within the grace: nobody ever sees it fail."""
    world, name = run.begin(), "n1"
    pause_s = 0.4
    for round_ in range(10):
        start = 5.0 + 10.0 * round_
        world.at(start, world.crash, name)
        world.at(start + pause_s, _restart_and_join, world, name, "n0")
    world.run_until(5.0 + 100.0)
    failed = heard(world, name, MEMBER_FAILED)
    run.expect(not failed, f"{len(failed)} saw it fail: {failed}")
    run.agree(1.0)


def comeback(run: Run) -> None:
    """A node left and another crashed; a minute later, half forgotten, they start again and join: soon all agree."""
    world = run.begin()
    world.run_until(5.0)
    world.leave("n1")
    world.crash("n2")
    world.run_for(60.0)
    for name in ("n1", "n2"):
        _restart_and_join(world, name, "n0")
    run.facts["whole_again_after_s"] = run.agree(run.seconds)
    world.run_for(60.0)
    after = [event for host in world.hosts.values() for event in host.events if event[0] > 65.0]
    failed = {name for _, kind, name in after if kind == MEMBER_FAILED}
    run.expect(not failed, f"failed after they came back: {failed}")


def stranger(run: Run) -> None:
    """A node left and comes back with a low incarnation, by way of one that never knew it: soon all count it alive."""
    world, name = run.begin(), "n1"
    for number in range(3):
        world.command(name, partial(SetTags, tags={"round": str(number)}))
        world.run_for(2.0)
    world.leave(name)
    world.run_for(5.0)
    world.crash("n0")
    world.run_for(5.0)
    _restart_and_join(world, "n0", "n2")
    world.run_for(6.0)
    run.expect(status_at(world.hosts["n0"], name) != "left", f"n0 knows {name}: this run shows nothing")
    _restart_and_join(world, name, "n0")
    run.facts["whole_again_after_s"] = run.agree(run.seconds)
    run.agree(run.seconds)


def firewall(run: Run) -> None:
    """One node's packets to another are rejected by a firewall: that alone kills nobody."""
    world = run.begin()
    world.run_until(5.0)
    world.network.reject("n1", "n2")
    world.run_for(run.seconds)
    run.facts["rejected_packets"] = world.counters["rejected packets"]
    run.expect(_refutations(world) == 0, "somebody had to refute: one witness was enough to accuse")
    run.agree(1.0)


def loss(run: Run) -> None:
    """One packet in twenty is lost: nobody is called dead."""
    world = run.begin(quality=Quality(loss=0.05, reorder=0.01, duplicate=0.01))
    world.run_until(run.seconds)
    run.facts["refutations"] = _refutations(world)
    run.agree(30.0)


def one_way(run: Run) -> None:
    """One link works in one direction only: relayed pings see that nobody is dead."""
    world = run.begin()
    world.run_until(5.0)
    world.network.cut("n1", "n2")
    world.run_for(run.seconds)
    run.agree(1.0)


def partition(run: Run) -> None:
    """The network splits in two and heals: both sides see the other fail, and then come back, by Serf's reconnects."""
    world = run.begin()
    half = [f"n{number}" for number in range(run.nodes // 2)]
    rest = [f"n{number}" for number in range(run.nodes // 2, run.nodes)]
    world.run_until(5.0)
    world.split(half, rest)
    world.run_for(run.seconds / 2)
    for mine, others in ((half, rest), (rest, half)):
        seen = all(status_at(world.hosts[one], other) == "failed" for one in mine for other in others)
        run.expect(seen, f"those around {mine[0]} do not see all the others fail")
    world.heal()
    run.facts["whole_again_after_s"] = run.agree(run.seconds / 2, step_s=0.25)


def flapping(run: Run) -> None:
    """A node stops for moments again and again: it is suspected, refutes each time, and is never called dead."""
    world, name = run.begin(), "n1"
    for round_ in range(int(run.seconds / 6)):
        world.at(5.0 + 6.0 * round_, world.pause, name)
        world.at(8.0 + 6.0 * round_, world.resume, name)
    world.run_until(5.0 + run.seconds + 5.0)
    run.facts["refutations"] = _refutations(world)
    run.expect(_refutations(world) > 0, f"{name} was never suspected: this run shows nothing")
    failed = heard(world, name, MEMBER_FAILED)
    run.expect(not failed, f"{len(failed)} saw it fail: {failed}")
    run.agree(10.0)


def slow(run: Run) -> None:
    """One node is too slow for the acks that it waits for: it doubts itself, and calls nobody dead (Lifeguard)."""
    world, name = run.begin(), "n1"
    world.at(5.0, world.slow, name, 0.13)
    world.run_until(5.0 + run.seconds)
    run.facts["health_score"] = world.hosts[name].core.stats()["health_score"]
    world.slow(name, 0.0)
    run.facts["refutations"] = _refutations(world)
    run.agree(60.0)


def swamped(run: Run) -> None:
    """A fifth of the nodes are hopelessly slow, and see the healthy ones fail: but no healthy one sees that."""
    world, run.slow_ones_may_err = run.begin(), True
    names = [f"n{number}" for number in range(1, run.nodes, 5)]
    for name in names:
        world.at(5.0, world.slow, name, 0.5)
    world.run_until(5.0 + run.seconds)
    for name in names:
        world.slow(name, 0.0)
    run.facts["refutations"] = _refutations(world)
    run.agree(90.0, step_s=0.25)


def stutter(run: Run) -> None:
    """A tenth of the nodes stand still most of the time, at random: those that never stop are never called dead."""
    world = run.begin()
    stutterers = [f"n{number}" for number in range(0, run.nodes, 10)]

    def stop(name: str) -> None:
        if world.now < 5.0 + run.seconds:
            world.pause(name)
            world.at(world.now + 0.5 + 15.0 * world.rng.random(), go_on, name)

    def go_on(name: str) -> None:
        world.resume(name)
        world.at(world.now + 0.05 + 2.0 * world.rng.random(), stop, name)

    for name in stutterers:
        world.at(5.0 + world.rng.random(), stop, name)
    world.run_until(5.0 + run.seconds + 20.0)
    run.facts["refutations"] = _refutations(world)
    run.agree(90.0, step_s=0.25)


# hostile networks


def corruption(run: Run) -> None:
    """One packet in ten is damaged, without encryption: nothing breaks, and when it ends all agree again."""
    _corrupted(run)
    run.facts["ghosts"] = len({member.name for host in run.world.hosts.values() for member in host.core.members()}
                              - run.world.hosts.keys())


def corruption_encrypted(run: Run) -> None:
    """One packet in ten is damaged, with encryption: each is rejected, and nobody is called dead."""
    _corrupted(run, keys=(bytes(range(16)),))


def _corrupted(run: Run, **settings: Any) -> None:
    world = run.begin(quality=Quality(corrupt=0.1), **settings)
    world.run_until(run.seconds)
    world.network.quality.corrupt = 0.0
    rejected = sum((host.rejected for host in world.hosts.values()), Counter[str]())
    run.facts["rejected"] = dict(sorted(rejected.items()))
    run.expect(rejected.total() > 0, "nothing was rejected: this run shows nothing")
    run.agree(60.0)


def mess(run: Run) -> None:
    """Everything at once at random: loss, crashes, restarts, stops, splits, leaves. When it ends all agree again."""
    world = run.begin(quality=Quality(loss=0.02, duplicate=0.02, reorder=0.02))

    def mishap() -> None:
        if world.now >= run.seconds:
            return
        name = f"n{world.rng.randrange(1, run.nodes)}"
        _mishap(world, name)
        world.at(world.now + 2.0 * world.rng.random() + 0.1, mishap)

    world.at(5.0, mishap)
    world.run_until(run.seconds + 30.0)
    world.heal()
    for host in world.hosts.values():
        if host not in world.running():
            _restart_and_join(world, host.name, "n0")
    run.facts["whole_again_after_s"] = run.agree(180.0, step_s=0.25)


def _mishap(world: World, name: str) -> None:
    host = world.hosts[name]
    if host not in world.running():
        _restart_and_join(world, name, "n0")
        return
    if host.leaving:
        return
    match world.rng.randrange(5):
        case 0:
            world.crash(name)
        case 1:
            world.silence(name)
        case 2:
            world.pause(name)
            world.at(world.now + 10.0 * world.rng.random(), world.resume, name)
        case 3:
            world.leave(name)
        case 4:
            world.split([name])
            world.at(world.now + 10.0 * world.rng.random(), world.heal)


def gathered(run: Run) -> None:
    """Crashes with events gathered as the daemon does: the first of a burst comes at once, none is missing."""
    world = run.begin(member_period_s=3.0, member_quiescent_s=1.0)
    names = [f"n{number}" for number in range(1, run.nodes, 4)]
    world.run_until(5.0)
    for name in names:
        world.crash(name)
    world.run_for(run.seconds)
    for name in names:
        run.problems += crashes_missed(world, name, 5.0)
    observer = next(iter(world.running()))
    states = [observer.core.member(name) for name in names]
    seen = min(state.changed for state in states if state is not None)
    told = min(at for at, kind, _ in observer.events if kind == MEMBER_FAILED)
    run.facts["first_told_after_s"] = round(told - seen, 3)
    run.expect(told - seen < 0.001, "the first event of the burst was held back")


# helpers


def start_and_join(world: World, name: str, seed: str) -> None:
    world.add(name)
    world.join(name, seed)


def _restart_and_join(world: World, name: str, seed: str) -> None:
    world.restart(name)
    world.join(name, seed)


def _until(world: World, name: str, status: str) -> float | None:
    """How long until everyone gives `name` this status, in seconds; None if that is not within 10 s."""
    took = world.wait_for(lambda: everyone_sees(world, name, status), 10.0, 0.01)
    return None if took is None else round(took, 3)


def _report_times(run: Run, times: dict[str, float]) -> None:
    if times:
        ordered = sorted(times.values())
        run.facts["first_s"], run.facts["last_s"] = round(ordered[0], 3), round(ordered[-1], 3)
        run.facts["median_s"] = round(median(ordered), 3)


def _refutations(world: World) -> int:
    return sum(text.startswith("refuting") for host in world.hosts.values() for _, _, text in host.notices)
