"""Signals at any moment of a daemon's life: no traceback, and the exit code is the one that was decided on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.support.processes import ROOT, die_with_parent

LIVES = 6               # of each seed
UP_S = 0.5              # a daemon is up by then, mostly
PAUSE_S = 0.004         # at most, in a hail of signals
END_S = 20.0
SIGTERM_BIT = 1 << signal.SIGTERM - 1


def gossipd(directory: Path) -> list[str]:
    return ["-m", "gossipd", "--node", "ann", "--bind", "127.0.0.1:0", "--rpc-socket", str(directory / "rpc.sock"),
            "--snapshot", str(directory / "snapshot")]


def serf_agent(directory: Path) -> list[str]:
    return ["-m", "gossipd.serfcli", "agent", "-node=ann", "-bind=127.0.0.1:0", "-rpc-addr=127.0.0.1:0",
            f"-snapshot={directory / 'snapshot'}"]


@pytest.fixture(params=[gossipd, serf_agent])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    make: Callable[[Path], list[str]] = request.param
    yield [sys.executable, *make(tmp_path)]


def holds_signals(pid: int) -> bool:
    """Before, signals are the interpreter's own affair."""
    caught = re.search(r"^SigCgt:\t(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) & SIGTERM_BIT)


def hail(command: list[str], log: Path, rng: Random) -> tuple[int, str]:
    """(exit code, log) of a daemon that gets its first signal at some moment and then one after the other."""
    with log.open("wb") as output, subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            preexec_fn=die_with_parent) as process:
        deadline = time.monotonic() + END_S
        while not holds_signals(process.pid):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.0005)
        time.sleep(rng.choice((0.1, 1.0)) * rng.random() * UP_S)
        pause_s = rng.choice((0.0, PAUSE_S))
        number = rng.choice((signal.SIGINT, signal.SIGTERM))
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(number)
            time.sleep(rng.random() * pause_s)
            number = rng.choice((signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    return process.returncode, log.read_text()


@pytest.mark.parametrize("seed", range(4))
def test_in_a_hail_of_signals_there_is_no_traceback_and_no_other_exit_code_than_the_one_decided_on(
        command, tmp_path, seed):
    rng = Random(seed)
    for _ in range(LIVES):
        code, log = hail(command, tmp_path / "log", rng)
        assert "Traceback" not in log and "Exception" not in log and "Error" not in log, log
        stopped = re.search(r"stopped exit_code=(\d)", log)
        assert code == (int(stopped[1]) if stopped else code) and code in (0, 1), (code, log)


def test_a_leave_that_is_complete_is_not_undone_by_signals_that_come_after_it(command, tmp_path):
    """What comes while the interpreter takes itself apart, which is when most of a second INT comes."""
    for pause_s in (0.0, 0.002, 0.005, 0.01, 0.02):
        with (tmp_path / "log").open("wb") as output, subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                preexec_fn=die_with_parent) as process:
            until_in(tmp_path / "log", r"node ann at|agent running")
            process.send_signal(signal.SIGINT)
            until_in(tmp_path / "log", r"stopped exit_code=|requesting serf shutdown")
            time.sleep(pause_s)
            while process.poll() is None:
                process.send_signal(signal.SIGINT)
        assert process.returncode == 0, (tmp_path / "log").read_text()


def until_in(log: Path, text: str) -> None:
    deadline = time.monotonic() + END_S
    while not re.search(text, log.read_text()):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.0005)
