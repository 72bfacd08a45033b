"""The same walk with Serf and with gossipd by its name, typed word for word, and what both say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.netns import Namespace, Network
from tests.support.processes import ROOT, die_with_parent, wait_until
from tests.support.require import need_netns, need_serf
from tests.support.transcripts import SERF, lines_of

END_S = 30.0
HANDLER = """#!/bin/sh
while read -r line || [ -n "$line" ]; do echo "$SERF_SELF_NAME $SERF_EVENT ${SERF_USER_EVENT}${SERF_QUERY_NAME} $line"
done >> handled
case "$SERF_EVENT" in query) echo "$SERF_SELF_NAME is fine" ;; esac
"""
CONFIG = """{
  "node_name": "two",
  "discover": "cluster1",
  "tags": {"role": "db"},
  "event_handlers": ["member-join,user,query=./handle.sh"],
  "log_level": "debug"
}
"""
TOLD = re.compile(
    r"\[(INFO|WARN|ERR)\] (serf: Event|agent: (Received event: (user|query)|requesting|Serf agent|shutdown)"
    r"|agent\.ipc: Graceful)")
"""Lines of the log that operators look for, and that do not depend on who was quicker."""

OWN_LEAVE = re.compile(r"(one|two) member-leave  \1")
"""Serf's handlers hear of their own agent's leave if it lasts longer than a second, ours always do."""


@dataclass(slots=True)
class Walk:
    """One program on two hosts. `said` is what can be compared."""

    program: tuple[str, ...]
    hosts: dict[str, Namespace]
    directory: Path
    said: list[tuple[str, list[str]]] = field(default_factory=list)
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def serf(self, at: str, *words: str) -> list[str]:
        done = self._run(at, *words)
        text = f"exit {done.returncode}\n{done.stdout}{done.stderr}"
        lines = sorted(",".join(sorted(line.rstrip(",").split(","))) for line in lines_of(text))
        self.said.append((" ".join(words), lines))
        return lines

    def _run(self, at: str, *words: str) -> subprocess.CompletedProcess[str]:
        with self.hosts[at].inside():
            return subprocess.run([*self.program, *words], cwd=self.directory / at, env=self._environment(),
                                  capture_output=True, text=True, timeout=END_S)

    def agent(self, at: str, *words: str) -> None:
        with self.hosts[at].inside(), (self.directory / at / "log").open("wb") as log:
            self.agents[at] = subprocess.Popen(
                [*self.program, "agent", *words], cwd=self.directory / at, env=self._environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(self.directory)}

    def file(self, at: str, name: str) -> str:
        path = self.directory / at / name
        return path.read_text() if path.exists() else ""

    def wait_for(self, at: str, name: str, text: str) -> None:
        wait_until(lambda: text in self.file(at, name), lambda: f"{text!r} in {name} of {at}:\n{self.file(at, name)}\n"
                   f"{self.file(at, 'log')}", END_S)

    def wait_until_members_are(self, at: str, pattern: str) -> None:
        wait_until(lambda: re.search(pattern, self._run(at, "members").stdout, re.DOTALL), pattern, END_S)

    def note_agents(self) -> None:
        for at in self.agents:
            banner, _, log = self.file(at, "log").partition("Log data will now stream in")
            told = sorted({line.strip() for line in lines_of(log) if TOLD.search(line) or line.startswith("==>")})
            self.said.append((f"agent on {at}", [*lines_of(banner), *told]))
            handled = set(lines_of(self.file(at, "handled")))
            self.said.append((f"handled on {at}", sorted(line for line in handled if not OWN_LEAVE.match(line))))


def walk(program: tuple[str, ...], directory: Path, net: Network) -> list[tuple[str, list[str]]]:
    going = Walk(program, {"a": net["a"], "b": net["b"]}, directory)
    for at in going.hosts:
        (directory / at).mkdir(parents=True)
        (directory / at / "handle.sh").write_text(HANDLER)
        (directory / at / "handle.sh").chmod(0o755)
    (directory / "b" / "serf.json").write_text(CONFIG)
    try:
        stroll(going)
    finally:
        for process in going.agents.values():
            process.kill()
            process.wait()
    return going.said


def stroll(going: Walk) -> None:
    going.agent("a", "-node=one", "-discover=cluster1", "-event-handler=./handle.sh", "-log-level=debug")
    going.wait_for("a", "log", "EventMemberJoin: one")
    going.agent("b", "-config-file=serf.json")
    going.wait_until_members_are("a", "one.*two|two.*one")
    going.wait_until_members_are("b", "one.*two|two.*one")
    going.serf("a", "members")
    going.serf("b", "members", "-format=json", "-name=two")
    going.serf("b", "event", "deploy", "v1.2.3")
    going.wait_for("a", "handled", "user deploy")
    going.wait_for("b", "handled", "user deploy")
    going.serf("a", "query", "-timeout=1s", "how", "are you")
    going.serf("a", "query", "-timeout=1s", "-format=json", "-node=two", "how", "again")
    going.serf("a", "tags", "-set", "dc=east")
    going.wait_until_members_are("b", "dc=east")
    going.serf("b", "members", "-tag", "dc=e.*")
    going.serf("b", "force-leave", "nosuch")
    going.agents["b"].send_signal(signal.SIGINT)
    going.said.append(("exit code after INT", [str(going.agents["b"].wait(END_S))]))
    going.wait_until_members_are("a", "two.*left")
    going.serf("a", "members")
    going.wait_for("a", "handled", "one member-leave  two")
    going.serf("a", "leave")
    going.said.append(("exit code after leave", [str(going.agents["a"].wait(END_S))]))
    going.serf("a", "members")
    going.note_agents()


@pytest.fixture
def network() -> Iterator[Callable[[], Network]]:
    need_netns("the walk with Serf")
    made: list[Network] = []

    def make() -> Network:
        net = Network(["a", "b"]).__enter__()
        made.append(net)
        for at in ("a", "b"):
            net[at].run("sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad")      # multicast at once
            for state in ("down", "up"):
                net[at].run("ip", "link", "set", "eth0", state)
            net[at].run("ip", "route", "add", "default", "dev", "eth0")    # without, Serf's agent crashes
        return net

    yield make
    for net in made:
        net.__exit__()


def test_the_walk_is_the_same_with_both(network, tmp_path):
    theirs = walk((need_serf("the walk with Serf"),), tmp_path / "serf", network())
    ours = walk(SERF, tmp_path / "gossipd", network())
    for mine, recorded in zip(ours, theirs, strict=True):
        assert mine == recorded
