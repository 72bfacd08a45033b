"""What gossipctl says while it waits, and how it says that something went wrong, to people and to programs."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from gossipd.commands import QueryAnswer
from gossipd.ctl.main import main, wants_json
from gossipd.events import UserEvent
from tests.unit.ctl.daemon import FakeDaemon, a_daemon
from tests.unit.rpc.fakes import FakeBackend

LAUNCHER = Path(__file__).resolve().parents[3] / "packaging/bin/gossipctl"
CLEAR = "\r\x1b[K"


@pytest.fixture
def slow_daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    """Takes commands and never finishes them."""
    with a_daemon(tmp_path / "slow.sock", FakeBackend(slow=True)) as daemon:
        yield daemon


def on_a_terminal(daemon: FakeDaemon, *words: str, **environment: str) -> tuple[int, str]:
    """Exit code, and what stderr shows."""
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-I", str(LAUNCHER), "--rpc-socket", daemon.path, *words]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=theirs,
                               env={**os.environ, "TERM": "xterm", **environment})
    os.close(theirs)
    said = b""
    try:
        while data := os.read(ours, 4096):
            said += data
    except OSError:
        pass        # the terminal's other side is closed
    os.close(ours)
    return process.wait(10), said.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(("words", "progress"), [
    (["leave"], "leaving the cluster"), (["keys", "list"], "asking all members"), (["join", "a"], "joining"),
    (["tags", "set", "a=b"], "telling the cluster"),
])
def test_a_terminal_shows_what_is_waited_for_and_nothing_of_it_stays(slow_daemon, words, progress):
    code, said = on_a_terminal(slow_daemon, "--timeout", "0.9", *words)
    assert code == 5
    assert f"{CLEAR}{progress}, 0 s " in said
    last = said.rpartition(CLEAR)[2]
    assert last.startswith("gossipctl: no answer from ") and last.count("\n") == 1


def test_a_query_that_does_not_even_begin_shows_progress_too(tmp_path):
    path = str(tmp_path / "hung.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        code, said = on_a_terminal(SimpleNamespace(path=path), "--timeout", "1", "query", "load")
    assert code == 5 and said.startswith(f"{CLEAR}asking, 0 s ") and said.rpartition(CLEAR)[2].startswith("gossipctl: ")


@pytest.mark.parametrize("words", [["query", "x"], ["reachability"], ["members"], ["keys", "list"], ["monitor"]])
def test_a_daemon_that_hangs_is_not_waited_for_beyond_the_deadline(tmp_path, capsys, words):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hung.sock"))
        listener.listen()
        begun = time.monotonic()
        assert main(["--timeout", "0.2", "--rpc-socket", str(tmp_path / "hung.sock"), *words]) == 5
    assert time.monotonic() - begun < 3.0 and capsys.readouterr().err.startswith("gossipctl: no answer from ")


def test_a_query_shows_how_many_were_heard_so_far(slow_daemon):
    slow_daemon.backend.parts = [QueryAnswer("beta", None, True)]
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-I", str(LAUNCHER), "--rpc-socket", slow_daemon.path, "query", "-o", "json", "load"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    assert os.read(ours, 4096).decode().startswith(f"{CLEAR}1 acked, 0 answered, ")
    process.kill()
    process.wait(10)
    os.close(ours)


def test_what_answers_soon_shows_no_progress(daemon):
    assert on_a_terminal(daemon, "tags", "set", "a=b") == (0, "")


def test_a_terminal_that_cannot_erase_shows_no_progress(slow_daemon):
    code, said = on_a_terminal(slow_daemon, "--timeout", "0.6", "leave", TERM="dumb")
    assert code == 5 and said.startswith("gossipctl: no answer")


def test_pipes_get_no_progress(slow_daemon):
    done = subprocess.run([sys.executable, "-I", str(LAUNCHER), "--rpc-socket", slow_daemon.path, "--timeout", "0.6",
                           "leave"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 5 and "leaving" not in done.stderr


@pytest.mark.parametrize(("words", "code", "error"), [
    (["members", "-o", "json", "--name", "("], 1, "expression '(': missing closing )"),
    (["info", "--output=json", "--nonsense"], 2, "unknown option '--nonsense'"),
    (["events", "--json", "--count", "x"], 2, "option --count: 'x' is not a number above 0"),
    (["query", "-ojsonl", "load", "--relay-factor", "-1"], 2,
     "option --relay-factor: '-1' is not a number from 0 to 255"),
    (["rtt", "-o", "json", "nobody"], 3,
     "nothing is known of 'nobody': no member has this name, or it was not measured yet"),
    (["force-leave", "-o", "json", "nobody"], 3, "no member is called 'nobody'"),
    (["event", "-o", "json", "x", "y", "z"], 2, "event: unexpected argument 'z'"),
])
def test_errors_are_json_where_json_was_asked_for(ctl, words, code, error):
    got, out, said = ctl(*words)
    assert (got, out) == (code, "")
    assert json.loads(said) == {"error": error, "exit_status": code} and said.count("\n") == 1


def test_a_daemon_that_cannot_be_reached_or_hangs_up_is_json_too(ctl, daemon):
    code, _, said = ctl("members", "-o", "jsonl", "--rpc-socket", "/nowhere/rpc.sock")
    assert code == 6 and json.loads(said)["error"] == "/nowhere/rpc.sock: No such file or directory"
    daemon.events = [UserEvent("deploy", None, 1, True)]
    code, out, said = ctl("events", "--json")
    assert code == 6 and json.loads(out)["name"] == "deploy"
    assert json.loads(said)["error"].endswith("the daemon closed the connection")


def test_json_is_the_same_as_jsonl_for_events(ctl, daemon):
    daemon.events = [UserEvent("deploy", b"x", 1, True)]
    records = [json.loads(ctl("events", "--count", "1", *words)[1]) for words in (["--json"], ["-o", "jsonl"])]
    for record in records:
        del record["time"]
    assert records[0] == records[1]


@pytest.mark.parametrize(("line", "wanted"), [
    ("members -o json", True), ("members -ojsonl", True), ("-o=json members", True), ("members --output json", True),
    ("members --output=jsonl", True), ("events --json", True), ("members", False), ("members -o table", False),
    ("event -- json", False), ("members --output=table", False),
])
def test_where_json_is_asked_for(line, wanted):
    assert wants_json(line.split()) is wanted
