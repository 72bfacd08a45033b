"""The command line of `serf` as it was recorded: each transcript of a client, with gossipd on both sides."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from tests.support.processes import wait_until
from tests.support.transcripts import (
    END_S,
    Outcome,
    RunningAgent,
    Stage,
    Transcript,
    all_names,
    lines_of,
    read_transcript,
    shortened,
)

ALPHA, BETA, GAMMA = "192.0.2.11", "192.0.2.12", "192.0.2.13"
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ANSWERS = """#!/bin/sh
case "$SERF_QUERY_NAME" in
load) echo 0.10 0.20 0.30 ;;
echo) cat ;;
multi) echo line1; echo line2 ;;
slow) sleep 3; echo late ;;
esac
"""
HANDLERS = {ALPHA: ["member-join=/bin/true", "query=./answer.sh", "user:deploy=/bin/true"], BETA: ["query=./answer.sh"]}
TAGS = {ALPHA: ["role=web", "dc=east"], BETA: ["role=db"]}
NAMES = {ALPHA: "alpha", BETA: "beta", GAMMA: "gamma"}

WITHOUT_AGENT = [
    "event-badbool", "event-noname", "event-toomany", "flag-needs-argument", "force-leave-noargs", "help", "help-cmd",
    "join-noargs", "keys-noargs", "keys-two", "leave-norunning", "members-bad-rpc-addr", "members-badflag",
    "members-empty-rpc-addr", "members-env-addr", "members-h", "members-help", "members-norunning", "members-tag-bad",
    "no-args", "query-badtag", "query-badtimeout", "query-noname", "query-relay", "query-toomany", "tags-none",
    "unknown-command", "unknown-flag-global"]
VERSIONS = ["version", "version-flag", "version-v", "version-anywhere"]
QUESTIONS = [
    "event", "event-dashdash", "event-empty-payload", "event-flag-after-arg", "event-nopayload", "event-toolarge",
    "force-leave-unknown", "force-leave-prune-unknown", "info-badformat", "join", "join-fail", "join-partial",
    "join-replay-two", "join-unresolvable", "keys-install-unencrypted", "keys-list-unencrypted", "members",
    "members-badformat", "members-badregex", "members-detailed", "members-empty", "members-empty-json",
    "members-env-addr-overridden", "members-extra-args", "members-json", "members-role", "members-status",
    "members-tag", "members-tag-absent-matches", "monitor-badlevel", "query", "query-badformat",
    "query-default-timeout", "query-json", "query-json-empty", "query-multi", "query-noack", "query-reserved",
    "query-tag-badregex", "query-toolarge", "reachability", "reachability-verbose", "rtt-noargs", "rtt-one",
    "rtt-self", "rtt-three", "rtt-two", "rtt-unknown", "tags-bad", "tags-toolarge", "tags-set", "tags-delete"]
INTERRUPTED = ["query-interrupted", "reachability-interrupted"]
KEY_STEPS = [       # in this order: each finds the keys that those before it left
    "keys-list", "keys-install", "keys-install-again", "keys-install-16byte", "keys-list-three",
    "keys-install-badbase64", "keys-install-badlength", "keys-use", "keys-remove-primary", "keys-remove",
    "keys-remove-unknown", "keys-use-unknown"]
AUTH = ["auth-bad", "auth-env", "auth-missing", "auth-missing-event", "auth-missing-keys", "auth-missing-monitor",
        "auth-missing-query", "auth-ok"]
ALONE = ["members-double-dash-flags", "auth-given-but-not-set"]
FROZEN = ["reachability-missing", "keys-list-missing-node"]
FAILED = ["members-failed", "members-failed-json", "rtt-failed-node", "reachability-failed-node"]
FORGOTTEN = ["force-leave", "members-after-force-leave", "force-leave-prune", "members-after-prune"]
OTHERS = ["keygen", "info", "info-json", "info-encrypted", "monitor", "monitor-remote-ended",
          "leave"]

DIFFERENT: dict[str, tuple[str, str]] = {
    # transcript: how the line begins that ends differently, and why that is right
    "join-unresolvable": ("\t* ", "Go names its resolver"),
}


def of_a_set(line: str) -> str:
    """Tags come in any order."""
    return "  ".join(",".join(sorted(cell.split(","))) if "=" in cell else cell for cell in line.split("  "))


def alike(transcript: Transcript, text: str) -> list[str]:
    """Members, acks and keys come in any order; what differs on purpose goes."""
    begin = DIFFERENT.get(transcript.name, ("\0",))[0]
    lines = lines_of(text)
    lines = shortened(lines, lines_of(transcript.stdout)) if lines else lines
    return sorted(begin if line.startswith(begin) else of_a_set(line.rstrip(",")) for line in lines)


def check(transcript: Transcript, outcome: Outcome) -> None:
    assert alike(transcript, outcome.stdout) == alike(transcript, transcript.stdout)
    stderr, expected = lines_of(outcome.stderr), lines_of(transcript.stderr)
    assert (shortened(stderr, expected), outcome.code) == (expected, transcript.exit)


def replay(stage: Stage, name: str, interrupt_after_s: float = 0.0) -> None:
    transcript = read_transcript(name)
    check(transcript, stage.run(transcript, interrupt_after_s))


@contextmanager
def cluster(
    directory: Path, hosts: list[str], *flags: str, tags: bool = True
) -> Iterator[tuple[Stage, dict[str, RunningAgent]]]:
    """Agents at these addresses, all of them joined."""
    stage = Stage(directory)
    script = directory / "answer.sh"
    script.write_text(ANSWERS)
    script.chmod(0o755)
    agents: dict[str, RunningAgent] = {}
    try:
        for host in hosts:
            argv = ["agent", f"-node={NAMES[host]}", f"-bind={host}", f"-rpc-addr={host}:7373", *flags]
            argv += [word for tag in TAGS.get(host, ()) for word in ("-tag", tag) if tags]
            argv += [f"-event-handler={handler}" for handler in HANDLERS.get(host, ())]
            argv += [f"-retry-join={hosts[0]}", "-retry-interval=1s"] if host != hosts[0] else []
            agents[host] = stage.agent([stage.here(word) for word in argv])
        wait_until(lambda: count(stage, "alive") == len(hosts), "all are members", END_S)
        yield stage, agents
    finally:
        for agent in agents.values():
            agent.kill()


def members(stage: Stage) -> list[str]:
    return lines_of(stage.run(Transcript("", {}, ["members"], 0, "", "")).stdout)


def count(stage: Stage, status: str) -> int:
    return sum(f" {status}" in line for line in members(stage))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with cluster(tmp_path_factory.mktemp("three"), [ALPHA, BETA, GAMMA]) as (stage, _):
        yield stage


def test_every_transcript_of_a_client_is_replayed():
    replayed = [*WITHOUT_AGENT, *VERSIONS, *QUESTIONS, *INTERRUPTED, *KEY_STEPS, *AUTH, *ALONE, *FROZEN, *FAILED,
                *FORGOTTEN, *OTHERS]
    assert sorted(replayed) == [name for name in all_names() if not name.startswith("agent-")]
    assert DIFFERENT.keys() <= set(replayed)


# without an agent

@pytest.mark.parametrize("name", WITHOUT_AGENT)
def test_what_needs_no_agent(name, tmp_path):
    replay(Stage(tmp_path), name)


@pytest.mark.parametrize("name", VERSIONS)
def test_the_version_is_asked_for_anywhere(name, tmp_path):
    """The first line is our own, of course."""
    outcome = Stage(tmp_path).run(read_transcript(name))
    first, second = outcome.stdout.splitlines()
    assert re.fullmatch(r"\d+\.\d+\.\d+ \(gossipd \d+\.\d+\.\d+\)", first)
    assert (second, outcome.stderr, outcome.code) == (read_transcript(name).stdout.splitlines()[1], "", 0)


def test_a_new_key_has_32_bytes(tmp_path):
    outcome = Stage(tmp_path).run(read_transcript("keygen"))
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=\n", outcome.stdout) and outcome.code == 0
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=\n", read_transcript("keygen").stdout)


# with three members

@pytest.mark.parametrize("name", QUESTIONS)
def test_what_three_members_answer(three, name):
    replay(three, name)
    if name.startswith("tags-"):
        three.run(Transcript("", {}, ["tags", "-set", "role=web", "-delete", "a", "-delete", "b"], 0, "", ""))


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupt_ends_the_wait(three, name):
    replay(three, name, interrupt_after_s=1.0)


@pytest.mark.parametrize("name", ["info", "info-json"])
def test_info_has_the_recorded_sections_and_figures(three, name):
    """What the figures say, and of which runtime, is another matter; `gossipd` is a section of ours."""
    transcript = read_transcript(name)
    outcome = three.run(transcript)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert figures(outcome.stdout) == figures(transcript.stdout)


def figures(text: str) -> dict[str, object]:
    if text.startswith("{"):
        sections = json.loads(text)
    else:
        sections, section = {}, ""
        for line in text.splitlines():
            key, separator, value = line.strip().partition(" = ")
            if separator:
                sections[section][key] = value
            else:
                section = line.rstrip(":")
                sections[section] = {}
    sections.pop("gossipd", None)
    for varies in ("runtime", "serf"):
        sections[varies] = sorted(sections[varies])
    return sections


# other clusters

def test_keys_step_by_step(tmp_path):
    with cluster(tmp_path, [ALPHA, BETA], f"-encrypt={KEY}") as (stage, _):
        for name in KEY_STEPS:
            replay(stage, name)
        info = figures(stage.run(read_transcript("info-encrypted")).stdout)
        recorded = figures(read_transcript("info-encrypted").stdout)
        assert info["serf"] == recorded["serf"]
        assert "\tencrypted = true\n" in stage.run(read_transcript("info-encrypted")).stdout


def test_who_has_the_agents_key_may_ask(tmp_path):
    stage = Stage(tmp_path)
    (tmp_path / "auth.json").write_text('{"rpc_auth": "s3cret"}')
    agent = stage.agent(["agent", "-node=authy", f"-bind={stage.hosts[GAMMA]}", f"-rpc-addr={stage.rpc}",
                         "-config-file=auth.json"])
    try:
        agent.wait_for("EventMemberJoin")
        for name in AUTH:
            replay(stage, name)
    finally:
        agent.kill()


def test_an_agent_alone(tmp_path):
    with cluster(tmp_path, [ALPHA], tags=False) as (stage, _):
        for name in ALONE:
            replay(stage, name)


def test_members_that_freeze_fail_and_are_forgotten(tmp_path):
    with cluster(tmp_path, [ALPHA, BETA, GAMMA]) as (stage, agents):
        gamma = agents[GAMMA].process
        wait_until(lambda: stage.run(read_transcript("rtt-failed-node")).code == 0, "gamma was measured", END_S)
        gamma.send_signal(signal.SIGSTOP)
        at_once(stage, FROZEN)
        gamma.kill()
        wait_until(lambda: count(stage, "failed") == 1, "gamma has failed", END_S)
        at_once(stage, FAILED)
        for name in FORGOTTEN:
            replay(stage, name)


def at_once(stage: Stage, names: list[str]) -> None:
    """Before the state of things changes."""
    outcomes: dict[str, Outcome] = {}
    threads = [Thread(target=lambda name=name: outcomes.update({name: stage.run(read_transcript(name))}))
               for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(END_S)
    for name in names:
        check(read_transcript(name), outcomes[name])


def test_a_leave_is_answered_and_ends_the_agent(tmp_path):
    with cluster(tmp_path, [ALPHA, BETA]) as (stage, agents):
        replay(stage, "leave")
        assert agents[ALPHA].process.wait(END_S) == 0
        agents[BETA].wait_for("EventMemberLeave: alpha")
        log = agents[ALPHA].stdout
    assert [line[24:] for line in log.splitlines() if "eave" in line or "shut" in line] == [
        "[INFO] agent.ipc: Graceful leave triggered", "[INFO] agent: requesting graceful leave from Serf",
        "[INFO] serf: EventMemberLeave: alpha 192.0.2.11", "[INFO] agent: Received event: member-leave",
        "[INFO] agent: requesting serf shutdown", "[INFO] agent: shutdown complete"]


def test_monitor_shows_log_and_events(tmp_path):
    with cluster(tmp_path, [ALPHA, BETA]) as (stage, _):
        monitor = stage.popen(["monitor", f"-rpc-addr={stage.rpc}"])
        assert monitor.stdout is not None
        shown: list[str] = []
        reader = Thread(target=lambda: shown.extend(iter(monitor.stdout.readline, "")))     # type: ignore[union-attr]
        reader.start()
        wait_until(lambda: any("EventMemberJoin: beta" in line for line in shown), "the log", END_S)
        beta = f"-rpc-addr={stage.hosts[BETA]}:7373"
        for words in (["event", beta, "-coalesce=false", "deploy", "v1.2.3"], ["query", beta, "-timeout=300ms", "load"],
                      ["tags", beta, "-set", "x=1", "-delete", "role"]):
            assert stage.popen(words).wait(END_S) == 0
        wait_until(lambda: any("event: member-update" in line for line in shown), "the update", END_S)
        time.sleep(0.2)
        monitor.send_signal(signal.SIGINT)
        assert monitor.wait(END_S) == 0
        reader.join(END_S)
        host = ", ".join(hex(int(part)) for part in stage.hosts[BETA].split("."))
        text = stage.recorded("".join(shown)).replace(host, "0xc0, 0x0, 0x2, 0xc")
    assert monitor_lines(text) == monitor_lines(read_transcript("monitor").stdout)


def monitor_lines(text: str) -> list[str]:
    """Without what Serf's coalescing moves, and the numbers of other clients and of events before."""
    text = re.sub(r"(LTime|ID): \d+", r"\1: N", text)
    return sorted(line for line in lines_of(text)
                  if not re.search(r"Received event: member-join|Accepted client|agent: join|agent: Join", line))


def test_monitor_says_when_the_agent_is_gone(tmp_path):
    with cluster(tmp_path, [ALPHA]) as (stage, agents):
        transcript = read_transcript("monitor-remote-ended")
        killer = Thread(target=lambda: (time.sleep(1.0), agents[ALPHA].process.kill()))
        killer.start()
        outcome = stage.run(transcript)
        killer.join()
    assert (outcome.stdout, outcome.stderr, outcome.code) == (transcript.stdout, "", 1)
