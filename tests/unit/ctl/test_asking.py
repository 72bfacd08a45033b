"""gossipctl event, query, respond, reachability, rtt, keys, keygen, monitor, tags."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from types import SimpleNamespace

import pytest

from gossipd.commands import ChangeKeys, KeyOutcome, QueryAnswer, QueryOutcome, Respond, SendEvent, StartQuery
from gossipd.ctl.commands.tags import bytes_taken
from gossipd.rpc.backend import NoLog
from gossipd.serf.coordinates import Coordinate, distance_ns
from gossipd.serf.tags import encode_tags
from tests.unit.ctl.daemon import a_daemon
from tests.unit.rpc.fakes import FakeBackend, a_member

ROOT = Path(__file__).resolve().parents[3]
KEY = "AAECAwQFBgcICQoLDA0ODw=="


def stdin(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def without_times(record):
    return {key: value for key, value in record.items() if not key.endswith("_ms")}


# --- event ---

@pytest.mark.parametrize(("words", "expected"), [
    (("deploy",), SendEvent(1, "deploy", None, True)),
    (("deploy", "v1 é\udcff"), SendEvent(1, "deploy", b"v1 \xc3\xa9\xff", True)),
    (("deploy", "", "--no-coalesce"), SendEvent(1, "deploy", b"", False)),
    (("--coalesce", "deploy", "--", "-x"), SendEvent(1, "deploy", b"-x", True)),
    (("deploy", "-"), SendEvent(1, "deploy", b"\x00\xff\n", True)),
])
def test_an_event_goes_out_as_it_was_given(ctl, daemon, monkeypatch, words, expected):
    stdin(monkeypatch, b"\x00\xff\n")
    assert ctl("event", *words) == (0, "event 'deploy' sent\n", "")
    assert daemon.backend.commands == [expected]


def test_a_refused_event_is_an_error(ctl, daemon):
    daemon.backend.refuse = "user event exceeds configured limit of 512 bytes before encoding: 600 bytes"
    assert ctl("event", "big") == (1, "", f"gossipctl: {daemon.backend.refuse}\n")


def test_standard_input_is_not_read_for_ever(ctl, monkeypatch):
    stdin(monkeypatch, bytes(2_000_000))
    assert ctl("event", "big", "-")[0] == 2


# --- query ---

ANSWERS = [QueryAnswer("alpha", ack=True), QueryAnswer("beta", ack=True), QueryAnswer("beta", b"0.5\n\x1b[2J\tx\n"),
           QueryAnswer("alpha", b"\xff")]


def asking(daemon, outcome):
    daemon.backend.parts = ANSWERS
    daemon.backend.results[StartQuery] = outcome, ""


def test_a_query_shows_answers_as_they_come_and_at_the_end_who_did_what(ctl, daemon):
    asking(daemon, QueryOutcome(["alpha", "beta"], ["beta", "alpha"], ["gamma"]))
    assert ctl("query", "load") == (4, (
        "ack     alpha\n"
        "ack     beta\n"
        "answer  beta  0.5\n"
        "              \\x1b[2J\tx\n"
        "answer  alpha  \\xff\n"
        "\n"
        "acked       2  alpha, beta\n"
        "answered    2  alpha, beta\n"
        "neither     1  gamma\n"), "")
    assert daemon.backend.commands == [StartQuery(1, "load", ack=True, early=True)]


def test_a_query_takes_filters_and_the_rest(ctl, daemon, monkeypatch):
    stdin(monkeypatch, b"\x00")
    ctl("query", "load", "-", "--node", "a", "--node=b", "--tag", "role=^w=x", "--timeout", "1.5s", "--no-ack",
        "--relay-factor", "3")
    assert daemon.backend.commands == [
        StartQuery(1, "load", b"\x00", ["a", "b"], {"role": "^w=x"}, False, 3, 1.5, True)]


def test_a_query_that_all_heard_is_a_success_and_one_that_nobody_matches_is_exit_3(ctl, daemon):
    asking(daemon, QueryOutcome(["alpha", "beta"], ["beta", "alpha"], []))
    assert ctl("query", "load")[0] == 0
    daemon.backend.parts = []
    code, out, err = ctl("query", "load", "--node", "nobody", "--no-ack")
    assert (code, out, err) == (3, "\nanswered    0\nneither     0\n", "gossipctl: no live member matches\n")


def test_a_query_as_json(ctl, daemon):
    asking(daemon, QueryOutcome(["alpha", "beta"], ["beta", "alpha"], ["gamma"]))
    answers = [{"type": "answer", "node": "beta", "payload": "0.5\n\x1b[2J\tx\n", "payload_base64": None},
               {"type": "answer", "node": "alpha", "payload": None, "payload_base64": "/w=="}]
    acks = [{"type": "ack", "node": name, "payload": None, "payload_base64": None} for name in ("alpha", "beta")]
    outcome = {"acked": ["alpha", "beta"], "answered": ["beta", "alpha"], "silent": ["gamma"]}
    found = json.loads(ctl("query", "load", "-o", "json")[1])
    assert found["duration_ms"] >= found["answers"][-1]["after_ms"] >= 0
    assert without_times(found) | {"answers": [without_times(answer) for answer in found["answers"]]} == {
        "name": "load", "answers": answers, **outcome}
    lines = [without_times(json.loads(line)) for line in ctl("query", "load", "-o", "jsonl")[1].splitlines()]
    assert lines == [*acks, *answers, {"type": "done", **outcome}]


@pytest.mark.parametrize(("words", "expected"), [
    ([], ["gamma"]), (["--tag", "role=^d"], []), (["--node", "gamma", "--node", "beta"], ["gamma"]),
    (["--tag", "role=^$"], ["gamma"]), (["--tag", "role=("], None), (["--tag", "role=\\p{Greek}"], None),
])
def test_of_serfs_agent_it_is_worked_out_who_did_neither(ctl, tmp_path, monkeypatch, words, expected):
    backend = FakeBackend([*FakeBackend().member_list, a_member("gone", 15, "failed")])
    backend.parts = ANSWERS
    monkeypatch.setattr("gossipd.rpc.connection.OWN_VIEW", "not this daemon's")
    with a_daemon(tmp_path / "serf.sock", backend) as serf:
        code, out, _ = ctl("query", "load", "-o", "json", *words, "--rpc-socket", serf.path)
    assert (json.loads(out)["silent"], code) == (expected, 0 if expected == [] else 4)


OBSCURE = "expression '\\\\p{Greek}': unknown character class Greek"


@pytest.mark.parametrize(("parts", "acked", "answered", "heard"), [
    (ANSWERS[:3], ["alpha", "beta"], ["beta"], "who else"), ([], [], [], "nobody answered; who"),
], ids=["some answer", "nobody answers"])
def test_where_it_cannot_be_told_who_was_asked_no_member_is_said_to_be_silent_or_not_to_match(
        ctl, daemon, parts, acked, answered, heard):
    daemon.backend.parts = parts
    daemon.backend.results[StartQuery] = QueryOutcome(acked, answered, None), ""
    words = "query", "load", "--tag", r"role=\p{Greek}"
    code, out, err = ctl(*words)
    assert (code, err) == (4, f"gossipctl: {heard} was asked cannot be told: {OBSCURE}\n")
    assert out.endswith(f"acked     {len(acked):3}  {', '.join(acked)}".rstrip() + "\n"
                        + f"answered  {len(answered):3}  {', '.join(answered)}".rstrip() + "\nneither     ?\n")
    found = json.loads(ctl(*words, "-o", "json")[1])
    assert (found["acked"], found["answered"], found["silent"]) == (acked, answered, None)
    last = json.loads(ctl(*words, "-o", "jsonl")[1].splitlines()[-1])
    assert (last["type"], last["acked"], last["answered"], last["silent"]) == ("done", acked, answered, None)


def test_what_is_too_much_work_for_all_members_at_once_is_worked_out_from_those_who_are_there(ctl, daemon):
    asking(daemon, QueryOutcome(["alpha", "beta"], ["beta"], None))
    code, out, err = ctl("query", "load", "--tag", "role=^(web|db|)$", "-o", "json")
    assert (code, json.loads(out)["silent"], err) == (4, ["gamma"], "")
    daemon.backend.parts, daemon.backend.results[StartQuery] = [], (QueryOutcome([], [], None), "")
    assert ctl("query", "load", "--tag", "role=nosuch")[::2] == (3, "gossipctl: no live member matches\n")


def test_expressions_that_are_too_much_work_for_gossipctl_too_are_named_as_such(ctl, daemon):
    text = "".join("ab"[int(bit)] for bit in f"{random.Random(1).getrandbits(20000):020000b}")
    daemon.backend.member_list = [a_member("alpha", 11, tags={"role": text})]
    daemon.backend.results[StartQuery] = QueryOutcome([], [], None), ""
    code, out, err = ctl("query", "load", "--tag", "role=(a|b)*a(a|b){18}c")
    assert (code, out) == (4, "\nacked       0\nanswered    0\nneither     ?\n")
    assert err == "gossipctl: nobody answered; who was asked cannot be told: the expressions take too much work\n"


# --- respond ---

def test_a_query_is_answered_by_its_number(ctl, daemon):
    assert ctl("respond", "900", "fine") == (0, "", "")
    assert daemon.backend.commands == [Respond(1, 900, b"fine")]
    daemon.backend.refuse = "response already sent"
    assert ctl("respond", "900") == (1, "", "gossipctl: response already sent\n")


# --- reachability ---

def test_reachability_lists_everybody(ctl, daemon):
    daemon.backend.parts = ANSWERS[:2]
    daemon.backend.results[StartQuery] = QueryOutcome(["alpha", "beta"], [], []), ""
    code, out, err = ctl("reachability")
    assert (code, [line.split()[0] for line in out.splitlines()], err) == (0, ["NODE", "alpha", "beta"], "")
    assert daemon.backend.commands == [StartQuery(1, "_serf_ping", ack=True, early=True)]
    daemon.backend.results[StartQuery] = QueryOutcome(["alpha", "beta"], [], ["gamma"]), ""
    code, out, err = ctl("reachability")
    assert code == 4 and out.endswith("gamma  not heard of\n")
    assert err == "gossipctl: 1 of 3 live members were not heard of\n"
    found = json.loads(ctl("reachability", "-o", "json")[1])
    assert ([record["node"] for record in found["reached"]], found["silent"]) == (["alpha", "beta"], ["gamma"])


# --- rtt ---

HERE = Coordinate((0.001,) * 8, 0.5, -0.0001, 0.0002)
THERE = Coordinate((0.002, -0.003) * 4, 0.7, 0.0003, 0.0004)


def test_rtt_is_what_serf_computes(ctl, daemon):
    daemon.backend.coordinates = {"alpha": HERE, "beta": THERE}
    expected_ms = distance_ns(HERE, THERE) / 1e6
    assert ctl("rtt", "beta", "alpha") == (0, f"beta <-> alpha: {expected_ms:.3f} ms\n", "")
    assert json.loads(ctl("rtt", "beta", "-o", "json")[1]) == {
        "nodes": ["beta", "alpha"], "rtt_ms": pytest.approx(expected_ms, abs=2e-6)}
    code, out, err = ctl("rtt", "nosuch")
    assert (code, out) == (3, "") and "'nosuch'" in err


# --- keys ---

OUTCOME = KeyOutcome(3, 2, 1, {"beta": "Removing the primary key is not allowed"}, {}, {}, ["alpha"], ["gamma"])


@pytest.mark.parametrize("action", ["install", "use", "remove"])
def test_a_change_of_keys_has_a_result_for_each_member(ctl, daemon, action, monkeypatch):
    stdin(monkeypatch, KEY.encode() + b"\n")
    daemon.backend.results[ChangeKeys] = KeyOutcome(1, 1, done=["alpha"]), ""
    assert ctl("keys", action, "-") == (0, "NODE   RESULT\nalpha  done\n", "")
    assert daemon.backend.commands == [ChangeKeys(1, action, b64decode(KEY))]
    daemon.backend.results[ChangeKeys] = OUTCOME, "1/3 nodes reported failure"
    assert ctl("keys", action, KEY) == (4, (
        "NODE   RESULT\n"
        "alpha  done\n"
        "beta   Removing the primary key is not allowed\n"
        "gamma  no answer\n"), "gossipctl: 1/3 nodes reported failure\n")
    assert json.loads(ctl("keys", action, KEY, "-o", "json")[1]) == {
        "error": "1/3 nodes reported failure", "nodes": 3, "responses": 2, "errors": 1, "messages": OUTCOME.messages,
        "done": ["alpha"], "silent": ["gamma"]}


def test_keys_are_listed_with_the_one_in_use_first(ctl, daemon):
    keys, primaries = {"old": 3, "new": 3, "lost": 1}, {"new": 2, "old": 1}
    daemon.backend.results[ChangeKeys] = KeyOutcome(3, 3, 0, {}, keys, primaries), ""
    assert ctl("keys", "list") == (0, (
        "KEY   MEMBERS  IN USE\n"
        "new   3/3      2/3\n"
        "old   3/3      1/3\n"
        "lost  1/3      0/3\n"), "")
    assert json.loads(ctl("keys", "list", "-o", "json")[1])["keys"] == [
        {"key": "lost", "nodes": 1, "in_use": 0}, {"key": "new", "nodes": 3, "in_use": 2},
        {"key": "old", "nodes": 3, "in_use": 1}]


def test_a_listing_that_failed_names_the_reasons(ctl, daemon):
    failed = KeyOutcome(1, 1, 1, {"alpha": "Keyring is empty"})
    daemon.backend.results[ChangeKeys] = failed, "1/1 nodes reported failure"
    assert ctl("keys", "list") == (1, "KEY  MEMBERS  IN USE\n", (
        "gossipctl: alpha: Keyring is empty\ngossipctl: 1/1 nodes reported failure\n"))


def test_a_key_that_is_none_is_refused(ctl):
    assert ctl("keys", "use", "not_base64!") == (1, "", "gossipctl: illegal base64 data at input byte 3\n")


def test_serfs_agent_says_less_of_keys(ctl, daemon, monkeypatch):
    monkeypatch.setattr("gossipd.rpc.connection.OWN_VIEW", "not this daemon's")
    daemon.backend.results[ChangeKeys] = OUTCOME, "1/3 nodes reported failure"
    assert ctl("keys", "use", KEY) == (4, "done on 1 of 3 members\n", (
        "gossipctl: beta: Removing the primary key is not allowed\ngossipctl: 1/3 nodes reported failure\n"))
    daemon.backend.results[ChangeKeys] = KeyOutcome(2, 2, 0, {}, {KEY: 2}), ""
    assert ctl("keys", "list") == (0, f"KEY{' ' * 21}  MEMBERS\n{KEY}  2/2\n", "")


@pytest.mark.parametrize(("words", "size"), [([], 32), (["--bytes", "16"], 16), (["--bytes=24"], 24)])
def test_a_new_key_needs_no_daemon(ctl, monkeypatch, words, size):
    monkeypatch.setenv("GOSSIPCTL_RPC", "/nowhere/rpc.sock")
    code, one, _ = ctl("keygen", *words)
    assert (code, len(b64decode(one.strip(), validate=True))) == (0, size)
    assert ctl("keygen", *words)[1] != one


# --- monitor ---

class Log(NoLog):
    def recent(self, level):
        return [f"2026/11/23 05:01:48 [ERR] x: level {level}", "two\nlines \x1b[2J"]


def test_monitor_shows_the_log_until_the_daemon_goes(ctl, tmp_path):
    with a_daemon(tmp_path / "log.sock", log=Log()) as daemon:
        code, out, err = ctl("monitor", "--level", "warning", "--rpc-socket", daemon.path)
    assert (code, out) == (6, "2026/11/23 05:01:48 [ERR] x: level 30\ntwo\nlines \\x1b[2J\n")
    assert "closed the connection" in err


# --- tags ---

@pytest.mark.parametrize("tags", [
    {}, {"role": "web"}, {"a" * 31: "b" * 32, "é": "\udcff"}, {"x": "y" * 300}, {f"key{n}": "" for n in range(17)}])
def test_the_bytes_that_tags_take_are_those_that_travel(tags):
    assert bytes_taken(tags) == len(encode_tags(tags, 5))


# --- the command line ---

@pytest.mark.parametrize("words", [
    ["event"], ["event", "a", "b", "c"], ["event", "a", "--coalesce", "--no-coalesce"],
    ["query", "q", "--relay-factor", "256"], ["query", "q", "--relay-factor", "x"], ["query", "q", "--timeout", "0"],
    ["query", "q", "--tag", "x"], ["respond", "x"], ["respond", "0"], ["respond", str(1 << 64)], ["rtt"],
    ["rtt", "a", "b", "c"], ["keys"], ["keys", "list", "x"], ["keys", "install"], ["keys", "drop", "x"],
    ["keygen", "--bytes", "20"], ["monitor", "--level", "loud"], ["reachability", "x"],
])
def test_wrong_usage_is_one_line_and_exit_2(ctl, words):
    code, out, err = ctl(*words)
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith("gossipctl: ")


def test_none_of_them_loads_what_takes_long(tmp_path):
    script = (f"import sys; sys.path.insert(0, {str(ROOT)!r}); from gossipd.ctl.main import main; "
              "code = main(sys.argv[1:]); print(*sys.modules, file=sys.stderr); sys.exit(code)")
    with a_daemon(tmp_path / "rpc.sock") as daemon:
        daemon.backend.coordinates = {"alpha": HERE, "beta": THERE}
        daemon.backend.results[ChangeKeys] = KeyOutcome(1, 1, done=["alpha"]), ""
        for words in (["event", "x"], ["query", "x", "--node", "alpha"], ["rtt", "beta"], ["keys", "list"], ["keygen"]):
            done = subprocess.run([sys.executable, "-IS", "-c", script, *words, "--rpc-socket", daemon.path],
                                  capture_output=True, text=True)
            assert done.returncode in (0, 3), done.stderr
            assert set(done.stderr.split()) & {"re", "socket", "typing", "dataclasses", "json", "msgpack", "logging",
                                               "argparse", "gossipd.regex"} == set(), words
