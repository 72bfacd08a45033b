"""Clients of Serf from PyPI with gossipd, and with Serf's agent, so that we know what they do there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Agent, Lab, alive, wait_until, wait_until_all_see
from tests.support.require import need, need_serf

CALLS = ROOT / "tests/support/pypi"
CLIENTS = ROOT / ".venv/clients"        # made by tests/support/prepare
KINDS = ("gossipd", "serf")
ALL_SEE_S, CALLS_S, HANDLED_S = 20.0, 60.0, 20.0


def interpreter(which: str) -> str:
    """Of today's clients ("new"), or of those that need packages of their time ("old")."""
    python = CLIENTS / which / "bin/python"
    need(python.exists(), f"clients of Serf from PyPI: no {python.relative_to(ROOT)}")
    return str(python)


def printed(which: str, script: str, *words: str) -> object:
    argv = [interpreter(which), str(CALLS / script), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=CALLS_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(need_serf("clients from PyPI compared with Serf's agent")) as lab:
        yield lab


def agent(lab: Lab, kind: str, name: str, role: str, handlers: tuple[str, ...] = ()) -> Agent:
    if kind == "gossipd":
        return lab.gossipd(name, tags={"role": role}, options=[f"--event-handler={one}" for one in handlers])
    return lab.serf(name, tags={"role": role}, options=[f"-event-handler={one}" for one in handlers])


@pytest.fixture(params=KINDS)
def ann(request: pytest.FixtureRequest, lab: Lab) -> Agent:
    """One of two members of the same kind."""
    ann, bea = agent(lab, request.param, "ann", "web"), agent(lab, request.param, "bea", "db")
    lab.start(ann, bea)
    bea.join(ann.gossip)
    wait_until_all_see([ann, bea], alive([ann, bea]), ALL_SEE_S)
    return ann


@pytest.mark.parametrize("kind", KINDS)
def test_serfclient(lab: Lab, kind: str):
    ann, bea = agent(lab, kind, "ann", "web"), agent(lab, kind, "bea", "db")
    lab.start(ann, bea)
    assert printed("new", "calls_serfclient.py", ann.host, bea.gossip) == {
        "join": {"Num": 1}, "members": ["ann", "bea"], "filtered": ["ann"], "nobody": {"Members": []},
        "stream": {"Error": "", "Seq": 1}, "event": ["", "", ""],
        "heard": [["user", "deploy", "v\xff1"], ["user", "deploy", "text"]], "force_leave": "", "stats": "2"}


def test_serfio(ann: Agent):
    assert printed("new", "calls_serfio.py", ann.host) == {
        "members": ["ann", "bea"], "filtered": ["ann"], "heard": ["user", "deploy", "v\xff1"],
        "answers": [["response", "ann", "0.7 now"]], "tags": {"role": "web", "dc": "east"},
        "tags after": {"role": "web", "dc": "east"}, "monitor": ["Log"]}


@pytest.mark.parametrize("package", ["asyncserf", "trio_serf"])
def test_asyncserf_and_trio_serf_with_the_packages_of_their_time(ann: Agent, package: str):
    assert printed("old", "calls_asyncserf.py", package, ann.host) == {
        "members": ["ann", "bea"], "filtered": ["ann"], "heard": ["user", "deploy", "v\xff1"],
        "answers": [["ack", "ann", None], ["response", "ann", "0.7 now"]], "stats": "ann"}
    wait_until(lambda: ann.members()["ann"].tags == {"role": "web", "dc": "east"}, "the tags are changed", ALL_SEE_S)


@pytest.mark.parametrize("kind", KINDS)
def test_handlers_made_of_serf_master(lab: Lab, kind: str, tmp_path: Path):
    said = tmp_path / "said"
    said.touch()
    handler = f"{interpreter('new')} {CALLS / 'handler_serf_master.py'} {said}"
    web, db = agent(lab, kind, "ann", "web", (handler,)), agent(lab, kind, "bea", "db", (handler,))
    lab.start(web)
    wait_until(lambda: "anyone ann member_join ann\n" in said.read_text(), "ann heard of itself", HANDLED_S)
    with web.client() as client:
        client.send_event("deploy", b"v1", coalesce=False)
        wait_until(lambda: "web ann deploy ltime v1\n" in said.read_text(), "deploy is handled", HANDLED_S)
        client.send_event("unheard", b"v1", coalesce=False)
        answers = [(answer.node, answer.payload) for answer in client.query("load", b"now") if not answer.ack]
        assert answers == [("ann", b"0.7 now web")]
        client.change_tags({"dc": "east"})
        wait_until(lambda: "web ann member_update web\n" in said.read_text(), "the update is handled", HANDLED_S)
        lab.start(db)
        db.join(web.gossip)
        wait_until(lambda: "anyone bea member_join" in said.read_text(), "bea heard of members", HANDLED_S)
        answers = [(answer.node, answer.payload) for answer in client.query("load", b"") if not answer.ack]
        assert answers == [("ann", b"0.7  web")], "the handler of role db knows no load"
