"""The manual pages say what the program does: every flag and setting, and none that is not there."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest

from gossipd.config.flags import FLAGS, parse, parser
from gossipd.config.schema import SETTINGS
from gossipd.config.serfjson import READERS
from gossipd.ctl.arguments import parse as parse_gossipctl
from gossipd.ctl.help import EXIT_CODES
from gossipd.ctl.table import COMMANDS
from gossipd.daemon import life
from gossipd.daemon import main as daemon
from gossipd.events import MemberEvent, QueryEvent, UserEvent
from gossipd.hooks import variables
from gossipd.paths import SYSTEM_SOCKET
from gossipd.serfcli import main as serf
from gossipd.serfcli.agent.flags import FLAGS as AGENT_FLAGS
from gossipd.serfcli.table import ABOUT, CONNECTION
from tests.support.manual import MAN, PAGES
from tests.support.require import need_program


@pytest.mark.parametrize("name", PAGES)
def test_a_page_made_from_a_table_is_up_to_date(name):
    assert (MAN / name).read_text() == PAGES[name](), "python -m tests.support.manual"


def test_gossipds_page_has_every_flag_and_no_other():
    text = (MAN / "gossipd.8").read_text()
    options = [option for action in parser()._actions for option in action.option_strings]
    synopsis, description = text.partition(".Sh DESCRIPTION")[::2]
    listed = {f"-{flag}" for flag in re.findall(r"\.It Fl (?:h , )?(-[a-z-]+)", description)} | {"-h"}
    assert listed == set(options)
    assert {f"-{flag}" for flag in re.findall(r"Fl (-[a-z-]+)", synopsis)} == set(options) - {"-h"}


@pytest.mark.parametrize("flag", FLAGS)
def test_gossipds_page_names_the_values_as_the_help_does(flag):
    assert f".It Fl {flag[1:]} Ar {FLAGS[flag][2]}\n" in (MAN / "gossipd.8").read_text()


FROM_SERF = MAN / "gossipd-from-serf.7"
WRONG_USAGE = 2     # argparse's
PACKAGE = MAN.parent / "gossipd"


def test_the_command_lines_for_those_who_come_from_serf_are_ones_that_the_programs_take():
    lines = [shlex.split(line.partition(" > ")[0]) for line in re.findall(r"^\.Dl (.*)$", FROM_SERF.read_text(), re.M)]
    assert {line[0] for line in lines} == {"gossipd", "gossipctl"}
    for program, *argv in lines:
        if program == "gossipd":
            assert parse(argv).paths == ["/etc/serf/serf.json"]
        else:
            parse_gossipctl(argv)       # raises what it cannot read


def test_commands_named_to_those_who_come_from_serf_exist():
    text = FROM_SERF.read_text()
    assert set(re.findall(r"Ql gossipctl (\S+)", text)) <= set(COMMANDS)
    named = set(re.findall(r"Ql serf (\S+)", text))
    assert named and named <= set(ABOUT)


def test_flags_named_to_those_who_come_from_serf_exist():
    flags = set(re.findall(r"Fl ([a-z0-9-]+)", FROM_SERF.read_text()))
    assert flags - set(AGENT_FLAGS) - set(CONNECTION) == {"-check"}       # gossipd's own


def test_settings_named_to_those_who_come_from_serf_exist():
    ours = {f"{section}.{key}" for section, keys in SETTINGS.items() for key in keys}
    named = set(re.findall(r"Cm ([a-z_.]+)", FROM_SERF.read_text()))
    assert named and named <= ours | set(READERS)
    assert SYSTEM_SOCKET in FROM_SERF.read_text()


@pytest.mark.parametrize(("program", "codes"), [
    ("serf", {serf.EXIT_OK, serf.EXIT_FAILED, serf.EXIT_UNKNOWN, serf.INTERRUPTED}),
    ("gossipd", {life.EXIT_LEFT, life.EXIT_STOPPED, WRONG_USAGE, life.EXIT_NAME_LOST, daemon.EXIT_CONFIG}),
    ("gossipctl", {int(code) for code, _ in EXIT_CODES}),
])
def test_those_who_come_from_serf_are_told_all_exit_codes_and_no_other(program, codes):
    status = FROM_SERF.read_text().partition(".Sh EXIT STATUS\n")[2]
    (listed,) = re.findall(rf"^\.Ss {program}\n(.*?)^\.El", status, re.M | re.S)
    assert {int(code) for code in re.findall(r"^\.It (\d+)$", listed, re.M)} == codes


def page(name, section):
    """The text of a section."""
    return (MAN / name).read_text().partition(f".Sh {section}\n")[2].partition("\n.Sh ")[0]


@pytest.mark.parametrize(("name", "where"), [
    ("gossipctl.1", ["ctl", "client.py", "clientrecords.py", "paths.py"]),
    ("gossipd.8", ["daemon", "config", "__main__.py", "paths.py"]),
    ("gossipd-from-serf.7", ["serfcli"]),
])
def test_a_page_has_every_variable_that_its_program_looks_at_and_no_other(name, where):
    looked_at = set()
    for path in [PACKAGE / one for one in where]:
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            looked_at |= set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', source.read_text()))
    listed = re.findall(r"^\.It Ev (\w+)$", page(name, "ENVIRONMENT"), re.M)
    assert sorted(listed) == sorted(looked_at)


def test_no_other_part_looks_at_the_environment():
    """`os.environb`, handed on to handlers, is none of it."""
    lookers = {source.relative_to(PACKAGE).parts[0] for source in PACKAGE.rglob("*.py")
               if re.search(r"environ\b|getenv", source.read_text()) and "import os" in source.read_text()}
    assert lookers <= {"ctl", "paths.py", "daemon", "serfcli"}


def test_the_page_of_handlers_has_every_variable_that_they_find_and_no_other():
    found = set()
    for event in (MemberEvent("member-join", []), UserEvent("deploy", None, 1, True),
                  QueryEvent(1, "load", None, 1, "a", 1.0)):
        found |= {name.decode() for name in variables(event, "a", {})}
    listed = re.findall(r"^\.It Ev (.*)$", (MAN / "gossipd-handlers.7").read_text(), re.M)
    assert set(" , ".join(listed).split(" , ")) == found | {"SERF_TAG_ Ns Ar NAME"}


@pytest.mark.parametrize(("name", "where", "more"), [
    ("gossipctl.1", "ctl", set()), ("gossipd.8", "daemon", {WRONG_USAGE}),
])
def test_a_page_has_every_exit_code_of_its_program_and_no_other(name, where, more):
    codes = {int(code) for source in (PACKAGE / where).rglob("*.py")
             for code in re.findall(r"^(?:EXIT_\w+|INTERRUPTED) = (\d+)\b", source.read_text(), re.M)}
    listed = re.findall(r"^\.It (\d+)$", page(name, "EXIT STATUS"), re.M)
    assert sorted(map(int, listed)) == sorted(codes | more)


@pytest.mark.parametrize("path", sorted(MAN.iterdir()), ids=lambda path: path.name)
def test_mandoc_finds_nothing_wrong(path):
    mandoc = need_program("mandoc", "manual pages")
    found = subprocess.run([mandoc, "-T", "lint", str(path)], capture_output=True, text=True).stdout
    assert [line for line in found.splitlines() if "referenced manual not found" not in line] == []
