"""`make demo` as a person runs it, and ends it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.processes import GOSSIP_PORT, ROOT, die_with_parent, wait_until

HALF_A_MINUTE_S = 30.0


class Demo:
    """The demo under way. Whatever it starts inherits a mark in its environment; its files are in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.demo"], cwd=ROOT, text=True,
            env={**os.environ, "DEMO_MARK": self._mark, "TMPDIR": str(directory)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=die_with_parent)

    def read_until(self, text: str) -> str:
        """The line that holds `text`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return line
        raise AssertionError(f"it ended without {text!r}: {self.process.communicate()[1]}")

    def processes(self) -> list[str]:
        """Command lines of all that it left running, itself included."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self._mark.encode() in (directory / "environ").read_bytes():
                    found.append((directory / "cmdline").read_text().replace("\0", " "))
        return found

    def leaves_nothing(self) -> bool:
        self.leaves_no_process()
        return list(self._directory.iterdir()) == []

    def leaves_no_process(self) -> bool:
        wait_until(lambda: not self.processes(), "nothing of the demo is left running", 5.0)
        return True


@pytest.fixture
def directory() -> Iterator[Path]:
    """With a short name: unix sockets will be in it."""
    with TemporaryDirectory(dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def demo(directory: Path) -> Iterator[Demo]:
    demo = Demo(directory)
    yield demo
    demo.process.kill()
    demo.process.communicate()


def test_it_tells_of_join_crash_return_and_leave_and_ends_well(directory):
    with ExitStack() as stack:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):        # the usual address is taken
            sock = stack.enter_context(socket.socket(socket.AF_INET, kind))
            with suppress(OSError):
                sock.bind(("127.0.0.1", GOSSIP_PORT))
        demo = Demo(directory)
        output, errors = demo.process.communicate(timeout=HALF_A_MINUTE_S)
    assert (demo.process.returncode, errors) == (0, "")
    told = ["all three see all three", "ana deploys v1.2", "cal deploys v1.2", "web of bea", "ana sees cal as failed",
            "bea sees cal as failed", "cal comes back", "left the cluster", "nothing is left running"]
    assert [text for text in told if text not in output] == []
    assert output.count("$ gossipctl members") == 3 and output.count("role=web") == 6
    assert "\x1b" not in output, "colours are for terminals"
    assert demo.leaves_nothing()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_so_by_its_exit_code_and_leaves_nothing_running(demo, number):
    demo.read_until("cal listens")
    wait_until(lambda: len(demo.processes()) >= 4, "all three run", 5.0)     # the last one may still be in exec
    demo.process.send_signal(number)
    demo.process.communicate(timeout=10.0)
    assert demo.process.returncode == 130
    assert demo.leaves_nothing()


def test_killed_it_leaves_nothing_running(demo):
    demo.read_until("cal listens")
    demo.process.kill()
    assert demo.leaves_no_process()


def test_a_step_that_fails_makes_it_fail_with_the_reason_and_the_logs(demo):
    ana = int(demo.read_until("ana listens").split()[-1])
    os.kill(ana, signal.SIGKILL)
    _, errors = demo.process.communicate(timeout=HALF_A_MINUTE_S)
    assert demo.process.returncode == 1
    assert "the demo failed" in errors and "log of gossipd ana" in errors
    assert demo.leaves_nothing()
