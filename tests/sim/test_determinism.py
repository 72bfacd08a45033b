"""The same seed gives the same run: whatever the hash seed of the process, the Python, the msgpack."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.sim.run import Settings
from tests.sim.scenarios import play
from tests.sim.trace import Trace
from tests.support.require import ROOT, find_program, need

SCENARIOS = ("mess", "events", "rotation", "all-down", "namesakes-meet")
ARGUMENTS = ("-m", "tests.sim", "--seed", "5", "--nodes", "8", "--seconds", "30", "--scenario")
PYTHONS = ("python3", "python3.11", "python3.12", "python3.13", "python3.14", "/usr/bin/python3",
           str(ROOT / ".venv/bin/python"))
VERSIONS = "import sys, msgpack; print(sys.version_info[:3], msgpack.version)"


def digest_by(python: str, scenario: str, hash_seed: str = "random") -> str:
    """The trace hash of a run in a process of its own."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([python, *ARGUMENTS, scenario], cwd=ROOT, env=environment, capture_output=True, text=True,
                          timeout=60)
    words = [line.split() for line in done.stdout.splitlines()]
    digests = [line[1] for line in words if line[:1] == ["trace"]]
    assert len(digests) == 1, done.stdout + done.stderr
    return digests[0]


@cache
def digest_here(scenario: str) -> str:
    return digest_by(sys.executable, scenario, "0")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_order_of_hashes_changes_nothing(scenario: str) -> None:
    assert digest_by(sys.executable, scenario, "1") == digest_here(scenario)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_another_python_or_msgpack_changes_nothing(scenario: str) -> None:
    others = _other_pythons()
    need(others, "the same trace on another Python: no second one with msgpack here")
    digests = {versions: digest_by(python, scenario) for versions, python in others.items()}
    assert set(digests.values()) == {digest_here(scenario)}, digests


@pytest.mark.parametrize("name", ["joins", "crashes", "corruption-encrypted", "history", "query-relays", "clocks-kept"])
def test_a_run_can_be_repeated_within_a_process(name: str) -> None:
    def digest(seed: int) -> str:
        trace = Trace()
        play(name, Settings(seed=seed, nodes=10, trace=trace))
        return trace.hexdigest()

    assert digest(1) == digest(1) != digest(2)


@cache
def _other_pythons() -> dict[str, str]:
    """Programs that run Python 3.11 or later with a msgpack, by their versions, this one's left out."""
    found: dict[str, str] = {}
    mine = _versions(sys.executable)
    for name in PYTHONS:
        program = find_program(name)
        versions = _versions(program) if program else ""
        if program and versions not in ("", mine) and not versions.startswith(("(3, 9", "(3, 10")):
            found.setdefault(versions, program)
    return found


def _versions(program: str) -> str:
    if not Path(program).exists():
        return ""
    done = subprocess.run([program, "-c", VERSIONS], capture_output=True, text=True, timeout=20)
    return done.stdout.strip() if done.returncode == 0 else ""
