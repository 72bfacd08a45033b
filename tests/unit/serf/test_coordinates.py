from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.errors import WireError
from gossipd.serf.coordinates import (
    ORIGIN,
    Coordinate,
    Coordinates,
    Vivaldi,
    believable,
    decode_coordinate,
    distance_ns,
    encode_coordinate,
)
from tests.unit.serf.vectors import load

PAYLOADS = load("coordinates.json")
VIVALDI = load("vivaldi.json")
ABSURD = {run["name"]: run["steps"] for run in VIVALDI["sequences"]
          if run["name"] in ("reset_on_overflow", "negative_error_peer")}       # peers that are refused here
RUNS = [run for run in VIVALDI["sequences"] if run["name"] not in ABSURD]


class Draws(Random):
    """Chance as the vectors prescribe it."""

    def __init__(self, draws: list[float]) -> None:
        super().__init__(0)
        self.draws = list(draws)

    def random(self) -> float:
        return self.draws.pop(0)


def coordinate(d: dict[str, Any]) -> Coordinate:
    return Coordinate(tuple(map(float, d["Vec"])), float(d["Error"]), float(d["Adjustment"]), float(d["Height"]))


@pytest.mark.parametrize("vector", VIVALDI["distances"], ids=lambda v: str(v["distance_ns"]))
def test_distances_are_those_of_the_reference(vector):
    assert distance_ns(coordinate(vector["A"]), coordinate(vector["B"])) == vector["distance_ns"]


