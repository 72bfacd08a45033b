"""Completion of command lines: the scripts. What the shells make of them is in tests/system/test_completion.py."""

from __future__ import annotations

import subprocess

import pytest

from gossipd.config.flags import FLAGS
from gossipd.ctl.completion import PROGRAMS, daemon_options, script
from gossipd.ctl.hints import of_arguments
from gossipd.ctl.main import main
from gossipd.ctl.table import COMMANDS, FILES, FLAG, GLOBAL_OPTIONS, LIST, MEMBERS
from tests.support.completions import FILES as PACKAGED
from tests.support.completions import PATTERNS
from tests.support.require import need_program
from tests.unit.rpc.fakes import a_member


@pytest.mark.parametrize(("shell", "program"), PACKAGED)
def test_what_is_packaged_is_what_gossipctl_writes(shell, program, capsys):
    assert main(["completion", shell, program]) == 0
    assert capsys.readouterr().out == PACKAGED[shell, program].read_text(), "python -m tests.support.completions"


def test_nothing_else_is_packaged():
    directory = PACKAGED["bash", "gossipd"].parent
    assert {path.name for path in directory.iterdir()} == {path.name for path in PACKAGED.values()}


@pytest.mark.parametrize("shell", PATTERNS)
def test_without_a_program_it_is_gossipctl_that_is_completed(shell):
    assert script(shell) == script(shell, "gossipctl")


@pytest.mark.parametrize("shell", PATTERNS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_and_option_is_in_every_script(shell, program):
    text = script(shell, program)
    prefix = "-l " if shell == "fish" else "--"
    of_commands = [option for command in COMMANDS.values() for option in (*command.options, *GLOBAL_OPTIONS)]
    options = of_commands if program == "gossipctl" else daemon_options()
    assert program == "gossipd" or [name for name in COMMANDS if name not in text] == []
    assert [option.names[-1] for option in options if prefix + option.names[-1].removeprefix("--") not in text] == []


def test_gossipds_options_are_those_of_its_parser():
    options = {option.names[-1]: option for option in daemon_options()}
    assert options.keys() >= FLAGS.keys() | {"--help", "--version", "--config", "--check", "--event-handler"}
    assert options["--log-level"].choices == ("debug", "info", "warning", "error")
    assert (options["--check"].kind, options["--join"].kind) == (FLAG, LIST)
    assert [name for name, option in options.items() if option.hint == FILES] == [
        "--config", "--rpc-socket", "--snapshot", "--event-handler"]


@pytest.mark.parametrize(("command", "hints"), [
    ("rtt", [MEMBERS, MEMBERS]), ("force-leave", [MEMBERS]), ("migrate", [FILES, FILES]), ("event", []),
    ("tags", [("list", "set", "unset")]), ("completion", [("bash", "zsh", "fish"), PROGRAMS])])
def test_arguments_are_offered_by_position(command, hints):
    assert of_arguments(COMMANDS[command]) == hints


@pytest.mark.parametrize(("shell", "program"), PACKAGED)
def test_the_shell_can_read_its_script(shell, program):
    path = need_program(shell, f"completion in {shell}")
    subprocess.run([path, "-n", str(PACKAGED[shell, program])], check=True, timeout=20)


def test_names_that_need_more_than_quotes_are_not_listed(ctl, daemon):
    names = ["a b", "$(x)", "ü", "-x", "~x", "a\nb", "\x1b[0m", "\udcff", ""]
    daemon.backend.member_list = [a_member(name, number) for number, name in enumerate(names)]
    daemon.backend.members_version += 1
    assert ctl("completion", "members") == (0, "$(x)\na b\nü\n", "")


@pytest.mark.parametrize(("words", "error"), [
    (["tcsh"], "'tcsh' is not one of bash, zsh, fish"), (["zsh", "serf"], "'serf' is not one of gossipctl, gossipd"),
    (["members", "gossipctl"], "'members' is not one of")])
def test_other_shells_and_programs_are_refused(words, error, capsys):
    assert main(["completion", *words]) == 2
    assert error in capsys.readouterr().err
