"""What a test needs of the machine: `need(condition, what)`, and the questions that make conditions.

A test that lacks something is skipped with one loud line, and the run ends with a list of what was not tested
(`tests/conftest.py`). With GOSSIPD_TEST_REQUIRE=all, as in CI, lacking something is a failure instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MARK = "NOT TESTED: "


def need(condition: object, what: str) -> None:
    """Go on if `condition` holds. `what` says what stays untested and for want of what: "mixed clusters: no serf"."""
    if condition:
        return
    if os.environ.get("GOSSIPD_TEST_REQUIRE") == "all":
        pytest.fail(MARK + what, pytrace=False)
    pytest.skip(MARK + what, allow_module_level=True)


def need_serf(what: str) -> str:
    """Path of a real serf program."""
    path = find_program("serf") or find_program("serf", str(ROOT / ".venv/serf/usr/bin"))
    need(path, f"{what}: no serf program")
    assert path is not None
    return path


def need_program(name: str, what: str) -> str:
    """Path of the program `name`."""
    path = find_program(name)
    need(path, f"{what}: no program {name}")
    assert path is not None
    return path


def need_root(what: str) -> None:
    need(os.geteuid() == 0, f"{what}: not root")


def need_netns(what: str) -> None:
    """Root, `ip`, and a kernel that lets us make network namespaces."""
    need_root(what)
    need_program("ip", what)
    need(can_make_netns(), f"{what}: no network namespaces here")


def need_iptables(what: str) -> None:
    """Network namespaces in which iptables works."""
    need_netns(what)
    need_program("iptables", what)
    need(_works("unshare", "--net", "iptables", "-S"), f"{what}: iptables does not work here")


@cache
def can_make_netns() -> bool:
    return _works("unshare", "--net", "true")


@cache
def find_program(name: str, path: str | None = None) -> str | None:
    return shutil.which(name, path=path or os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


@cache
def _works(*argv: str) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