def test_absurd_peers_of_the_reference_are_refused_but_would_move_us_as_they_move_it():
    """`move` is what comes behind the check of `update`: the same operations, for any peer."""
    for name, exact in (("negative_error_peer", 2), ("reset_on_overflow", 2)):
        vivaldi = Vivaldi(Draws([]))
        vivaldi.coordinate = Coordinate((0.003, 0.001, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.7, 0.0, 0.0001)
        for step in ABSURD[name][:exact]:
            absurd = not believable(_peer(step["peer"]))
            before = vivaldi.coordinate
            assert vivaldi.update(step["node"], _peer(step["peer"]), step["rtt_ns"]) is not absurd
            assert not absurd or vivaldi.coordinate is before
            assert not absurd or vivaldi.move(step["node"], _peer(step["peer"]), step["rtt_ns"])
            assert vivaldi.coordinate == coordinate(step["result"]) and vivaldi.resets == step["resets"]


def test_after_an_overflow_the_next_update_counts_again():
    """The reference keeps the poisoned sample and resets at each of the next 19 updates (spec serf 18.8)."""
    vivaldi = Vivaldi(Draws([0.5 + d / 10 for d in range(8)] * 9))
    for step in ABSURD["reset_on_overflow"]:
        vivaldi.move(step["node"], _peer(step["peer"]), step["rtt_ns"])
    assert vivaldi.resets == 1 and step["resets"] > 2 and vivaldi.coordinate.error < 1.5


@pytest.mark.parametrize("run", RUNS, ids=lambda r: r["name"])
def test_a_run_of_updates_is_bit_exact(run):
    draws = Draws([])
    vivaldi = Vivaldi(draws)
    if run.get("start"):
        vivaldi.coordinate = coordinate(run["start"])
    for number, step in enumerate(run["steps"]):
        draws.draws = step.get("random_draws", [])
        if step["op"] == "forget":
            vivaldi.forget(step["node"])
        else:
            accepted = vivaldi.update(step["node"], _peer(step["peer"]), step["rtt_ns"])
            assert accepted is ("rejected" not in step), number
        assert vivaldi.coordinate == coordinate(step["result"]), number
        assert draws.draws == [] and vivaldi.resets == step["resets"]


def _peer(d: dict[str, Any]) -> Coordinate:
    numbers = {"NaN": float("nan"), "+Inf": float("inf"), "-Inf": float("-inf")}
    return Coordinate(tuple(float(numbers.get(v, v)) for v in d["Vec"]),
                      *(float(numbers.get(d[key], d[key])) for key in ("Error", "Adjustment", "Height")))


@pytest.mark.parametrize("vector", PAYLOADS["ack_payloads"], ids=lambda v: v["name"])
def test_ack_payloads_of_the_reference_are_read_and_written(vector):
    payload = bytes.fromhex(vector["hex"])
    assert decode_coordinate(payload) == coordinate(vector["decoded"])
    assert encode_coordinate(decode_coordinate(payload)) == payload


@pytest.mark.parametrize("vector", PAYLOADS["edge_cases"], ids=lambda v: v["name"])
def test_odd_payloads_are_accepted_as_by_the_reference(vector):
    try:
        decode_coordinate(bytes.fromhex(vector["hex"]))
        accepted = True
    except WireError:
        accepted = False
    assert accepted is vector["accepted"]


@pytest.mark.parametrize("peer", [
    Coordinate((1e308,) * 8), Coordinate((0.0,) * 7 + (-100.1,)), Coordinate(error=-0.1), Coordinate(error=10.5),
    Coordinate(height=-1e-9), Coordinate(adjustment=101.0), Coordinate(error=float("inf")),
], ids=str)
def test_absurd_coordinates_are_refused_and_move_nothing(peer):
    own = Coordinates("me", Random(1))
    before = own.ack_payload
    with pytest.raises(WireError):
        own.measured("evil", encode_coordinate(peer), 0.01)
    assert own.ack_payload == before and own.get("evil") is None and own.vivaldi.rtt_s("evil") is None


@pytest.mark.parametrize("rtt_s", [-0.001, 10.001])
def test_impossible_round_trips_move_nothing(rtt_s):
    own = Coordinates("me", Random(1))
    own.measured("a", encode_coordinate(ORIGIN), rtt_s)
    assert own.get("me") == ORIGIN and own.get("a") is None


def test_a_reset_starts_over_with_an_empty_window():
    vivaldi = Vivaldi(Random(1))
    vivaldi._window = [float("inf")] * 20
    vivaldi.update("a", ORIGIN, 1000)
    assert (vivaldi.resets, vivaldi.coordinate) == (1, ORIGIN)
    vivaldi.update("a", ORIGIN, 1000)
    assert vivaldi.resets == 1


def test_a_peer_without_coordinates_is_no_error():
    own = Coordinates("me", Random(1))
    own.measured("a", b"", 0.01)
    assert own.get("a") is None


def test_a_peer_is_known_as_it_said_until_it_is_forgotten():
    own = Coordinates("me", Random(1))
    there = Coordinate((0.01,) * 8, 0.5)
    own.measured("a", encode_coordinate(there), 0.030)
    own.measured("a", encode_coordinate(there), 0.020)
    assert own.get("a") == there and own.get("me") == decode_coordinate(own.ack_payload) != ORIGIN
    assert own.vivaldi.rtt_s("a") == 0.03
    own.forget("a")
    assert own.get("a") is None and own.vivaldi.rtt_s("a") is None


def test_nodes_that_ping_each_other_learn_their_distances():
    rng = Random(7)
    places = {name: (rng.random() * 0.05, rng.random() * 0.05) for name in "abcdefgh"}
    nodes = {name: Coordinates(name, rng) for name in places}

    def rtt_s(a: str, b: str) -> float:
        return 0.001 + sum((x - y) ** 2 for x, y in zip(places[a], places[b], strict=True)) ** 0.5

    for _ in range(3000):
        a, b = rng.sample(sorted(places), 2)
        nodes[a].measured(b, nodes[b].ack_payload, rtt_s(a, b))
    for a in places:
        for b in places:
            if a != b:
                guess = distance_ns(nodes[a].get(a), nodes[b].get(b)) / 1e9
                assert guess == pytest.approx(rtt_s(a, b), rel=0.25, abs=0.002)


@given(st.binary(max_size=200))
def test_any_payload_is_a_believable_coordinate_or_a_wire_error(payload):
    try:
        assert decode_coordinate(b"\x01" + payload).is_finite()
    except WireError:
        pass
