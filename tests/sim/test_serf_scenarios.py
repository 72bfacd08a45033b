"""Events, queries, keys, snapshots and names in clusters of real nodes in the simulated world."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.hearing import Ears
from tests.sim.real import real_world
from tests.sim.test_scenarios import number, played
from tests.sim.world import World

# user events


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_every_node_hears_every_event_once_though_packets_are_lost_and_doubled(seed: int) -> None:
    run = played("events", seed=seed)
    assert number(run, "median_s") < 0.01
    assert number(run, "missed_by_gossip") <= 2         # of 2000; the rest came by push/pull


def test_events_reach_everybody_even_if_a_third_of_the_packets_is_lost() -> None:
    played("events", seed=2, loss=0.33, seconds=120.0)      # with one seed in six somebody is taken for dead as well


def test_events_sent_one_after_the_other_are_heard_in_the_order_of_their_times() -> None:
    played("events-in-turn")


def test_a_long_history_is_replayed_to_those_who_ask_for_it() -> None:
    assert number(played("history"), "replayed") == 400


@pytest.mark.parametrize("seed", [1, 2])
def test_intents_that_come_before_their_members_count_when_these_come(seed: int) -> None:
    played("intents-first", seed=seed)


# queries


@pytest.mark.parametrize("nodes", [1, 2, 20])
def test_all_ack_and_answer_a_query(nodes: int) -> None:
    played("query", nodes=nodes)


@pytest.mark.parametrize("seed", [1, 2])
def test_an_early_query_ends_with_the_last_answer_of_those_who_answer(seed: int) -> None:
    assert number(played("query-early", seed=seed), "took_s") < 0.35


def test_an_early_query_does_not_wait_for_the_dead() -> None:
    played("query-crash")


@pytest.mark.parametrize("seed", [1, 2])
def test_answers_after_the_end_are_dropped(seed: int) -> None:
    played("query-late", seed=seed)


@pytest.mark.parametrize("seed", [1, 2])
def test_relays_bring_answers_through_a_lossy_network(seed: int) -> None:
    played("query-relays", seed=seed)


# keys


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_a_key_is_replaced_while_packets_are_lost_and_nobody_is_shut_out(seed: int) -> None:
    played("rotation", seed=seed)


def test_one_with_an_old_key_stays_outside_until_it_has_the_new_one() -> None:
    played("shut-out")


# snapshots


@pytest.mark.parametrize("seed", [1, 2])
def test_old_events_are_not_heard_again_after_a_restart_from_a_snapshot(seed: int) -> None:
    played("clocks-kept", seed=seed)


@pytest.mark.parametrize(("nodes", "seed"), [(2, 1), (20, 1), (20, 2), (50, 1)])
def test_a_cluster_that_went_down_as_one_comes_back_by_its_snapshots(nodes: int, seed: int) -> None:
    assert number(played("all-down", nodes=nodes, seed=seed), "whole_again_after_s") < 5.0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_cluster_that_went_down_one_by_one_comes_back_by_its_snapshots(seed: int) -> None:
    played("rolling-blackout", seed=seed)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_halves_that_had_seen_each_other_fail_come_back_as_one_cluster(seed: int) -> None:
    assert number(played("split-down", seed=seed), "whole_again_after_s") < 20.0


# names


@pytest.mark.parametrize("seed", [1, 2])
def test_a_newcomer_with_a_members_name_goes(seed: int) -> None:
    assert number(played("namesake", seed=seed), "decided_after_s") < 10.0


@pytest.mark.parametrize("seed", [1, 2])
def test_of_two_namesakes_the_one_whom_fewer_know_goes(seed: int) -> None:
    played("namesakes-meet", seed=seed)


@pytest.mark.parametrize("seed", [1, 2])
def test_of_two_namesakes_alone_one_stays(seed: int) -> None:
    assert played("namesakes-alone", seed=seed).facts["still_there"] == ["n0"]


# the checkers themselves


def deaf_world() -> tuple[World, Ears]:
    world = real_world(1, 5)
    ears = Ears(world)
    world.run_until(5.0)
    return world, ears


def test_an_event_that_somebody_missed_is_noticed() -> None:
    world, ears = deaf_world()
    world.split(["n4"])
    ears.send("n0", "one")
    world.run_for(0.5)
    assert ears.problems() == ["never heard: 1: one at n4"]


def test_an_event_that_is_heard_again_or_out_of_nowhere_is_noticed() -> None:
    world, ears = deaf_world()
    ears.send("n0", "one")
    world.run_for(1.0)
    assert ears.problems() == []
    ears.heard["n4"].append(ears.heard["n4"][0])
    ears.heard["n3"].append(replace(ears.heard["n3"][0], name="two"))
    assert ears.problems() == ["heard again: 1: one at n4 2 times", "heard but never sent: 1: two at n3"]


def test_an_event_with_a_time_that_its_sender_knew_already_is_noticed() -> None:
    world, ears = deaf_world()
    ears.send("n0", "one")
    world.run_for(1.0)
    ears.send("n1", "two")
    ears.sent["two"].ltime = 1
    assert "sent with too early a time: 1: two of 1 after 1" in ears.disorder()


def test_events_that_overtake_are_counted() -> None:
    world, ears = deaf_world()
    ears.send("n0", "one")
    ears.send("n0", "two")
    world.run_for(1.0)
    ears.heard["n3"].reverse()
    assert ears.overtakings() >= 1 and ears.problems() == []
