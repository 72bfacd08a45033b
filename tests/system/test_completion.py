"""Completion in the real shells: what bash, zsh and fish offer on a terminal, and that no member's name is obeyed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossipd.config.flags import FLAGS
from gossipd.ctl.table import COMMANDS
from tests.support import shells
from tests.support.completions import FILES, PATTERNS
from tests.support.processes import ROOT, Gossipd, Lab
from tests.support.require import need_program
from tests.support.shells import ALL, Shell
from tests.unit.ctl.daemon import a_daemon
from tests.unit.rpc.fakes import FakeBackend, a_member

TAB = "\t"
TAB_WAIT_MAX_S = 4.0        # 1.5 s, and a slow machine
ODD = ["a b", "a;touch x", "a$(touch x)", "a`touch x`", "a&touch x", "a|touch x", "it's", 'q"q', "x:y", "x:z", "e=f",
       "back\\slash", "*", "!ls", "#c", "{a,b}", "<x", "(touch x)", "ümlaut"]
NOT_TO_BE_TYPED = ["~root", "bad\udcff", "new\nline", "tab\tx", "\x1b[31m", "-rf"]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(params=PATTERNS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    """One that knows gossipctl, gossipd and their completions as they are packaged. No daemon is where it looks."""
    program = need_program(request.param, f"completion in {request.param}")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("gossipctl", "gossipd"):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} -I {ROOT}/packaging/bin/{name} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "dumb",
                   "LANG": "C.UTF-8", "GOSSIPCTL_RPC": str(tmp_path / "rpc.sock")}
    scripts = [path for (of, _), path in FILES.items() if of == request.param]
    with getattr(shells, request.param)(program, tmp_path, environment, scripts) as running:
        yield running


def offered(shell: Shell, line: str) -> set[str]:
    """At the end of the line, where a new word begins."""
    return set(shell.words(line + ALL)[len(line.split()):])


def test_commands_and_subcommands_are_offered_where_they_stand(shell):
    assert shell.words("gossipctl memb" + TAB) == ["gossipctl", "members"]
    assert offered(shell, "gossipctl ") == set(COMMANDS)
    assert offered(shell, "gossipctl keys ") == {"list", "install", "use", "remove"}
    assert offered(shell, "gossipctl keys install ") == offered(shell, "gossipctl event members ") == set()
    assert shell.words("gossipctl --timeout 5 keys ins" + TAB)[3:] == ["keys", "install"]
    assert offered(shell, "gossipctl completion zsh ") == {"gossipctl", "gossipd"}


def test_options_are_offered_where_they_stand(shell):
    assert shell.words("gossipctl members --st" + TAB)[2:] == ["--status"]
    assert shell.words("gossipctl query --no-a" + TAB)[2:] == ["--no-ack"]
    assert shell.words("gossipctl rtt --rpc-so" + TAB)[2:] == ["--rpc-socket"]
    assert shell.words("gossipctl members --no-a" + TAB)[2:] == ["--no-a"], "another command's"


def test_values_of_options_are_offered(shell):
    assert offered(shell, "gossipctl members -o ") == {"table", "wide", "name", "json", "jsonl"}
    assert offered(shell, "gossipctl query --output ") == {"text", "json", "jsonl"}
    assert shell.words("gossipctl members --output=w" + TAB)[2:] == ["--output=wide"]
    assert offered(shell, "gossipctl members --status ") == {"alive", "suspect", "leaving", "left", "failed"}
    assert shell.words("gossipctl events --type member-j" + TAB)[3:] == ["member-join"]
    assert offered(shell, "gossipctl members --name ") == offered(shell, "gossipctl --rpc-auth ") == set()


def test_gossipds_flags_and_their_values_are_offered(shell, tmp_path):
    (tmp_path / "set tings.toml").touch()
    words = set(shell.words("gossipd --" + ALL)[1:])
    assert words >= {*FLAGS, "--config", "--check", "--event-handler", "--version", "--help"}
    assert offered(shell, "gossipd --log-level ") == {"debug", "info", "warning", "error"}
    assert offered(shell, "gossipd --profile ") == {"lan", "wan", "local"}
    assert offered(shell, "gossipd --node ") == set()
    assert shell.words("gossipd --config set" + TAB)[2:] == ["set tings.toml"]
    assert shell.words("gossipd --config=set" + TAB)[1:] == ["--config=set tings.toml"]


def test_files_are_offered_where_files_are_meant(shell, tmp_path):
    (tmp_path / "serf $(touch x).json").touch()
    assert shell.words("gossipctl migrate se" + TAB)[2:] == ["serf $(touch x).json"]
    assert shell.words("gossipctl --rpc-socket se" + TAB)[2:] == ["serf $(touch x).json"]
    assert not (tmp_path / "x").exists()


def test_members_of_the_running_daemon_are_offered(shell, lab):
    web, db = agents = lab.gossipd("web-1"), lab.gossipd("db-1")
    lab.start(*agents)
    db.join(web.gossip)
    for where in (f"--rpc-socket {web.socket}", f"--rpc-socket='{web.socket}'", f"--rpc-addr {web.rpc}"):
        assert offered(shell, f"gossipctl {where} force-leave ") == {"web-1", "db-1"}
    where = f"--rpc-socket {web.socket}"
    assert shell.words(f"gossipctl rtt {where} web-1 d{TAB}")[-2:] == ["web-1", "db-1"]
    assert shell.words(f"gossipctl {where} query --node d{TAB}")[-2:] == ["--node", "db-1"]
    assert shell.words(f"gossipctl query {where} --node=w{TAB}")[-1] == "--node=web-1"
    assert offered(shell, f"gossipctl {where} force-leave web-1 ") & {"web-1", "db-1"} == set(), "it takes one name"


def test_names_are_quoted_and_never_obeyed(shell, tmp_path):
    members = [a_member(name, number) for number, name in enumerate([*ODD, *NOT_TO_BE_TYPED])]
    with a_daemon(tmp_path / "rpc.sock", FakeBackend(members)):
        assert offered(shell, "gossipctl rtt ") == set(ODD)
        for typed, name in (("a\\ ", "a b"), ("'it", "it's"), ('"q', 'q"q'), ('"a\\$', "a$(touch x)"),
                            ("'a;", "a;touch x"), ("x:y", "x:y"), ("e", "e=f"), ("b", "back\\slash"), ("ü", "ümlaut")):
            assert shell.words(f"gossipctl rtt {typed}{TAB}")[2:] == [name]
        assert shell.words(f"gossipctl query --node=x:z{TAB}")[2:] == ["--node=x:z"]
    assert not (tmp_path / "x").exists()


def test_what_the_user_has_typed_is_not_obeyed_either(shell, tmp_path):
    shell.words(f"gossipctl --rpc-socket '$(touch x)`touch x`' rtt {TAB}")
    shell.words(f"gossipctl '--rpc-socket=$(touch x);touch x' rtt 'a;touch x;{TAB}'")
    assert not (tmp_path / "x").exists()


def test_without_a_daemon_nothing_is_offered_or_said(shell):
    assert shell.words(f"gossipctl rtt {TAB}x") == ["gossipctl", "rtt", "x"]
    assert offered(shell, "gossipctl query --node ") == set()
    assert b"gossipctl: " not in shell.shown and b"Traceback" not in shell.shown


def test_a_daemon_that_hangs_holds_nobody_up(shell, tmp_path):
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "rpc.sock"))
        mute.listen()
        begun = time.monotonic()
        assert shell.words(f"gossipctl rtt {TAB}x") == ["gossipctl", "rtt", "x"]
        assert time.monotonic() - begun < TAB_WAIT_MAX_S
    assert b"larm" not in shell.shown, "nothing is said of the alarm that ended it"


def test_a_stopped_daemon_holds_nobody_up(lab):
    agent: Gossipd = lab.gossipd("web-1")
    agent.start()
    agent.signal(signal.SIGSTOP)
    begun = time.monotonic()
    with pytest.raises(AssertionError, match="SIGALRM"):
        run_ctl("--rpc-socket", agent.rpc_own, "completion", "members")
    assert time.monotonic() - begun < TAB_WAIT_MAX_S
    agent.signal(signal.SIGCONT)
    assert run_ctl("--rpc-socket", agent.rpc_own, "completion", "members") == "web-1\n"


def run_ctl(*words: str) -> str:
    argv = [sys.executable, "-I", str(ROOT / "packaging/bin/gossipctl"), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert done.returncode >= 0, signal.Signals(-done.returncode).name
    return done.stdout
