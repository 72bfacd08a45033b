"""packaging/gossipd.toml says exactly what the schema says."""

from __future__ import annotations

import re
from pathlib import Path

from gossipd.config.handlers import HANDLER_SETTINGS
from gossipd.config.schema import SETTINGS, Config
from gossipd.config.toml import load
from tests.support.example_toml import example

EXAMPLE = Path(__file__).resolve().parent.parent / "packaging/gossipd.toml"


def test_the_example_is_the_schema():
    assert EXAMPLE.read_text() == example(), "python -m tests.support.example_toml > packaging/gossipd.toml"


def test_every_setting_is_in_the_example_and_nothing_else():
    section, listed = "", []
    for line in EXAMPLE.read_text().splitlines():
        if header := re.fullmatch(r"#\[(\w+)\]", line):
            section = header[1]
        elif assignment := re.match(r"#(\w+) = ", line):
            listed.append((section, assignment[1]))
    assert listed == [(section, key) for section, settings in SETTINGS.items() for key in settings]


def test_the_example_as_shipped_changes_nothing():
    assert all(line.startswith("#") or not line for line in EXAMPLE.read_text().splitlines())
    assert load([str(EXAMPLE)]).core == Config().core == {}


def test_the_example_with_everything_switched_on_is_the_defaults(tmp_path):
    file = tmp_path / "all.toml"
    file.write_text(re.sub(r"^#(?! )", "", EXAMPLE.read_text(), flags=re.MULTILINE))
    config = load([str(file)])
    assert config.serf_config() == Config().serf_config()
    assert config.swim_config("a", bytes(4), 1, 2, ()) == Config().swim_config("a", bytes(4), 1, 2, ())
    every = [setting for settings in SETTINGS.values() for setting in settings.values()]
    assert len(config.core) == sum(bool(setting.target) for setting in every)


def test_the_example_of_a_handler_works_and_has_every_key(tmp_path):
    tail = EXAMPLE.read_text().partition("# [[handler]]\n")[2]
    assert re.findall(r"^# (\w+) = ", tail, flags=re.MULTILINE) == list(HANDLER_SETTINGS)
    file = tmp_path / "handler.toml"
    file.write_text("[[handler]]\n" + "".join(f"{line}\n" for line in re.findall(r"^# (\w+ = .*)", tail, re.MULTILINE)))
    (hook,) = load([str(file)]).hooks
    assert hook.filters == (("member-join", ""), ("user", "deploy")) and hook.timeout_s == 60.0
