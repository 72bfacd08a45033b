"""Whatever gossipctl writes as JSON has the keys and types of docs/json.md, and no others."""

from __future__ import annotations

import json

import pytest

from gossipd.commands import ChangeKeys, KeyOutcome, QueryAnswer, QueryOutcome, StartQuery
from gossipd.ctl.table import COMMANDS
from gossipd.events import MemberEvent, QueryEvent, UserEvent
from gossipd.serf.coordinates import Coordinate
from tests.support.jsondocs import SCHEMAS, wrong
from tests.unit.rpc.fakes import a_member

KEY = "AAECAwQFBgcICQoLDA0ODw=="
EVENTS = [
    *(MemberEvent(f"member-{what}", [a_member("gamma", 13, "failed")])
      for what in ("join", "leave", "failed", "update", "reap")),
    UserEvent("deploy", b"\xff", 7, True),
    QueryEvent(77, "load", b"x", 3, "beta", 9.0),
]
SIGHTINGS = {
    "Cluster": "app",
    "Links": [{"Interface": "eth0", "Family": "ipv4", "Trouble": ""}],
    "Seen": [{"Name": "delta", "Addr": bytes((192, 0, 2, 14)), "Port": 7946, "Interfaces": ["eth0"],
              "Source": "192.0.2.14", "Heard": 1.7e9, "Expires": 1.7e9, "Status": "failed", "Failures": 2}],
}


@pytest.fixture
def busy(daemon):
    """A daemon with something of everything."""
    backend = daemon.backend
    backend.member_list += [
        a_member("delta", 14, state="suspect", incarnation=7, changed=-2.5, reason="beta: no ack", rtt_s=0.0004),
        a_member("omega", 15, "failed", tags={"b\udcff": "\x9b"})]
    backend.tags = {"role": "web"}
    backend.parts = [QueryAnswer("alpha", ack=True), QueryAnswer("alpha", b"\xff"), QueryAnswer("beta", b"0.5")]
    backend.results |= {
        StartQuery: (QueryOutcome(["alpha"], ["alpha", "beta"], ["gamma"]), ""),
        ChangeKeys: (
            KeyOutcome(3, 2, 1, {"beta": "no"}, {KEY: 2}, {KEY: 1}, ["beta", "alpha"], ["gamma"]), "1/3 failed"),
    }
    backend.coordinates = {name: Coordinate() for name in ("alpha", "beta")}
    backend.sightings = SIGHTINGS
    return daemon


DOCUMENTS = [
    ("members", "MEMBERS"), ("members --name x", "MEMBERS"), ("query load", "QUERY"), ("reachability", "REACHABILITY"),
    ("rtt alpha beta", "RTT"), ("discover --wait 0", "DISCOVERY"), ("tags list", "TAGS"), ("tags set a=b", "TAGS"),
    ("tags unset a", "TAGS"), ("join a b", "JOIN"), ("leave", "LEAVE"), ("force-leave omega", "FORCE-LEAVE"),
    ("event deploy v1", "SENT"), ("respond 7", "RESPONSE"), (f"keys install {KEY}", "KEYS"),
    (f"keys use {KEY}", "KEYS"), (f"keys remove {KEY}", "KEYS"),
]
LINES = ["members", "query load", "events --count 7"]


@pytest.mark.parametrize(("line", "schema"), DOCUMENTS)
def test_a_document_is_as_documented(ctl, busy, line, schema):
    code, out, _ = ctl(*line.split(), "-o", "json")
    assert code in (0, 3, 4) and wrong(json.loads(out), schema) == []


def test_a_listing_of_keys_is_as_documented(ctl, busy):
    assert wrong(json.loads(ctl("keys", "list", "-o", "json")[1]), "KEYS", "list") == []


def test_info_is_an_object_of_objects_of_strings(ctl, busy):
    found = json.loads(ctl("info", "-o", "json")[1])
    assert found and all(isinstance(value, str) for section in found.values() for value in section.values())


def test_members_line_by_line_are_as_documented(ctl, busy):
    lines = ctl("members", "-o", "jsonl")[1].splitlines()
    assert len(lines) == 5 and [problem for line in lines for problem in wrong(json.loads(line), "MEMBER")] == []


def test_answers_line_by_line_are_as_documented(ctl, busy):
    records = [json.loads(line) for line in ctl("query", "load", "-o", "jsonl")[1].splitlines()]
    assert [record["type"] for record in records] == ["ack", "answer", "answer", "done"]
    assert [problem for record in records for problem in wrong(record, "ANSWER", record["type"])] == []


def test_events_of_every_kind_are_as_documented(ctl, busy):
    busy.events = EVENTS
    records = [json.loads(line) for line in ctl("events", "--json", "--count", "7")[1].splitlines()]
    assert len({record["event"] for record in records}) == 7
    for record in records:
        kind = record["event"]
        assert wrong(record, "EVENT", "member events" if kind.startswith("member-") else kind) == []


@pytest.mark.parametrize("line", ["members --name (", "info --nonsense", "rtt nobody", "force-leave nobody",
                                  "members --rpc-socket /nowhere/rpc.sock", "tags set x", "join"])
def test_an_error_is_as_documented(ctl, line):
    code, out, said = ctl(*line.split(), "-o", "json")
    assert (out, said.count("\n")) == ("", 1) and wrong(json.loads(said), "ERROR") == []
    assert json.loads(said)["exit_status"] == code


def test_every_command_that_can_write_json_is_tried():
    can = {(name, choice) for name, command in COMMANDS.items() for option in command.options
           if "--output" in option.names for choice in option.choices if choice in ("json", "jsonl")}
    tried = {(line.split()[0], "json") for line, _ in DOCUMENTS} | {(line.split()[0], "jsonl") for line in LINES}
    assert can == tried | {("info", "json")}


def test_every_table_of_the_document_is_used():
    named = {schema for _, schema in DOCUMENTS} | {"EVENT", "ERROR"}
    while more := {word for schema in named for kind, _ in SCHEMAS[schema].values()
                   for word in kind.split() if word in SCHEMAS} - named:
        named |= more
    assert named == set(SCHEMAS)


@pytest.mark.parametrize(("value", "problems"), [
    ({"key": "x", "nodes": 1, "in_use": None}, []),
    ({"key": "x", "nodes": True, "in_use": 1}, ["KEY.nodes: True is no number"]),
    ({"key": "x", "nodes": 1}, ["KEY: in_use is missing"]),
    ({"key": "x", "nodes": 1, "in_use": 1, "more": 1}, ["KEY: more is not documented"]),
    ([], ["KEY: no object"]),
])
def test_what_is_not_as_documented_is_found(value, problems):
    assert wrong(value, "KEY") == problems
