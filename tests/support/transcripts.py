"""Transcripts of Serf's command line (tests/vectors/cli): read, run again with the alias, compared.

The recordings use 192.0.2.11 to .13, which do not exist here. `Stage` has loopback addresses of the same length for
them, so that columns stay as wide as they were.
"""

from __future__ import annotations

import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import GOSSIP_PORT, ROOT, RPC_PORT, die_with_parent, wait_until

VECTORS = ROOT / "tests" / "vectors" / "cli"
SERF = (sys.executable, "-m", "gossipd.serfcli")
RECORDED = {"192.0.2.11": 11, "192.0.2.12": 12, "192.0.2.13": 13}
NOBODY = 7399           # a port where the recordings have no agent
END_S = 30.0

_USAGE = re.compile(r"\[usage text: \d+ more lines\]")
_TIMES = (
    (re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\d+\.\d+ (ms|sec)"), r"N \1"),
    (re.compile(r"(client: 127\.0\.0\.1|client: 192\.0\.2\.\d+):\d+"), "client: ADDRESS"),
)


@dataclass(slots=True)
class Transcript:
    name: str
    environment: dict[str, str]
    argv: list[str]             # without the program's name
    exit: int | None            # None: it was still running
    stdout: str
    stderr: str


def read_transcript(name: str) -> Transcript:
    text = (VECTORS / f"{name}.txt").read_text()
    head, _, rest = text.partition("--- stdout\n")
    stdout, _, stderr = rest.partition("--- stderr\n")
    command, *others = head.splitlines()
    command = re.sub(r"<(\d+) times (\w)>", lambda match: match[2] * int(match[1]), command)
    words = _words(command.removeprefix("$ "))
    at = words.index("serf")
    environment = dict(word.split("=", 1) for word in words[:at])
    code = next(line for line in others if line.startswith("exit: ")).removeprefix("exit: ").split()[0]
    return Transcript(name, environment, words[at + 1:], None if code == "none" else int(code), stdout, stderr)


def _words(command: str) -> list[str]:
    """Recorded commands quote only what is empty."""
    return ["" if word == '""' else word for word in command.split(" ")] if '"' in command else \
        [shlex.split(word)[0] if word[:1] == "'" else word for word in command.split(" ")]


def all_names() -> list[str]:
    return sorted(path.stem for path in VECTORS.glob("*.txt"))


def lines_of(text: str) -> list[str]:
    """With what differs from run to run taken out, and blanks at the ends of lines."""
    for pattern, instead in _TIMES:
        text = pattern.sub(instead, text)
    return [line.rstrip() for line in text.splitlines()]


def shortened(actual: list[str], expected: list[str]) -> list[str]:
    """Usage as the recordings have it: its first line, and a mark for all others."""
    for number, line in enumerate(expected):
        if _USAGE.fullmatch(line):
            assert len(actual) > number, "usage of one line only"
            return [*actual[:number], line]
    return actual


@dataclass(slots=True)
class Outcome:
    code: int | None
    stdout: str
    stderr: str


@dataclass(slots=True)
class Stage:
    """Loopback addresses in place of the recorded ones, and a directory in place of the recorded paths."""

    directory: Path
    hosts: dict[str, str] = field(default_factory=dict)         # recorded -> here
    words: dict[str, str] = field(default_factory=dict)         # further recorded text -> what is meant here

    def __post_init__(self) -> None:
        self.hosts = self.hosts or free_hosts()

    @property
    def rpc(self) -> str:
        """Of alpha, who is asked."""
        return f"{self.hosts['192.0.2.11']}:{RPC_PORT}"

    def here(self, text: str) -> str:
        for recorded, meant in {**self.words, **self.hosts, f"127.0.0.1:{RPC_PORT}": self.rpc}.items():
            text = text.replace(recorded, meant)
        return text

    def recorded(self, text: str) -> str:
        text = text.replace(self.rpc, f"127.0.0.1:{RPC_PORT}") if "RPC addr" in text else text
        for recorded, meant in {**self.words, **self.hosts}.items():
            text = text.replace(meant, recorded)
        return text

    def run(self, transcript: Transcript, interrupt_after_s: float = 0.0) -> Outcome:
        environment = {"SERF_RPC_ADDR": self.rpc, **{key: self.here(value)
                                                      for key, value in transcript.environment.items()}}
        process = self.popen([self.here(word) for word in transcript.argv], environment)
        if interrupt_after_s:
            time.sleep(interrupt_after_s)
            process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=END_S)
        return Outcome(process.returncode, self.recorded(stdout), self.recorded(stderr))

    def popen(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*SERF, *argv], cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="surrogateescape", preexec_fn=die_with_parent)

    def agent(self, argv: Sequence[str]) -> RunningAgent:
        return RunningAgent(self, argv)


class RunningAgent:
    """`serf agent`, its output in a file."""

    def __init__(self, stage: Stage, argv: Sequence[str]) -> None:
        self._stage = stage
        self._out = stage.directory / f"agent-{random.getrandbits(48):x}.out"
        self._err = self._out.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*SERF, *argv], cwd=stage.directory, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                preexec_fn=die_with_parent,
                env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(stage.directory)})

    @property
    def stdout(self) -> str:
        return self._stage.recorded(self._out.read_text(errors="surrogateescape"))

    @property
    def stderr(self) -> str:
        return self._stage.recorded(self._err.read_text(errors="surrogateescape"))

    def wait_for(self, text: str, count: int = 1) -> None:
        def seen() -> bool:
            assert self.stdout.count(text) >= count or self.process.poll() is None, self.stdout + self.stderr
            return self.stdout.count(text) >= count

        wait_until(seen, lambda: f"{text!r} in\n{self.stdout}\n{self.stderr}", END_S)

    def end(self) -> Outcome:
        """When it ends by itself."""
        code = self.process.wait(END_S)
        return Outcome(code, self.stdout, self.stderr)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(END_S)


def free_hosts() -> dict[str, str]:
    """As long as the recorded ones, nobody there."""
    for _ in range(1000):
        network = f"127.{random.randint(1, 9)}.{random.randint(1, 9)}."
        if all(_is_free(network + str(last)) for last in RECORDED.values()):
            return {recorded: network + str(last) for recorded, last in RECORDED.items()}
    raise RuntimeError("no loopback address has its ports free")


def _is_free(host: str) -> bool:
    wanted = ((socket.SOCK_DGRAM, GOSSIP_PORT), (socket.SOCK_STREAM, GOSSIP_PORT), (socket.SOCK_STREAM, RPC_PORT))
    for kind, port in wanted:
        with socket.socket(socket.AF_INET, kind) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                return False
    return True
