"""`serf agent` in operation: reload, files that are kept up to date, handlers, discovery beside others."""

from __future__ import annotations

import json
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossipd.client import Client
from tests.support.processes import wait_until
from tests.support.transcripts import END_S, RunningAgent, Stage

ALPHA, BETA = "192.0.2.11", "192.0.2.12"
Start = Callable[..., RunningAgent]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def start(stage: Stage) -> Iterator[Start]:
    agents: list[RunningAgent] = []

    def start(*flags: str, host: str = ALPHA) -> RunningAgent:
        here = stage.hosts[host]
        agents.append(stage.agent(["agent", f"-node=at-{host}", f"-bind={here}", f"-rpc-addr={here}:7373", *flags]))
        agents[-1].wait_for("EventMemberJoin")
        return agents[-1]

    yield start
    for agent in agents:
        agent.kill()


def client(stage: Stage, host: str = ALPHA) -> Client:
    return Client(f"{stage.hosts[host]}:7373", timeout_s=END_S)


def tags(stage: Stage) -> dict[str, str]:
    with client(stage) as asking:
        return asking.members()[0].tags


def hang_up(agent: RunningAgent, count: int = 1) -> None:
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for("Reloading configuration...", count)


def test_a_reload_changes_what_changed_in_the_settings_and_keeps_what_clients_set(stage, start):
    file = stage.directory / "serf.json"
    file.write_text(json.dumps({"tags": {"a": "1", "b": "1", "c": "1"}}))
    agent = start(f"-config-file={file}")
    with client(stage) as asking:
        asking.change_tags({"c": "client", "new": "client"})
    file.write_text(json.dumps({"tags": {"a": "2", "c": "1"}}))
    hang_up(agent)
    wait_until(lambda: tags(stage) == {"a": "2", "c": "client", "new": "client"}, lambda: str(tags(stage)), END_S)


def test_a_reload_keeps_a_tags_file(stage, start):
    file = stage.directory / "tags.json"
    agent = start(f"-tags-file={file}")
    with client(stage) as asking:
        asking.change_tags({"b": "2", "a": "1"})
    assert file.read_text() == '{\n  "a": "1",\n  "b": "2"\n}'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    hang_up(agent)
    assert tags(stage) == {"a": "1", "b": "2"}
    agent.kill()
    start(f"-tags-file={file}")
    assert tags(stage) == {"a": "1", "b": "2"}


def test_tags_that_are_refused_are_not_in_the_file(stage, start):
    file = stage.directory / "tags.json"
    start(f"-tags-file={file}")
    with client(stage) as asking, pytest.raises(Exception, match="exceeds limit of 512 bytes"):
        asking.change_tags({"big": "x" * 600})
    assert not file.exists()


def test_a_tags_file_that_cannot_be_written_fails_the_change(stage, start):
    start(f"-tags-file={stage.directory / 'no' / 'tags.json'}")
    with client(stage) as asking, pytest.raises(Exception, match="Failed to write tags file: "):
        asking.change_tags({"a": "1"})
    assert tags(stage) == {}


def test_handlers_of_a_reload_take_the_next_event(stage, start):
    file, out = stage.directory / "serf.json", stage.directory / "out"
    file.write_text(json.dumps({"event_handlers": [f"user=echo one >> {out}"]}))
    agent = start(f"-config-file={file}")
    with client(stage) as asking:
        asking.send_event("x", coalesce=False)
        wait_until(lambda: out.exists() and out.read_text() == "one\n", "the first handler ran", END_S)
        file.write_text(json.dumps({"event_handlers": [f"user=echo two >> {out}", f"user:y=echo y >> {out}"]}))
        hang_up(agent)
        wait_until(lambda: len(asking.stats()["event_handlers"]) == 2, "handlers were replaced", END_S)
        asking.send_event("y", coalesce=False)
        wait_until(lambda: sorted(out.read_text().split()) == ["one", "two", "y"], out.read_text, END_S)


def test_an_agent_without_handlers_gets_some_by_a_reload(stage, start):
    file, out = stage.directory / "serf.json", stage.directory / "out"
    file.write_text("{}")
    agent = start(f"-config-file={file}")
    file.write_text(json.dumps({"event_handlers": [f"query=echo hello; echo > {out}"]}))
    hang_up(agent)
    with client(stage) as asking:
        wait_until(lambda: asking.stats()["event_handlers"], "handlers are there", END_S)
        answers = [answer.payload for answer in asking.query("who", ack=False, timeout_s=5.0)]
    assert answers == [b"hello\n"]


def test_a_failing_handler_is_told_as_serf_tells_it(stage, start):
    agent = start("-event-handler=user=exit 3", "-event-handler=user=kill -9 $$")
    with client(stage) as asking:
        asking.send_event("x")
    agent.wait_for("[ERR] agent: Error invoking script 'exit 3': exit status 3")
    agent.wait_for("[ERR] agent: Error invoking script 'kill -9 $$': signal: killed")


def test_a_start_join_is_told_before_the_log_begins(stage, start):
    start()
    agent = start(f"-join={stage.hosts[ALPHA]}", host=BETA)
    agent.wait_for("EventMemberJoin: at-192.0.2.11")
    lines = agent.stdout.splitlines()
    at = lines.index("==> Joining cluster...(replay: false)")
    assert lines[at + 1:at + 4] == ["    Join completed. Synced with 1 initial agents", "",
                                    "==> Log data will now stream in as it occurs:"]
    assert any(line.endswith("[INFO] agent: joining: [192.0.2.11] replay: false") for line in lines[at + 4:])
    assert any(line.endswith("[INFO] agent: joined: 1 nodes") for line in lines[at + 4:])


def test_commands_of_clients_are_in_the_log(stage, start):
    agent = start("-log-level=debug")
    with client(stage) as asking:
        asking.send_event("deploy", b"v1")
        list(asking.query("load", timeout_s=0.2))
        asking.force_leave("nobody")
        asking.force_leave("nobody", prune=True)
        asking.list_keys()
    for line in (
        '[DEBUG] agent: Requesting user event send: deploy. Coalesced: true. Payload: "v1"',
        '[DEBUG] agent: Requesting query send: load. Payload: ""', "[INFO] agent: Received event: user-event: deploy",
        "[INFO] agent: Received event: query: load", "[INFO] agent: Force leaving node: nobody",
        "[INFO] agent: Force leaving node (prune): nobody", "[INFO] agent: Initiating key listing",
        "[INFO] agent.ipc: Accepted client: ",
    ):
        agent.wait_for(line)


def test_two_agents_of_one_name_the_loser_ends_with_0(stage, start):
    """Those who knew the first one vote for it."""
    start("-node=same")
    start("-node=other", f"-join={stage.hosts[ALPHA]}", host=BETA)
    late = start("-node=same", host="192.0.2.13")
    with client(stage, "192.0.2.13") as asking:
        asking.join([f"{stage.hosts[BETA]}:7946"])
    outcome = late.end()
    assert outcome.code == 0
    assert "[WARN] agent: Serf shutdown detected, quitting" in outcome.stdout
