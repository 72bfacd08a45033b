from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gossipd.ctl.main import main
from tests.unit.ctl.daemon import FakeDaemon, a_daemon

Ctl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with a_daemon(tmp_path / "rpc.sock") as running:
        yield running


@pytest.fixture
def ctl(daemon: FakeDaemon, capsys: Any, monkeypatch: Any) -> Ctl:
    """Run gossipctl against the fake daemon: exit code, stdout, stderr."""
    monkeypatch.setenv("GOSSIPCTL_RPC", daemon.path)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        out, err = capsys.readouterr()
        return code, out, err

    return run
