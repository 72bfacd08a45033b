"""Completion of gossipctl's command lines, asked of the shells themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gossipd.ctl.completion import script
from gossipd.ctl.main import main
from gossipd.ctl.table import COMMANDS, GLOBAL_OPTIONS
from tests.support.completions import DIRECTORY, FILES
from tests.support.require import need_program
from tests.unit.rpc.fakes import a_member

LAUNCHER = Path(__file__).resolve().parents[3] / "packaging/bin/gossipctl"
COMPLETE = """
gossipctl() { "%s" -I "%s" "$@"; }
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_gossipctl
[ ${#COMPREPLY[@]} = 0 ] || printf '%%s\\n' "${COMPREPLY[@]}"
""" % (sys.executable, LAUNCHER)


@pytest.fixture
def complete(tmp_path: Path):
    """What bash offers for the last word."""
    file = tmp_path / "completion"
    file.write_text(script("bash"))

    def offered(*words: str) -> list[str]:
        argv = [need_program("bash", "completion in bash"), "-c", COMPLETE, "bash", str(file), "gossipctl", *words]
        done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, timeout=20)
        assert done.stderr == ""
        return done.stdout.splitlines()

    return offered


def test_commands_options_and_their_values_are_offered(complete):
    assert complete("") == list(COMMANDS)
    assert complete("me") == ["members"]
    assert complete("--rpc-a") == ["--rpc-addr", "--rpc-auth"]
    assert complete("members", "--st") == ["--status"]
    assert complete("members", "-o", "j") == ["json", "jsonl"]
    assert complete("--timeout", "5", "events", "--output", "") == ["text", "jsonl"]
    assert complete("keys", "") == ["list", "install", "use", "remove"]
    assert complete("completion", "z") == ["zsh"]
    assert complete("event", "") == complete("members", "--name", "") == []


def test_names_of_members_are_those_of_the_daemon_that_is_meant(complete, daemon):
    where = ("--rpc-socket", daemon.path)
    assert complete(*where, "force-leave", "") == ["alpha", "beta", "gamma"]
    assert complete("rtt", *where, "alpha", "g") == ["gamma"]
    assert complete(*where, "query", "--node", "be") == ["beta"]


def test_names_that_are_orders_to_a_shell_are_quoted_and_not_obeyed(complete, daemon, tmp_path):
    daemon.backend.member_list = [a_member(f"$(touch {tmp_path}/x)", 1), a_member("a b;`id`", 2)]
    daemon.backend.members_version += 1
    assert complete("--rpc-socket", daemon.path, "rtt", "") == [f"\\$\\(touch\\ {tmp_path}/x\\)", "a\\ b\\;\\`id\\`"]
    assert not (tmp_path / "x").exists()


def test_without_a_daemon_there_are_no_names(complete, tmp_path):
    assert complete("--rpc-socket", str(tmp_path / "none"), "rtt", "") == []


def test_files_are_offered_where_files_are_meant(complete, tmp_path):
    (tmp_path / "serf.json").touch()
    assert complete("migrate", "se") == ["serf.json"]
    assert complete("--rpc-socket", "se") == ["serf.json"]


@pytest.mark.parametrize("shell", FILES)
def test_what_is_packaged_is_what_gossipctl_writes(shell, capsys):
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == (DIRECTORY / FILES[shell]).read_text(), "python -m tests.support.completions"


@pytest.mark.parametrize("shell", FILES)
def test_every_command_and_option_is_in_every_script(shell):
    text = script(shell)
    prefix = "-l " if shell == "fish" else "--"
    options = {option for command in COMMANDS.values() for option in (*command.options, *GLOBAL_OPTIONS)}
    assert [name for name in COMMANDS if name not in text] == []
    assert [option.names[-1] for option in options if prefix + option.names[-1].removeprefix("--") not in text] == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_shell_can_read_its_script(shell, tmp_path):
    program = need_program(shell, f"completion in {shell}")
    subprocess.run([program, "-n", str(DIRECTORY / FILES[shell])], check=True, timeout=20)


def test_other_shells_are_refused(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "'tcsh' is not one of bash, zsh, fish" in capsys.readouterr().err
