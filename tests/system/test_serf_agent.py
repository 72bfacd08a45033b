"""`serf agent` as it was recorded: each transcript of an agent, with gossipd behind the same command line."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import wait_until
from tests.support.require import need
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

RE_JSON = {"tags": {"a": "1"}}
FILES: dict[str, str] = {
    # what the recordings find in /etc/serf/cfg
    "arr.json": "[]", "baddur.json": '{"reconnect_interval": "10"}', "badtags.json": '{"tags": ["a"]}',
    "badtype.json": '{"node_name": 5}', "broken.json": "{bad", "case.json": '{"NODE_NAME": "upper", "Bind": "HOST"}',
    "d1/a.json": '{"tags": {"a": "1", "b": "1"}}', "d1/b.json": '{"tags": {"b": "2"}, "log_level": "err"}',
    "d1/c.txt": "not read", "empty.json": "", "nocomp.json": '{"enable_compression": false}', "null.json": "null",
    "strbool.json": '{"leave_on_terminate": "true"}', "strint.json": '{"protocol": "4"}',
    "strlist.json": '{"event_handlers": "x.sh"}', "tagint.json": '{"tags": {"a": 1, "b": true}}',
    "two.json": '{"tags": {"a": "1"}} {"tags": {"b": "2"}}', "unknown.json": '{"bogus": 1}',
    "unknown2.json": '{"unknown1": 1, "unknown2": 2}', "lot.json": '{"leave_on_terminate": true}',
    "sli.json": '{"skip_leave_on_interrupt": true}', "re.json": json.dumps(RE_JSON),
    "onlytags.json": '{"tags": {"a": "b"}}', "tags.json": '{"role": "web"}', "tags-bad.json": '["a"]',
    "kr-ok.json": '["AAECAwQFBgcICQoLDA0ODw=="]', "kr-bad.json": '["zzz!"]', "kr-empty.json": "[]",
    "kr-len.json": '["YWJj"]', "kr-obj.json": "{}",
}

GO_DECODER = "what is wrong with a file is said in gossipd's words, with the line"
DIFFERENT: dict[str, tuple[str, str]] = {
    # transcript: how the line begins that ends differently, and why that is right
    **{f"agent-cfg-{name}": (f"==> Error decoding '/etc/serf/cfg/{name}.json': ", GO_DECODER) for name in (
        "arr", "baddur", "badtags", "badtype", "broken", "strbool", "strint", "strlist", "tagint", "unknown",
        "unknown2")},
    "agent-sighup-broken": ("==> Error decoding '/etc/serf/cfg/re.json': ", GO_DECODER),
    "agent-badadvertise": ("==> Invalid advertise address: ", "Go names the resolver's own error"),
    "agent-bind-unavailable": ("==> Failed to start the Serf agent: Error creating Serf: ",
                               "memberlist's chain of errors; ours is one sentence"),
    "agent-snapshot-unwritable": ("==> Failed to start the Serf agent: Error creating Serf: ", "the same"),
    "agent-rpc-addr-unavailable": ("==> Error starting RPC listener: ",
                                   "an address that others can reach needs a key (docs/from-serf.md)"),
}
ELSEWHERE = {
    "agent-bind-wildcard": "whether a machine has a private address is for tests/unit/config/test_advertise.py",
    "agent-mdns-iface": "0.9.4 did not know the flag, later ones and gossipd do: tests/unit/serfcli",
    "agent-syslog": "whether a machine has syslog: below",
}
RECORDED_WITH_MORE = {
    # lines of the recording that we do not have, and why
    "agent-banner-full": (r"agent\.mdns: Failed to join|\* Failed to join|^$", "we do not try to join ourselves"),
}
STEPS = {
    # what the recorder did while the agent ran
    "agent-cfg-nocomp": "INT", "agent-sigint": "INT", "agent-sigint-skip": "INT", "agent-sigint-twice": "INT INT",
    "agent-sigint-then-hup": "INT HUP", "agent-sigterm": "TERM", "agent-sigterm-leave": "TERM",
    "agent-sigusr1": "USR1 TERM", "agent-sighup": "reload TERM", "agent-sighup-broken": "break TERM",
    "agent-sighup-badlevel": "level TERM",
}
OWN_EVENTS = re.compile(r"agent: Received event: member-|agent\.ipc: Accepted client|\[DEBUG\]")
"""Serf gathers member events for a second before it tells, gossipd tells the first at once; details are its own."""
NAMES = [name for name in all_names() if name.startswith("agent-") and name not in ELSEWHERE]
STARTED = "Log data will now stream in"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cfg")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    directory = tmp_path / "cfg"
    (directory / "d1").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    for name, text in FILES.items():
        (directory / name).write_text(text.replace("HOST", stage.hosts["192.0.2.11"]))
    stage.words = {"/etc/serf/cfg": str(directory), "/etc/serf/run": str(tmp_path / "run"),
                   "-discover=test": f"-discover=t{stage.hosts['192.0.2.11'].replace('.', '')}"}
    yield stage


def agent_argv(stage: Stage, transcript: Transcript) -> list[str]:
    """Where the recording takes a default, this machine may have somebody else."""
    argv = [stage.here(word) for word in transcript.argv[1:]]
    if not any(word.startswith("-rpc-addr") for word in argv):
        argv.insert(0, f"-rpc-addr={stage.rpc}")
    if "-iface=eth0" in argv:
        argv = ["-iface=lo" if word == "-iface=eth0" else word for word in argv] + ["-bind=0.0.0.0:17946"]
        stage.words |= {"'192.0.2.11:7946'": "'127.0.0.1:17946'", "address '192.0.2.11'": "address '127.0.0.1'",
                        "alpha 192.0.2.11": "alpha 127.0.0.1", "'eth0'": "'lo'"}
    if "-bind=[2001:db8::11]" in argv:
        argv[argv.index("-bind=[2001:db8::11]")] = "-bind=[::1]:17946"
        stage.words |= {"[2001:db8::11]:7946": "[::1]:17946", "alpha 2001:db8::11": "alpha ::1"}
    if "-bind=localhost:7946" in argv:
        argv[argv.index("-bind=localhost:7946")] = "-bind=localhost:17946"
        stage.words |= {"127.0.0.1:7946": "127.0.0.1:17946"}
    return ["agent", *argv]


def expected_lines(transcript: Transcript) -> list[str]:
    lines = lines_of(transcript.stdout)
    more = RECORDED_WITH_MORE.get(transcript.name)
    if more:
        begin = next(number for number, line in enumerate(lines) if STARTED in line)
        lines = lines[:begin + 2] + [line for line in lines[begin + 2:] if not re.search(more[0], line)]
    return [line for line in lines if not OWN_EVENTS.search(line)]


def actual_lines(transcript: Transcript, outcome: Outcome) -> list[str]:
    text = outcome.stdout.replace(f"mDNS cluster: {transcript_cluster(outcome.stdout)}", "mDNS cluster: test")
    lines = [line for line in lines_of(text) if not OWN_EVENTS.search(line)]
    return shortened(lines, lines_of(transcript.stdout))


def transcript_cluster(text: str) -> str:
    found = re.search(r"mDNS cluster: (\S+)", text)
    return found[1] if found else "?"


def same(transcript: Transcript, outcome: Outcome) -> bool:
    return alike(transcript, actual_lines(transcript, outcome)) == alike(transcript, expected_lines(transcript))


def alike(transcript: Transcript, lines: list[str]) -> list[str]:
    """Without the end of what is different on purpose."""
    begin = DIFFERENT.get(transcript.name, ("",))[0]
    if not begin:
        return lines
    at = next((number for number, line in enumerate(lines) if line.startswith(begin)), None)
    if at is None:
        return lines
    rest = next((number for number in range(at + 1, len(lines)) if lines[number][:4] in ("==> ", "    ")), len(lines))
    return [*lines[:at], begin, *lines[rest:]]


def play(agent: RunningAgent, steps: str, stage: Stage) -> None:
    """Once it has told what it tells at start, do what the recorder did."""
    agent.wait_for("EventMemberJoin")
    for number, step in enumerate(steps.split()):
        if number and steps != "USR1 TERM" and step in ("INT", "HUP"):
            agent.wait_for("requesting graceful leave")
        if step in ("reload", "break", "level"):
            rewrite(stage, step)
            agent.process.send_signal(signal.SIGHUP)
            agent.wait_for("Failed to reload" if step == "break" else "EventMemberUpdate")
        else:
            agent.process.send_signal(getattr(signal, "SIG" + step))
        if step == "USR1":
            wait_until(lambda: "serf.members" in agent.stderr, "figures", END_S)


def rewrite(stage: Stage, step: str) -> None:
    changed = {"tags": {"a": "2"}, "log_level": "loud" if step == "level" else "debug", "node_name": "other",
               "leave_on_terminate": step == "reload", "event_handlers": ["user=true"]}
    text = "{broken" if step == "break" else json.dumps(changed)
    (stage.directory / "cfg" / "re.json").write_text(text)


@pytest.mark.parametrize("name", NAMES)
def test_an_agent_says_what_was_recorded(name, stage):
    transcript = read_transcript(name)
    agent = stage.agent(agent_argv(stage, transcript))
    try:
        if name in STEPS:
            play(agent, STEPS[name], stage)
        if transcript.exit is None:
            agent.wait_for(STARTED)
            deadline = time.monotonic() + END_S
            while not same(transcript, outcome := Outcome(None, agent.stdout, agent.stderr)) \
                    and time.monotonic() < deadline and agent.process.poll() is None:
                time.sleep(0.02)
        else:
            outcome = agent.end()
            assert outcome.code == transcript.exit, outcome.stdout + outcome.stderr
        assert alike(transcript, actual_lines(transcript, outcome)) == alike(transcript, expected_lines(transcript))
        if name != "agent-sigusr1":     # whose figures are of no interval in Serf, so that it shows none at first
            assert lines_of(outcome.stderr) == lines_of(transcript.stderr)
    finally:
        agent.kill()


def test_only_recordings_that_exist_are_excused():
    assert {*DIFFERENT, *ELSEWHERE, *RECORDED_WITH_MORE, *STEPS} <= set(all_names())


def test_an_agent_without_syslog_does_not_start(stage):
    need(not any(Path(path).is_socket() for path in ("/dev/log", "/var/run/syslog", "/var/run/log")),
         "agents on machines without syslog: there is one here")
    transcript = read_transcript("agent-syslog")
    outcome = stage.agent(agent_argv(stage, transcript)).end()
    assert (outcome.code, outcome.stdout) == (1, transcript.stdout)
