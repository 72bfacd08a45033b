"""Everything that gossipctl asks, asked of a real Serf agent; its JSON is as docs/json.md says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.jsondocs import wrong
from tests.support.processes import GOSSIPCTL, ROOT, Agent, Lab, alive, wait_until_all_see
from tests.support.require import need_serf

KEY = "AAECAwQFBgcICQoLDA0ODw=="
OTHER = "EBESExQVFhcYGRobHB0eHw=="
SEEN_S = 30.0


@pytest.fixture(scope="module")
def serf() -> Iterator[Agent]:
    with Lab(need_serf("gossipctl with Serf's agent")) as lab:
        one, two = lab.serf("one", key=KEY, tags={"role": "web"}), lab.serf("two", key=KEY)
        lab.start(one, two)
        one.join(two.gossip)
        wait_until_all_see([one, two], alive([one, two]), SEEN_S)
        yield one


def run(agent: Agent, *words: str) -> tuple[int, str, str]:
    done = subprocess.run([*GOSSIPCTL, "--rpc-addr", agent.rpc, *words], cwd=ROOT, capture_output=True, text=True,
                          timeout=SEEN_S)
    return done.returncode, done.stdout, done.stderr


def document(agent: Agent, schema: str, *words: str, variant: str = "all") -> Any:
    code, output, errors = run(agent, *words, "-o", "json")
    assert (code, errors) == (0, "")
    found = json.loads(output)
    assert wrong(found, schema, variant) == []
    return found


def test_queries_and_reachability_take_their_whole_time_and_name_everybody(serf):
    found = document(serf, "QUERY", "query", "--timeout", "0.5", "load")
    assert sorted(found["acked"]) == ["one", "two"] and found["silent"] == [] and found["duration_ms"] >= 500
    found = document(serf, "REACHABILITY", "reachability", "--timeout", "0.5")
    assert sorted(one["node"] for one in found["reached"]) == ["one", "two"]
    code, output, _ = run(serf, "query", "--node", "two", "--timeout", "0.5", "load")
    assert code == 0 and "acked       1  two\n" in output


def test_keys_are_listed_and_changed(serf):
    assert document(serf, "KEYS", "keys", "install", OTHER)["done"] is None
    found = document(serf, "KEYS", "keys", "list", variant="list")
    assert [(key["key"], key["nodes"], key["in_use"]) for key in found["keys"]] == [(KEY, 2, None), (OTHER, 2, None)]
    assert run(serf, "keys", "use", OTHER) == (0, "done on 2 of 2 members\n", "")
    code, output, errors = run(serf, "keys", "remove", OTHER)
    assert (code, output) == (1, "done on 0 of 2 members\n") and errors.count("gossipctl: ") == 3
    assert run(serf, "keys", "use", KEY)[0] == run(serf, "keys", "remove", OTHER)[0] == 0


def test_round_trips_events_and_members(serf):
    assert document(serf, "RTT", "rtt", "two")["nodes"] == ["two", "one"]
    assert document(serf, "SENT", "event", "deploy", "v1") == {"name": "deploy"}
    members = document(serf, "MEMBERS", "members")["members"]
    assert [(one["name"], one["since"], one["rtt_ms"]) for one in members] == [("one", None, None), ("two", None, None)]
    assert run(serf, "members", "-o", "wide")[1].splitlines()[1].split() == [
        "one", serf.gossip, "alive", "-", "-", "-", "5", "role=web", "-"]
    assert document(serf, "TAGS", "tags", "list")["tags"] == {"role": "web"}


def test_what_serf_cannot_is_said(serf):
    code, _, errors = run(serf, "respond", "7", "x")
    assert code == 1 and errors.startswith("gossipctl: a Serf agent takes answers only from who got the query")
    assert run(serf, "discover") == (1, "", "gossipctl: this daemon cannot discover\n")


def test_its_log_is_followed(serf):
    following = subprocess.Popen([*GOSSIPCTL, "--rpc-addr", serf.rpc, "monitor", "--level", "debug"], cwd=ROOT,
                                 stdout=subprocess.PIPE, text=True)
    assert "[INFO] agent: Serf agent starting" in following.stdout.readline()
    following.stdout.close()        # and nobody reads it any more
    assert following.wait(SEEN_S) == 0
