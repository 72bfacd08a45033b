from __future__ import annotations

import pytest

import gossipd
from gossipd.config.flags import FLAGS, parse
from gossipd.config.schema import SETTINGS
from gossipd.config.toml import load
from gossipd.errors import ConfigError


def config(*argv: str):
    arguments = parse(argv)
    return load(arguments.paths, arguments.flags)


def test_flags_win_over_files(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('[node]\nname = "file"\n[log]\nlevel = "debug"\n[node.tags]\nrole = "web"\n')
    chosen = config("--config", str(file), "--node", "flag", "--tag", "zone=x=y")
    assert (chosen.node.name, chosen.log.level) == ("flag", "debug")
    assert chosen.serf_config().tags == {"role": "web", "zone": "x=y"}


def test_repeatable_flags_gather():
    chosen = config("--join", "h1", "--join=h2:7000", "--tag", "a=1", "--tag", "b=")
    assert chosen.join.seeds == ("h1", "h2:7000") and chosen.serf_config().tags == {"a": "1", "b": ""}


def test_several_configs_are_read_in_order(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(f'[node]\nname = "{name}"\n')
    assert config("--config", str(tmp_path / "b.toml"), "--config", str(tmp_path / "a.toml")).node.name == "a"


def test_a_bad_value_is_reported_by_its_flag():
    with pytest.raises(ConfigError, match=r'^--log-level: expected one of "debug", .*, not \'loud\'$'):
        config("--log-level", "loud")


@pytest.mark.parametrize("argv", [["--tag", "web"], ["--tag", "=web"], ["--nod", "x"], ["x"], ["--node"]])
def test_a_bad_command_line_ends_with_status_2(argv, capsys):
    with pytest.raises(SystemExit) as end:
        parse(argv)
    assert end.value.code == 2 and "usage: gossipd" in capsys.readouterr().err


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as end:
        parse(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"gossipd {gossipd.__version__}\n"


def test_check_is_asked_for():
    assert parse(["--check"]).check_only and not parse([]).check_only


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_is_a_setting(flag):
    section, key, _, _ = FLAGS[flag]
    assert key in SETTINGS[section]
