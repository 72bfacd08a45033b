from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest

from gossipd.daemon.systemd import Notifier


@pytest.fixture
def manager(tmp_path: Any, monkeypatch: Any) -> Any:
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


def test_the_manager_is_told_of_the_beginning_and_the_end(manager):
    notifier = Notifier()
    notifier.ready("node ann")
    notifier.status("3 members")
    notifier.stopping("leaving")
    told = [manager.recv(1000).decode().split("\n") for _ in range(3)]
    assert told == [["READY=1", "STATUS=node ann"], ["STATUS=3 members"], ["STOPPING=1", "STATUS=leaving"]]


def test_any_node_name_can_be_told(manager):
    Notifier().ready("node \udcff Jürgen")
    assert manager.recv(1000).decode() == "READY=1\nSTATUS=node ? J?rgen"


def test_without_a_manager_nothing_is_told_and_nothing_imported():
    code = ("import sys\nfrom gossipd.daemon.systemd import Notifier\nNotifier().ready('x')\n"
            "sys.exit('sdnotify' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], env={}, timeout=20).returncode == 0


def test_a_manager_that_is_gone_does_no_harm(manager):
    manager.close()
    Notifier().ready("node ann")
