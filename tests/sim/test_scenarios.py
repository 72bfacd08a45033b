"""Clusters of real nodes in the simulated world. A failure prints the command line that repeats it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sim.run import Run, Settings
from tests.sim.scenarios import SCENARIOS, play


def played(name: str, **settings: Any) -> Run:
    """The scenario, played and found in order."""
    run = play(name, Settings(**settings))
    if run.problems:
        pytest.fail("\n".join([*run.problems, "again: " + run.command_line]), pytrace=False)
    return run


def number(run: Run, fact: str) -> float:
    value = run.facts[fact]
    assert isinstance(value, int | float), f"{fact} is {value}; again: {run.command_line}"
    return value


# coming and going


@pytest.mark.parametrize(("nodes", "seed"),
                         [(2, 1), (3, 1), (3, 2), (20, 1), (20, 2), (50, 1), (50, 2), (50, 3), (200, 1)])
def test_all_who_join_one_node_at_once_agree_before_a_second_sync_is_over(nodes: int, seed: int) -> None:
    assert number(played("joins", nodes=nodes, seed=seed), "agreed_after_s") < 5.5


@pytest.mark.parametrize("seed", [1, 2])
def test_a_mass_join_leaves_nobody_out_even_if_packets_are_lost(seed: int) -> None:
    assert number(played("joins", nodes=50, seed=seed, loss=0.1, seconds=40.0), "agreed_after_s") < 10.0


def test_a_graceful_leave_is_seen_as_left_by_all_and_as_failed_by_nobody() -> None:
    assert number(played("leave"), "last_s") < 1.0


def test_a_failed_member_can_be_forced_out_and_pruned_but_a_living_one_objects() -> None:
    run = played("force-leave")
    assert number(run, "left_after_s") < 1.0 and number(run, "pruned_after_s") < 1.0


def test_members_that_come_back_after_a_minute_are_alive_again_at_all_at_once() -> None:
    assert number(played("comeback"), "whole_again_after_s") < 5.0


@pytest.mark.parametrize("seed", [1, 2])
def test_one_who_left_comes_back_by_way_of_a_node_that_never_knew_it(seed: int) -> None:
    assert number(played("stranger", seed=seed), "whole_again_after_s") < 5.5


# failing


@pytest.mark.parametrize(("nodes", "seed"), [(2, 1), (3, 1), (4, 1), (20, 1), (20, 2), (20, 3)])
def test_a_crash_is_seen_by_all_after_the_grace(nodes: int, seed: int) -> None:
    """The first probe, about a second after the crash in a cluster of any size, collects refusals; then the grace of
    1 s runs."""
    run = played("crash", nodes=nodes, seed=seed)
    assert 1.0 < number(run, "first_s") <= number(run, "last_s") < 6.5


def test_many_crashes_at_once_are_all_seen_by_all() -> None:
    assert number(played("crashes"), "median_s") < 4.0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_silent_host_gets_the_whole_suspicion_and_is_then_seen_by_all(seed: int) -> None:
    run = played("silence", seed=seed)
    assert 5.2 < number(run, "first_s") <= number(run, "last_s") < 16.0     # LAN, n = 20: at least 5.204 s


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_restart_within_the_grace_is_seen_by_nobody(seed: int) -> None:
    played("restart", seed=seed)


@pytest.mark.parametrize(("nodes", "seed"), [(3, 1), (4, 1), (20, 1), (20, 2)])
def test_one_firewall_that_rejects_is_not_enough_for_a_death(nodes: int, seed: int) -> None:
    assert number(played("firewall", nodes=nodes, seed=seed), "rejected_packets") > 0


def test_one_witness_would_be_enough_if_it_were_allowed_to_be() -> None:
    assert play("firewall", Settings(nodes=20), refusal_witnesses=1).problems


def test_nobody_is_called_dead_while_one_packet_in_twenty_is_lost() -> None:
    played("loss")


def test_a_link_that_works_one_way_only_kills_nobody() -> None:
    played("one-way")


@pytest.mark.parametrize("seed", [1, 2])
def test_both_halves_of_a_split_see_the_other_fail_and_become_one_again(seed: int) -> None:
    assert number(played("partition", seed=seed), "whole_again_after_s") < 60.0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_node_that_stops_for_moments_refutes_and_is_never_called_dead(seed: int) -> None:
    played("flapping", seed=seed)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_slow_node_doubts_itself_and_calls_nobody_dead(seed: int) -> None:
    played("slow", seed=seed)


def test_without_its_health_score_the_slow_node_would_call_healthy_ones_dead() -> None:
    runs = [play("slow", Settings(seed=seed), awareness_max=1) for seed in range(1, 5)]
    assert "false failures" in " ".join(problem for run in runs for problem in run.problems)


@pytest.mark.parametrize("seed", [1, 2])
def test_hopelessly_slow_nodes_do_not_drag_healthy_ones_down(seed: int) -> None:
    played("swamped", seed=seed)


@pytest.mark.parametrize("seed", [1, 2])
def test_nodes_that_never_stop_are_never_called_dead_by_those_that_do(seed: int) -> None:
    played("stutter", seed=seed)


# hostile networks


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_packets_do_no_lasting_harm(seed: int) -> None:
    played("corruption", seed=seed)


def test_damaged_packets_are_all_rejected_where_they_are_encrypted() -> None:
    run = played("corruption-encrypted")
    assert set(run.facts["rejected"]) == {"decrypt failed"}      # type: ignore[call-overload]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_any_mess_all_agree_again(seed: int) -> None:
    played("mess", seed=seed)


# costs


def test_eager_first_copies_do_not_make_more_updates_travel() -> None:
    played("eager")


@pytest.mark.parametrize("nodes", [20, 50])
def test_an_event_costs_at_most_a_tenth_more_packets_than_without_early_copies(nodes: int) -> None:
    run = played("event-costs", nodes=nodes, seed=2)
    assert number(run, "eager_packets") <= 1.1 * number(run, "plain_packets")
    assert number(run, "eager_all_s") <= 0.1 * number(run, "plain_all_s")


def test_a_quiet_cluster_only_probes() -> None:
    assert number(played("quiet", nodes=100, seconds=30.0), "packets_per_node_s") < 2.01


def test_gathering_events_holds_back_only_followers() -> None:
    played("gathered")


def test_every_scenario_is_tested() -> None:
    source = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*scenarios.py"))
    assert [name for name in SCENARIOS if f'played("{name}"' not in source] == []
