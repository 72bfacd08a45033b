"""Scenarios by name: a world, what is done to it, what is measured and what must hold.

Each is deterministic for its settings; `python -m tests.sim --scenario NAME --seed S` repeats a run exactly.
"""

from __future__ import annotations

from typing import Any

from tests.sim import costs, events, keys, membership, queries, restarts
from tests.sim.run import Run, Scenario, Settings

SCENARIOS: dict[str, Scenario] = {
    "joins": Scenario(membership.joins, nodes=50, seconds=8.0),
    "leave": Scenario(membership.leave, nodes=20, seconds=8.0),
    "force-leave": Scenario(membership.force_leave, nodes=10, seconds=15.0),
    "crash": Scenario(membership.crash, nodes=20, seconds=10.0),
    "crashes": Scenario(membership.crashes, nodes=50, seconds=40.0),
    "silence": Scenario(membership.silence, nodes=20, seconds=40.0),
    "restart": Scenario(membership.restart, nodes=20, seconds=100.0),
    "comeback": Scenario(membership.comeback, nodes=50, seconds=30.0),
    "stranger": Scenario(membership.stranger, nodes=20, seconds=60.0),
    "firewall": Scenario(membership.firewall, nodes=20, seconds=120.0),
    "loss": Scenario(membership.loss, nodes=50, seconds=600.0),
    "one-way": Scenario(membership.one_way, nodes=10, seconds=120.0),
    "partition": Scenario(membership.partition, nodes=20, seconds=240.0),
    "flapping": Scenario(membership.flapping, nodes=20, seconds=60.0),
    "slow": Scenario(membership.slow, nodes=20, seconds=120.0),
    "swamped": Scenario(membership.swamped, nodes=20, seconds=120.0),
    "stutter": Scenario(membership.stutter, nodes=30, seconds=120.0),
    "corruption": Scenario(membership.corruption, nodes=20, seconds=60.0),
    "corruption-encrypted": Scenario(membership.corruption_encrypted, nodes=20, seconds=60.0),
    "mess": Scenario(membership.mess, nodes=20, seconds=120.0),
    "gathered": Scenario(membership.gathered, nodes=20, seconds=20.0),
    "quiet": Scenario(costs.quiet, nodes=1000, seconds=10.0),
    "eager": Scenario(costs.eager, nodes=20, seconds=30.0),
    "event-costs": Scenario(costs.events, nodes=20, seconds=24.0),
    "events": Scenario(events.events, nodes=20, seconds=60.0),
    "events-in-turn": Scenario(events.events_in_turn, nodes=20, seconds=5.0),
    "history": Scenario(events.history, nodes=10, seconds=60.0),
    "intents-first": Scenario(events.intents_first, nodes=20, seconds=60.0),
    "query": Scenario(queries.query, nodes=20, seconds=5.0),
    "query-early": Scenario(queries.query_early, nodes=20, seconds=5.0),
    "query-crash": Scenario(queries.query_crash, nodes=20, seconds=5.0),
    "query-late": Scenario(queries.query_late, nodes=20, seconds=5.0),
    "query-relays": Scenario(queries.query_relays, nodes=20, seconds=5.0),
    "rotation": Scenario(keys.rotation, nodes=20, seconds=60.0),
    "shut-out": Scenario(keys.shut_out, nodes=10, seconds=30.0),
    "clocks-kept": Scenario(restarts.clocks_kept, nodes=10, seconds=60.0),
    "all-down": Scenario(restarts.all_down, nodes=20, seconds=60.0),
    "rolling-blackout": Scenario(restarts.rolling_blackout, nodes=12, seconds=120.0),
    "split-down": Scenario(restarts.split_down, nodes=12, seconds=60.0),
    "namesake": Scenario(restarts.namesake, nodes=10, seconds=60.0),
    "namesakes-meet": Scenario(restarts.namesakes_meet, nodes=12, seconds=120.0),
    "namesakes-alone": Scenario(restarts.namesakes_alone, nodes=2, seconds=60.0),
}


def play(name: str, settings: Settings, **overrides: Any) -> Run:
    """Run a scenario to its end and check it; `overrides` are settings of the nodes."""
    scenario = SCENARIOS[name]
    run = Run(name, settings, settings.nodes or scenario.nodes, settings.seconds or scenario.seconds,
              overrides=overrides)
    scenario.play(run)
    return run.finish()
