"""State machine, queue and formulas against what the reference computes (tests/vectors/memberlist)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gossipd.swim.broadcasts import BroadcastQueue, retransmit_limit
from gossipd.swim.members import ALIVE, DEAD, LEFT, SUSPECT
from gossipd.swim.suspicion import Suspicion, min_timeout_s
from gossipd.swim.sync import periodic_interval_s
from gossipd.swim.versions import compatible
from gossipd.wire.codec import encode
from gossipd.wire.messages import Alive, Dead, PushPull, PushPullEntry, Suspect
from tests.support.swim import STRANGER, Bench

VECTORS = Path(__file__).parents[2] / "vectors" / "memberlist"
STATES = {"alive": ALIVE, "suspect": SUSPECT, "dead": DEAD, "left": LEFT}


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


FORMULAS = load("formulas.json")


@pytest.mark.parametrize("case", FORMULAS["retransmit_limit"])
def test_retransmit_limit(case: dict[str, int]) -> None:
    assert retransmit_limit(case["mult"], case["n"]) == case["limit"]


@pytest.mark.parametrize("case", FORMULAS["push_pull_scale"])
def test_push_pull_interval(case: dict[str, int]) -> None:
    assert periodic_interval_s(case["interval_s"], case["n"]) == case["scaled_s"]


@pytest.mark.parametrize("case", FORMULAS["suspicion_min_timeout"])
def test_suspicion_min_timeout(case: dict[str, int]) -> None:
    found = min_timeout_s(case["mult"], case["n"], case["probe_interval_ms"] / 1000)
    assert round(found * 1e6) == case["min_timeout_us"]


@pytest.mark.parametrize("case", FORMULAS["suspicion_remaining"])
def test_suspicion_remaining(case: dict[str, int]) -> None:
    accusers = dict.fromkeys(str(i) for i in range(case["confirmations"] + 1))
    suspicion = Suspicion(0.0, case["min_ms"] / 1000, case["max_ms"] / 1000, case["k"], accusers)
    remaining = suspicion.deadline(0.0) - case["elapsed_ms"] / 1000
    assert round(remaining * 1000) == case["remaining_ms"]


@pytest.mark.parametrize("vector", load("queue.json")["vectors"], ids=lambda v: v["name"])
def test_queue(vector: dict[str, Any]) -> None:
    limit = retransmit_limit(vector["retransmit_mult"], vector["num_nodes"])
    queue = BroadcastQueue(lambda: limit)
    ids: dict[bytes, str] = {}
    finished: list[str] = []

    def queue_one(step: dict[str, Any]) -> None:
        message = str(len(ids)).encode().rjust(step["len"], b".")
        ids[message] = step["id"]
        # "plain" entries of one name replace each other, as named ones do, but never a named one
        name = {"named": step.get("name"), "unique": None, "plain": f"plain {step.get('name')}"}[step["kind"]]
        queue.add(message, 0.0, name, on_done=lambda now: finished.append(step["id"]))

    for step in vector["steps"]:
        finished.clear()
        sent: list[bytes] = []
        if step["op"] == "queue":
            queue_one(step)
        elif step["op"] == "get":
            sent = queue.select(step["overhead"], step["limit"], 0.0)
        else:
            queue.prune(step["max"], 0.0)
        expect = step["expect"]
        assert [ids[m] for m in sent] == expect["sent"]
        assert sorted(finished) == sorted(expect["finished"])
        assert len(queue) == expect["queued"]


MACHINE = load("state_machine.json")["vectors"]


class Replay:
    """Runs the steps of a scenario; time stands still but for `age`."""

    def __init__(self, vector: dict[str, Any]) -> None:
        self.vector = vector
        self.now = 1000.0
        self.bench = Bench(now=self.now, name=vector["local"], addr=bytes.fromhex(vector["local_addr"]),
                           versions=bytes.fromhex(vector["local_vsn"]), verify_suspicions=False,
                           dead_node_reclaim_s=vector["dead_node_reclaim_s"], eager=False)
        self.swim = self.bench.swim

    def step(self, step: dict[str, Any]) -> str | None:
        out, now = self.bench.out, self.now
        match step["op"]:
            case "alive" if step.get("bootstrap"):
                self.swim._apply_alive(self.swim.local, self.alive(step), now, out)     # noqa: SLF001
            case "alive":
                self.swim.on_alive(self.alive(step), STRANGER, now, out)
            case "suspect":
                self.swim.on_suspect(Suspect(step["incarnation"], step["node"], step["from"]), STRANGER, now, out)
            case "dead":
                self.swim.on_dead(Dead(step["incarnation"], step["node"], step["from"]), STRANGER, now, out)
            case "leave":
                self.swim.leave(now, out)
            case "age":
                self.bench.member(step["node"]).changed -= step["seconds"]
            case "prune":
                self.swim.members.prune(now, self.bench.config.gossip_to_the_dead_s)
            case "verify":
                return "accept" if compatible(self.entries(step), self.swim.members) else "reject"
            case "merge" | "push_pull":
                return self.merge(step)
        return None

    def merge(self, step: dict[str, Any]) -> str:
        """Every entry applied, after the version check for a whole push/pull."""
        results: list[str] = []
        sync = self.bench.membership.sync
        sync._merge(PushPull(False, self.entries(step)), True, STRANGER,       # noqa: SLF001
                    lambda failure, now, out: results.append(failure), self.now, self.bench.out)
        return "reject" if results[0] else "accept"

    @staticmethod
    def alive(step: dict[str, Any]) -> Alive:
        return Alive(step["incarnation"], step["node"], bytes.fromhex(step["addr"]), step["port"],
                     bytes.fromhex(step["meta"]), bytes.fromhex(step["vsn"]))

    @staticmethod
    def entries(step: dict[str, Any]) -> list[PushPullEntry]:
        return [PushPullEntry(n["name"], bytes.fromhex(n["addr"]), n["port"], bytes.fromhex(n["meta"]),
                              n["incarnation"], STATES.get(n["state"], n["state"]), bytes.fromhex(n["vsn"]))
                for n in step["nodes"]]

    def state(self) -> dict[str, Any]:
        members = sorted(self.swim.members, key=lambda m: m.name)
        return {
            "nodes": [{"name": m.name, "state": m.state.name.lower(), "incarnation": m.incarnation,
                       "addr": m.addr.hex(), "port": m.port, "meta": m.meta.hex(), "vsn": m.vsn.hex()}
                      for m in members],
            "suspicion_timers": sorted(self.swim.suspicions),
            "events": list(self.bench.upper.events),
            "broadcasts": sorted(m.hex() for m in self.drain()),
            "health": self.swim.awareness.score,
            "local_incarnation": self.swim.incarnation,
        }

    def drain(self) -> list[bytes]:
        self.bench.upper.events.clear()
        sent = self.swim.queue.select(0, 1 << 20, self.now)
        self.swim.queue.prune(0, self.now)
        return sent


def expected(step: dict[str, Any]) -> dict[str, Any]:
    wanted = {k: v for k, v in step["expect"].items() if k != "result"}
    wanted["broadcasts"] = sorted(b["hex"] for b in wanted["broadcasts"])
    wanted["suspicion_timers"] = sorted(t if isinstance(t, str) else t["node"] for t in wanted["suspicion_timers"])
    return wanted


@pytest.mark.parametrize("vector", [v for v in MACHINE if "deviation" not in v], ids=lambda v: v["name"])
def test_state_machine(vector: dict[str, Any]) -> None:
    replay = Replay(vector)
    for number, step in enumerate(vector["steps"]):
        result = replay.step(step)
        assert replay.state() == expected(step), f"after step {number}: {step}"
        if "result" in step["expect"]:
            assert result == step["expect"]["result"], f"step {number}"


def test_every_deliberate_difference_is_tested_below() -> None:
    names = {v["name"] for v in MACHINE if "deviation" in v}
    assert names == {"self_refute_wraps_at_max", "alive_vsn_checks", "verify"}


def test_encoded_messages_match_the_reference_field_for_field() -> None:
    """The broadcasts compared above are whole messages: this guards the helper that compares them."""
    step = MACHINE[0]["steps"][1]
    assert encode(Replay.alive(step)).hex() == step["expect"]["broadcasts"][0]["hex"]
