"""The program as users start it."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossipd.daemon.gossiper import JOINS_MAX, SYNCS_MAX
from gossipd.daemon.guests import STREAMS_MAX
from gossipd.daemon.main import EXIT_CONFIG, main
from gossipd.daemon.prober import TCP_PINGS_MAX
from gossipd.daemon.rpc import CLIENTS_MAX
from tests.support.require import ROOT

COMMAND = [sys.executable, "-m", "gossipd"]
READ_S = 3.0            # from exec to the end, on a machine that has other things to do
NOBODY = 65534


@pytest.fixture
def gossipd(tmp_path: Path) -> Iterator[list[str]]:
    """A command line that works."""
    yield [*COMMAND, "--node", "ann", "--bind", "127.0.0.1:0", "--rpc-socket", str(tmp_path / "rpc.sock")]


def wait_for(path: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 20
    while not os.path.exists(path):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 0), (signal.SIGTERM, 1)])
def test_signals_end_the_process_with_their_exit_code(gossipd, tmp_path, number, code):
    with subprocess.Popen(gossipd, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        wait_for(str(tmp_path / "rpc.sock"), process)
        process.send_signal(number)
        _, log = process.communicate(timeout=20)
    assert process.returncode == code
    assert "node ann at 127.0.0.1:" in log and f"stopped exit_code={code}" in log


def test_a_daemon_without_standard_files_runs(gossipd, tmp_path):
    close = 'exec "$@" <&- >&- 2>&-'
    with subprocess.Popen(["/bin/sh", "-c", close, "sh", *gossipd], cwd=ROOT) as process:
        wait_for(str(tmp_path / "rpc.sock"), process)
        files = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert files == ["/dev/null"] * 3


KILLED_WHILE_LOADING = """
import os, sys
from gossipd import __main__
from gossipd.daemon import main
main.main = lambda decided: [{before} os.kill(os.getpid(), {number}), 7][-1]
sys.exit(__main__.main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("before, code", [("", 1), ("decided(),", 7)], ids=["loading", "ending"])
def test_a_signal_while_the_program_loads_ends_it_without_a_traceback_and_one_while_it_ends_is_too_late(
        number, before, code):
    program = KILLED_WHILE_LOADING.format(number=int(number), before=before)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=20)
    assert (done.returncode, done.stderr) == (code, b"")


def test_a_bind_error_is_one_clear_line(gossipd):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = subprocess.run([*gossipd, "--bind", f"127.0.0.1:{port}"], cwd=ROOT, capture_output=True, timeout=20)
    assert done.returncode == 1 and done.stdout == b""
    assert done.stderr.decode() == f"gossipd: cannot bind 127.0.0.1:{port} (UDP): Address already in use\n"


def test_bad_settings_are_reported_and_nothing_starts(tmp_path, capsys):
    path = tmp_path / "gossipd.toml"
    path.write_text("[node]\nnmae = 'ann'\n")
    assert main(["--config", str(path)]) == EXIT_CONFIG == 78
    captured = capsys.readouterr()
    assert captured.err.startswith("gossipd: ") and "nmae" in captured.err and "name" in captured.err


@pytest.mark.parametrize("text, complaint", [
    ("[node.tags]\nrole = '" + 600 * "x" + "'\n", "limit of 512 bytes"),
    ("[encryption]\nkeyring_file = '/nonexistent/keyring'\n", "/nonexistent/keyring"),
])
def test_checking_goes_beyond_the_shape_of_the_file(tmp_path, capsys, text, complaint):
    path = tmp_path / "gossipd.toml"
    path.write_text(text)
    assert main(["--check", "--config", str(path)]) == EXIT_CONFIG
    assert complaint in capsys.readouterr().err


def test_settings_can_be_checked_without_starting(tmp_path, capsys):
    path = tmp_path / "gossipd.toml"
    path.write_text("[node]\nname = 'ann'\n")
    assert main(["--check", "--config", str(path)]) == 0
    assert capsys.readouterr().out == "the settings are fine\n"


def test_enough_file_descriptors_are_allowed_for_every_limit_at_once(gossipd, tmp_path):
    def frugal() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    with subprocess.Popen(gossipd, cwd=ROOT, stderr=subprocess.DEVNULL, text=True, preexec_fn=frugal) as process:
        wait_for(str(tmp_path / "rpc.sock"), process)
        soft, _ = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        process.terminate()
    assert soft >= STREAMS_MAX + CLIENTS_MAX + SYNCS_MAX + TCP_PINGS_MAX + JOINS_MAX + 50


# what a path may lead to

def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def one_of_a_gigabyte(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


NO_FILES = {
    "device": a_device, "pipe": os.mkfifo, "gigabyte": one_of_a_gigabyte, "NUL": lambda path: path.write_bytes(b"\0"),
    "mark": lambda path: path.write_bytes(b"\xef\xbb\xbf{}"), "UTF-16": lambda path: path.write_bytes(b"\xff\xfe[\0"),
    "directory": lambda path: (path / path.name).mkdir(parents=True),
}


@pytest.mark.parametrize(("kind", "name"), [
    (kind, name) for kind in NO_FILES for name in ("x.toml", "x.json", "keyring", "tags")
    if (kind, name) != ("directory", "x.json")])        # Serf passes over directories in directories, and so do we
def test_a_file_that_is_none_is_one_line_with_its_name_and_the_exit_code_of_bad_settings(tmp_path, kind, name):
    path = tmp_path / name
    NO_FILES[kind](path)
    flags = ["--config", str(path)]
    if name in ("keyring", "tags"):
        setting = f"encryption.keyring_file = '{path}'" if name == "keyring" else f"node.tags_file = '{path}'"
        (tmp_path / "settings.toml").write_text(f"{setting}\n")
        flags = ["--config", str(tmp_path / "settings.toml")]
    began = time.monotonic()
    done = subprocess.run([*COMMAND, *flags], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (EXIT_CONFIG, "") and time.monotonic() - began < READ_S
    assert done.stderr.startswith(f"gossipd: {path}") and done.stderr.count("\n") == 1


def test_a_file_that_may_not_be_read_is_told(tmp_path, capsys):
    path = tmp_path / "gossipd.toml"
    path.write_text("")
    assert main(["--check", "--config", str(path)]) == 0        # everything is imported now
    capsys.readouterr()
    path.chmod(0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        assert main(["--check", "--config", str(path)]) == EXIT_CONFIG
    finally:
        os.seteuid(before)
    assert capsys.readouterr().err == f"gossipd: {path}: Permission denied\n"
