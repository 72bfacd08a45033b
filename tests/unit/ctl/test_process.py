"""gossipctl as a process: signals, pipes, full disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from gossipd.events import UserEvent

LAUNCHER = Path(__file__).resolve().parents[3] / "packaging" / "bin" / "gossipctl"
EVENT = UserEvent("deploy", b"x" * 50, 1, True)


def start(daemon, *words, stdout=subprocess.PIPE):
    command = [sys.executable, "-I", str(LAUNCHER), *words, "--rpc-socket", daemon.path]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_an_interrupt_ends_events_cleanly(daemon):
    daemon.events, daemon.hangs_up = [EVENT], False
    process = start(daemon, "events")
    assert "deploy" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0 and process.stderr.read() == ""


def test_a_reader_that_goes_away_ends_events_cleanly(daemon):
    daemon.events, daemon.hangs_up = [EVENT] * 500, False
    read_end, write_end = os.pipe()
    process = start(daemon, "events", stdout=write_end)
    os.close(write_end)
    os.read(read_end, 20)
    os.close(read_end)
    assert process.wait(10) == 0 and process.stderr.read() == ""


def test_a_full_disk_is_an_error_in_one_line(daemon):
    with open("/dev/full", "w") as full:
        process = start(daemon, "members", stdout=full)
        assert process.wait(10) == 1
        assert process.stderr.read() == "gossipctl: cannot write: No space left on device\n"


def test_a_closed_stdout_is_an_error_in_one_line(daemon):
    closed = ["/bin/sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-I", str(LAUNCHER)]
    done = subprocess.run(
        [*closed, "members", "--rpc-socket", daemon.path], stderr=subprocess.PIPE, text=True, timeout=10)
    assert (done.returncode, done.stderr) == (1, "gossipctl: cannot write: Bad file descriptor\n")


def test_the_launcher_answers(daemon):
    process = start(daemon, "members", "-o", "name")
    assert process.communicate(timeout=10) == ("alpha\nbeta\ngamma\n", "") and process.returncode == 0
