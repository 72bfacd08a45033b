"""Scenarios of queries: who is asked, who answers, when it is over."""

from __future__ import annotations

from gossipd.commands import QueryAnswer
from gossipd.events import QueryEvent
from gossipd.node import Node
from tests.sim.hearing import Asked, Mouths, ask, ask_and_wait
from tests.sim.host import Host
from tests.sim.run import Run
from tests.sim.world import World

TIMEOUT_S = 2.0


def query(run: Run) -> None:
    """A query as Serf's clients ask it: all ack, all answer, each once, and it ends at its deadline."""
    world = run.begin()
    Mouths(world, lambda host, event: 0.5 * world.rng.random())
    world.run_until(5.0)
    asked, took = ask_and_wait(world, "n0", timeout_s=TIMEOUT_S)
    run.facts["took_s"] = round(took, 3)
    _expect_all(run, asked)
    run.expect(TIMEOUT_S <= took < TIMEOUT_S + 0.01, f"it took {took} s")
    run.expect(len(asked.host.parts[asked.id]) == 2 * run.nodes, "somebody was counted twice")


def query_early(run: Run) -> None:
    """A query that may end early: it ends with the last answer, although some say that they never will answer."""
    world = run.begin()
    mute = {f"n{number}" for number in range(0, run.nodes, 3)}
    Mouths(world, lambda host, event: None if host.name in mute else 0.3)
    for name in sorted(mute):
        _answered_by_nobody(world, name)
    world.run_until(5.0)
    asked, took = ask_and_wait(world, "n1", early=True)
    run.facts["took_s"] = round(took, 3)
    run.expect(asked.answers.keys() == world.hosts.keys() - mute, f"answers of {sorted(asked.answers)}")
    run.expect(0.3 <= took < 0.6, f"it ended after {took} s, not with the last answer")
    outcome = asked.outcome
    run.expect(outcome is not None and not outcome.silent and len(outcome.acked) == run.nodes, f"{outcome}")


def query_crash(run: Run) -> None:
    """Somebody dies while it is asked: the query that may end early waits no longer than until that is known."""
    world = run.begin()
    Mouths(world, lambda host, event: None if host.name == "n3" else 0.1)
    world.run_until(5.0)
    asked = ask(world, "n1", early=True, timeout_s=30.0)
    world.run_for(0.05)
    world.crash("n3")
    took = world.wait_for(lambda: asked.outcome is not None, 40.0, 0.01)
    run.facts["took_s"] = took
    run.expect(took is not None and took < 15.0, f"it took {took} s")
    run.expect(asked.answers.keys() == world.hosts.keys() - {"n3"}, f"answers of {sorted(asked.answers)}")


def query_late(run: Run) -> None:
    """Some answer when it is over, some a moment before their own deadline: nothing arrives after the end."""
    world = run.begin()
    late = {f"n{number}" for number in range(0, run.nodes, 2)}

    def when(host: Host, event: QueryEvent) -> float:
        if host.name not in late:
            return 0.1
        # within the deadline that the node itself keeps, and yet too late for who asked; or beyond both
        return event.deadline - world.now + (-1e-6 if host.index % 4 else 0.1)

    mouths = Mouths(world, when)
    world.run_until(5.0)
    asked, _ = ask_and_wait(world, "n1", timeout_s=TIMEOUT_S)
    world.run_for(run.seconds)
    run.expect(asked.answers.keys() == world.hosts.keys() - late, f"answers of {sorted(asked.answers)}")
    ended = asked.at + TIMEOUT_S + 1e-6
    run.expect(all(at <= ended for at, _ in asked.host.parts[asked.id]), "an answer was told after the end")
    run.facts["refused_by_the_node_itself"] = mouths.too_late.total()
    run.expect(0 < mouths.too_late.total() < len(late), "only one kind of lateness: this run shows nothing")


def query_relays(run: Run) -> None:
    """Three packets in ten are lost: answers that also go through relays arrive far more often."""
    answered = {}
    for relay_factor in (0, 3):
        world = run.begin()
        Mouths(world, lambda host, event: 0.01)
        world.run_until(5.0)
        asked = _lossy_queries(world, 0.3, relay_factor)
        answered[relay_factor] = share = sum(len(one.answers) for one in asked) / len(asked) / run.nodes
        run.facts["with_relays" if relay_factor else "without"] = round(share, 3)
        run.expect(not any(_twice(one) for one in asked), "an answer that came twice was told twice")
        run.agree(30.0)
    run.expect(answered[0] < 0.85, "hardly anything was lost: this run shows nothing")
    run.expect(answered[3] > 0.93, "relays did not help")


def _lossy_queries(world: World, loss: float, relay_factor: int) -> list[Asked]:
    """Four queries while packets are lost."""
    world.network.quality.loss = loss
    asked = [ask_and_wait(world, f"n{number}", timeout_s=1.0, relay_factor=relay_factor)[0] for number in range(4)]
    world.network.quality.loss = 0.0
    return asked


def _twice(asked: Asked) -> bool:
    parts = [(value.source, value.ack) for _, value in asked.host.parts[asked.id] if isinstance(value, QueryAnswer)]
    return len(set(parts)) != len(parts)


def _answered_by_nobody(world: World, name: str) -> None:
    core = world.hosts[name].core
    assert isinstance(core, Node)
    core.answered_by(lambda event: False)


def _expect_all(run: Run, asked: Asked) -> None:
    names = run.world.hosts.keys()
    outcome = asked.outcome
    run.expect(asked.answers == {name: name.encode() for name in names}, f"answers of {sorted(asked.answers)}")
    run.expect(outcome is not None and set(outcome.acked) == set(outcome.answered) == set(names), f"{outcome}")
