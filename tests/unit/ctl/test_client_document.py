"""The examples of docs/python-client.md run as they are written, against daemons at the addresses that they name."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import pytest

import gossipd.client
import gossipd.trioclient
from gossipd.commands import ChangeKeys, KeyOutcome, QueryAnswer, QueryOutcome, Respond, SendEvent, SetTags, StartQuery
from gossipd.events import MemberEvent, QueryEvent, UserEvent
from gossipd.rpc.backend import NoLog
from gossipd.serf.coordinates import Coordinate
from tests.unit.ctl.daemon import a_daemon
from tests.unit.rpc.fakes import FakeBackend, a_member

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "python-client.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)


class Log(NoLog):
    def recent(self, level):
        return [f"a line of level {level}", "another"]


@pytest.fixture
def daemon(tmp_path):
    backend = FakeBackend()
    backend.parts = [QueryAnswer("alpha", ack=True), QueryAnswer("alpha", b"0.5")]
    backend.results |= {StartQuery: (QueryOutcome(["alpha"], ["alpha"], ["gamma"]), ""),
                        ChangeKeys: (KeyOutcome(3, 3, 0, {"beta": "has it"}, done=["alpha"]), "")}
    backend.coordinates = {name: Coordinate() for name in ("web-1", "db-3")}
    with a_daemon(tmp_path / "rpc.sock", backend, log=Log()) as running:
        running.hangs_up = False
        running.events = [MemberEvent("member-failed", [a_member("gamma", 13, "failed")]),
                          UserEvent("deploy", b"v1", 7, True), QueryEvent(77, "load", None, 3, "beta", 9.0)]
        yield running


@pytest.fixture
def run(daemon, monkeypatch, capsys):
    """Run an example, all of whose addresses are the daemon's; what goes on for ever ends after a while."""
    class Client(gossipd.client.Client):
        def __init__(self, address=None, **options):
            super().__init__(daemon.path, **options | {"auth_key": ""})

        def events(self, *kinds, **options):
            return islice(super().events(*kinds, **options), 1 if kinds[0].startswith("query") else 2)

        def logs(self, level="info"):
            return islice(super().logs(level), 2)

    monkeypatch.setattr(gossipd.client, "Client", Client)

    def run(code):
        names = {}
        exec(EXAMPLES[0].split("\n\n")[0], names)       # what it imports
        exec(code, names)
        return capsys.readouterr().out

    return run


def test_members_a_join_tags_and_events(run, daemon):
    assert run(EXAMPLES[0]).splitlines() == [
        "alpha 192.0.2.11:7946 {'role': 'web', 'dc': 'east'} None",
        "beta 192.0.2.12:7946 {'role': 'db'} None",
        "member-failed ['gamma']  None",
        "user [] deploy b'v1'"]
    assert daemon.backend.joins == [(["10.0.0.6", "seed.example:7946"], False)]
    assert daemon.backend.commands == [SetTags(1, {"role": "web"}, ["old"])]


def test_an_event_a_query_keys_and_coordinates(run, daemon):
    assert run(EXAMPLES[1]).splitlines() == [
        "alpha got it", "alpha b'0.5'", "['alpha'] ['alpha'] ['gamma']", "done {'beta': 'has it'}", "2e-05"]
    assert daemon.backend.commands[0] == SendEvent(1, "deploy", b"v1.2", False)
    assert daemon.backend.commands[1].tags == {"role": "web"}
    assert daemon.backend.commands[2] == ChangeKeys(3, "install", bytes(range(16)))


def test_an_answer_and_the_log(run, daemon):
    assert run(EXAMPLES[2]).splitlines() == ["a line of level 30", "another"]
    assert [command for command in daemon.backend.commands if isinstance(command, Respond)] == [Respond(1, 77, b"0.5")]


def test_the_same_with_trio(daemon, monkeypatch, capsys):
    class Client(gossipd.trioclient.Client):
        def __init__(self):
            super().__init__(daemon.path)

    monkeypatch.setattr(gossipd.trioclient, "Client", Client)
    exec(EXAMPLES[3], {})
    lines = capsys.readouterr().out.splitlines()
    about_events = [line for line in lines if line.startswith(("member-failed", "user"))]
    assert [line for line in lines if line not in about_events] == [
        "alpha 192.0.2.11:7946", "beta 192.0.2.12:7946", "gamma 192.0.2.13:7946",
        "alpha got it", "alpha b'0.5'", "['alpha'] ['alpha']"]
    assert set(about_events) == {"member-failed ['gamma']  None", "user [] deploy b'v1'"}
    assert daemon.backend.commands[0] == SendEvent(1, "deploy", b"v1.2", False)


def test_there_are_no_other_examples():
    assert len(EXAMPLES) == 4
