"""Scenarios of encryption keys."""

from __future__ import annotations

from functools import partial

from gossipd.commands import ChangeKeys, KeyOutcome
from gossipd.node import Node
from tests.sim.hearing import Ears, Mouths, ask_and_wait
from tests.sim.network import Quality
from tests.sim.run import Run
from tests.sim.world import World

OLD, NEW = bytes(range(16)), bytes(range(100, 132))
PAUSE_S = 10.0              # between two steps: what travels under the old key arrives, slow streams too
TRIES_MAX = 10              # of one step, as a person would try again


def rotation(run: Run) -> None:
    """A key is replaced while packets are lost: each step is repeated until all did it, and nobody is ever shut out."""
    world = run.begin(quality=Quality(loss=0.05, duplicate=0.02, reorder=0.02), keys=(OLD,))
    ears = Ears(world)
    Mouths(world, lambda host, event: 0.01)
    world.run_until(5.0)
    for number, (action, key, asker) in enumerate((("install", NEW, "n0"), ("use", NEW, "n1"), ("remove", OLD, "n2"))):
        run.facts[f"{action}_tries"] = _until_all_did(run, action, key, asker)
        ears.send(f"n{number + 3}", f"after-{action}")
        world.run_for(PAUSE_S)
    rings = {name: host.core.keyring.keys for name, host in world.hosts.items()
             if isinstance(host.core, Node) and host.core.keyring is not None}
    run.expect(rings == dict.fromkeys(world.hosts, [NEW]), f"rings: {rings}")
    world.run_for(run.seconds)
    shut_out = {host.name: dict(host.rejected) for host in world.hosts.values() if host.rejected}
    run.expect(not shut_out, f"rejected: {shut_out}")
    run.problems += ears.problems()
    world.network.quality.loss = 0.0
    asked, _ = ask_and_wait(world, "n0", early=True)
    run.expect(len(asked.answers) == run.nodes, f"answers of {sorted(asked.answers)}")
    run.agree(30.0)


def shut_out(run: Run) -> None:
    """A node is away while the key is replaced: back with the old one it is not let in, and harms nobody."""
    world = run.begin(keys=(OLD,))
    world.run_until(5.0)
    world.crash("n1")
    world.run_for(20.0)
    for action, key in (("install", NEW), ("use", NEW), ("remove", OLD)):
        _until_all_did(run, action, key, "n0")
    world.restart("n1")
    world.join("n1", "n0")
    world.run_for(run.seconds)
    rejected = {reason for host in world.hosts.values() for reason in host.rejected}
    run.facts["rejected"] = sorted(rejected)
    run.expect(rejected == {"decrypt failed"}, f"rejected: {rejected}")
    others = [host for host in world.running() if host.name != "n1"]
    run.expect(all(len([m for m in host.core.members() if m.status == "alive"]) == run.nodes - 1 for host in others),
               "the others do not see each other, and only each other")
    world.restart("n1", keys=(NEW,))
    world.join("n1", "n0")
    run.agree(10.0)


def _until_all_did(run: Run, action: str, key: bytes, asker: str) -> int:
    """How often it had to be tried."""
    for attempt in range(1, TRIES_MAX + 1):
        outcome = _change(run.world, action, key, asker, relay_factor=0 if attempt == 1 else 3)
        run.expect(outcome.errors == 0, f"{action}: {outcome.messages}")
        if not outcome.silent:
            return attempt
    run.problems.append(f"{action} was never confirmed by all")
    return TRIES_MAX


def _change(world: World, action: str, key: bytes, asker: str, relay_factor: int) -> KeyOutcome:
    id = world.command(asker, partial(ChangeKeys, action=action, key=key, relay_factor=relay_factor))
    replies = world.hosts[asker].replies
    assert world.wait_for(lambda: id in replies, 30.0) is not None, f"{action} never ended"
    outcome = replies[id].result
    assert isinstance(outcome, KeyOutcome)
    return outcome
