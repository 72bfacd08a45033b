"""gossipctl as a process: signals, pipes, full disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gossipd.events import UserEvent

SERF = Path(__file__).resolve().parents[3] / "packaging" / "bin" / "serf"
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


@pytest.mark.parametrize("words", [["events", "--count", "9"], ["events", "--json"], ["monitor"]])
def test_a_reader_that_goes_away_is_noticed_though_nothing_more_happens(daemon, words):
    daemon.hangs_up = False
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = start(daemon, *words, stdout=write_end)
    os.close(write_end)
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


@pytest.mark.parametrize(("line", "code", "said"), [
    ("event x - <&-", 2, "gossipctl: standard input is closed (see: gossipctl event --help)\n"),
    ("members <&-", 0, ""),
    ("bogus 2>&-", 2, ""), ("bogus 2>/dev/full", 2, ""), ("members 2>&-", 0, ""),
    ("members -o json >/dev/full", 1, '{"error": "cannot write: No space left on device", "exit_status": 1}\n'),
])
def test_closed_and_full_standard_files_are_no_traceback(daemon, line, code, said):
    command = f"exec {sys.executable} -I {LAUNCHER} --rpc-socket {daemon.path} {line}"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stderr) == (code, said)


LATE = """
import os, signal, sys
def interrupt(event, about):
    if event == "import" and about[0] in ("gossipd.ctl.table", "gossipd.serfcli.table"):
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(interrupt)
sys.argv[:] = sys.argv[1:]
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"), {"__name__": "__main__", "__file__": sys.argv[0]})
"""


@pytest.mark.parametrize("launcher", [LAUNCHER, SERF], ids=lambda launcher: launcher.name)
def test_an_interrupt_while_it_starts_is_no_traceback(launcher):
    command = [sys.executable, "-I", "-c", LATE, str(launcher), "keygen"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_serf_does_not_mind_closed_standard_files(closed):
    done = subprocess.run(["/bin/sh", "-c", f"exec {sys.executable} -I {SERF} keygen {closed}"], capture_output=True,
                          text=True, timeout=10)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupt_that_is_ignored_from_the_beginning_stays_so(daemon):
    daemon.events, daemon.hangs_up = [EVENT], False
    process = subprocess.Popen(["/bin/sh", "-c", f"trap '' INT; exec {sys.executable} -I {LAUNCHER} events --count 2 "
                                f"--rpc-socket {daemon.path}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"deploy" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.kill()
    process.communicate(timeout=10)


def test_the_launcher_answers(daemon):
    process = start(daemon, "members", "-o", "name")
    assert process.communicate(timeout=10) == ("alpha\nbeta\ngamma\n", "") and process.returncode == 0
