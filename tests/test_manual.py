"""The manual pages say what the program does: every flag and setting, and none that is not there."""

from __future__ import annotations

import re
import subprocess

import pytest

from gossipd.config.flags import FLAGS, parser
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


@pytest.mark.parametrize("path", sorted(MAN.iterdir()), ids=lambda path: path.name)
def test_mandoc_finds_nothing_wrong(path):
    mandoc = need_program("mandoc", "manual pages")
    found = subprocess.run([mandoc, "-T", "lint", str(path)], capture_output=True, text=True).stdout
    assert [line for line in found.splitlines() if "referenced manual not found" not in line] == []
