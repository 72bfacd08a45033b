from __future__ import annotations

import pytest

from gossipd.config.schema import SECTIONS, SETTINGS, Config
from gossipd.config.toml import Source, config_files, find_line, load, merge
from gossipd.errors import ConfigError
from gossipd.serf.config import SerfConfig
from gossipd.swim.config import SwimConfig

KEY = "AAECAwQFBgcICQoLDA0ODw=="


def errors(*sources: dict) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        merge([Source(values) for values in sources])
    return str(refusal.value).splitlines()


def swim(config: Config) -> SwimConfig:
    return config.swim_config(name="a", addr=bytes(4), port=1, bind_port=2, keys=())


def test_nothing_at_all_is_the_lan_profile_with_serfs_defaults():
    config = load([])
    assert swim(config) == SwimConfig(name="a", addr=bytes(4), port=1, bind_port=2)
    assert config.serf_config() == SerfConfig()
    assert (config.network.bind, config.log.level, config.leave.on_interrupt) == ("0.0.0.0", "info", True)


def test_a_profile_sets_the_timing_and_swim_settings_win_over_it():
    config = merge([Source({"network": {"profile": "wan"}, "swim": {"probe_timeout": "1s"}})])
    assert (swim(config).probe_interval_s, swim(config).probe_timeout_s, swim(config).gossip_nodes) == (5.0, 1.0, 4)


def test_settings_of_the_core_reach_it_whatever_their_section():
    config = merge([Source({
        "node": {"tags": {"role": "web"}}, "encryption": {"label": "blue"}, "network": {"packet_size": 1300},
        "serf": {"coalesce_period": "0s"}, "snapshot": {"rejoin_after_leave": True},
    })])
    assert (swim(config).label, swim(config).packet_bytes) == ("blue", 1300)
    serf = config.serf_config()
    assert (serf.tags, serf.member_period_s, serf.rejoin_after_leave) == ({"role": "web"}, 0.0, True)


def test_the_protocol_to_speak_is_advertised_too():
    config = merge([Source({"node": {"protocol": 4}})])
    assert (config.serf_config().protocol, swim(config).versions[5]) == (4, 4)


def test_a_later_source_wins_and_tags_add_up():
    config = merge([
        Source({"node": {"name": "a", "tags": {"role": "web", "zone": "x"}}, "join": {"seeds": ["h1"]}}),
        Source({"node": {"name": "b", "tags": {"zone": "y"}}, "join": {"seeds": ["h2"]}}),
    ])
    assert (config.node.name, config.join.seeds) == ("b", ("h2",))
    assert config.serf_config().tags == {"role": "web", "zone": "y"}


def test_everything_wrong_is_reported_at_once_with_file_line_and_key(tmp_path):
    (tmp_path / "a.toml").write_text('[node]\n\nnmae = "x"\n[node.tags]\nrole = 5\n')
    (tmp_path / "b.toml").write_text('swim.gossip_nodes = "3"\n[loging]\nlevel = "info"\n')
    with pytest.raises(ConfigError) as refusal:
        load([str(tmp_path), str(tmp_path / "missing.toml")])
    missing, *lines = str(refusal.value).splitlines()
    assert missing == f"{tmp_path}/missing.toml: No such file or directory"
    assert [line.partition(": ")[0].removeprefix(f"{tmp_path}/") for line in lines] == \
        ["a.toml:3", "a.toml:4", "b.toml:1", "b.toml:2"]
    assert "node.nmae: unknown setting; did you mean name?" in lines[0]
    assert "node.tags: expected a table of strings" in lines[1]
    assert "swim.gossip_nodes: expected a whole number from 1 to 100, not '3'" in lines[2]
    assert "loging: unknown section; did you mean log?" in lines[3]


def test_a_setting_in_the_wrong_section_is_told_its_home():
    assert errors({"log": {"bind": "x"}}) == ["log.bind: unknown setting; did you mean network.bind?"]
    assert errors({"profile": "wan"}) == ["profile: unknown section; did you mean network.profile?"]


def test_a_name_like_nothing_known_gets_the_list():
    assert errors({"log": {"zzz": 1}}) == ["log.zzz: unknown setting; there are level, format"]


def test_a_section_that_is_no_table_is_refused():
    assert errors({"log": "debug"}) == ["log: expected a table, [log]"]


@pytest.mark.parametrize("values", [
    {"encryption": {"key": "secretsecret"}},
    {"rpc": {"auth_key": 12345678}},
])
def test_a_refused_secret_is_not_repeated(values):
    (line,) = errors(values)
    assert "secret" not in line and "12345678" not in line


@pytest.mark.parametrize(("values", "complaint"), [
    ({"swim": {"probe_timeout": "2s"}}, "swim.probe_timeout: 2s is longer than probe_interval, 1s"),
    ({"encryption": {"key": KEY, "keyring_file": "k"}}, "encryption.keyring_file: not together with key"),
    ({"network": {"advertise": "0.0.0.0:7946"}}, "network.advertise: nobody can reach a wildcard address"),
    ({"network": {"advertise": "[::]"}}, "network.advertise: nobody can reach a wildcard address"),
    ({"network": {"bind": "239.1.2.3:7946"}}, "network.bind: nobody can reach a multicast address"),
    ({"network": {"bind": "[ff02::1]"}}, "network.bind: nobody can reach a multicast address"),
    ({"network": {"bind": "255.255.255.255"}}, "network.bind: nobody can reach the broadcast address"),
    ({"node": {"tags_file": "x", "tags": {"a": "b"}}}, "node.tags_file: not together with tags"),
    *(({"rpc": {"tcp": f"{host}:7373"}}, "rpc.tcp: needs rpc.auth_key on an address that is not a loopback one")
      for host in ("192.0.2.1", "", "127.example.com", "127.0.0.1.example.com", "localhost.example.com", "[::]")),
])
def test_settings_that_contradict_each_other_are_refused(values, complaint):
    assert errors(values) == [complaint]


@pytest.mark.parametrize("address", ["127.0.0.1:7373", "[::1]:7373", "localhost:7373"])
def test_rpc_on_loopback_needs_no_key(address):
    assert merge([Source({"rpc": {"tcp": address}})]).rpc.tcp == address


def test_a_contradiction_names_the_file_that_completed_it(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text('[swim]\nprobe_interval = "1s"\nprobe_timeout = "3s"\n')
    with pytest.raises(ConfigError, match=r"x\.toml:3: swim\.probe_timeout"):
        load([str(file)])


def test_a_file_nested_too_deep_is_refused_by_name(tmp_path):
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigError, match=r"deep\.toml: is nested too deep"):
        load([str(tmp_path / "deep.toml")])


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "9" * 5000])
@pytest.mark.parametrize("setting", [
    "[swim]\nprobe_interval =", "[swim]\nretransmit_mult =", "[node]\nname =", "[join]\nseeds = [",
    "[[handler]]\ntimeout ="])
def test_numbers_of_any_length_are_refused_in_a_line(tmp_path, setting, number):
    (tmp_path / "x.toml").write_text(f"{setting} {number}{' ]' if setting.endswith('[') else ''}\n")
    with pytest.raises(ConfigError) as refusal:
        load([str(tmp_path / "x.toml")])
    for line in str(refusal.value).splitlines():
        assert line.startswith(f"{tmp_path}/x.toml:") and number not in line
    assert "expected Exceeds" not in str(refusal.value)


@pytest.mark.parametrize("values", [{"node": {"name": "\udcff"}}, {"encryption": {"label": "\udcff"}}])
def test_names_that_are_no_text_are_refused_as_any_other(values):
    (line,) = errors(values)
    assert "expected a " in line and "codec" not in line


def test_texts_hold_no_nul():
    assert [line.partition(": ")[0] for line in errors({"node": {"name": "a\0b"}, "snapshot": {"path": "/a\0b"}})] == [
        "node.name", "snapshot.path"]


def test_what_is_not_toml_is_refused_with_its_line(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text("[node]\nname =\n")
    with pytest.raises(ConfigError, match=r"x\.toml: .*line 2"):
        load([str(file)])
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load([str(file)])


def test_a_directory_is_its_config_files_by_name(tmp_path):
    for name in ("20-b.toml", "10-a.toml", "README", "30.toml.bak"):
        (tmp_path / name).write_text("")
    assert config_files(str(tmp_path)) == [str(tmp_path / "10-a.toml"), str(tmp_path / "20-b.toml")]
    assert load([str(tmp_path)]).node.name == ""


@pytest.mark.parametrize(("text", "section", "key", "line"), [
    ("[a]\nx = 1\n[b]\nx = 2\n", "b", "x", 4),
    ("# b.x = 1\nb.x = 2\n", "b", "x", 2),
    ('["b"]\n"x" = 1\n', "b", "x", 2),
    ("[b.x]\ny = 1\n", "b", "x", 1),
    ("[ b ]\nx.y = 1\n", "b", "x", 2),
    ("[b.x]\n", "b", "", 1),
    ("b = { x = 1 }\n", "b", "x", 0),
])
def test_the_line_of_a_setting_is_found_by_a_simple_look(text, section, key, line):
    assert find_line(text, section, key) == line


def test_every_field_of_the_core_can_be_set_or_is_not_a_setting():
    targets = [setting.target for settings in SETTINGS.values() for setting in settings.values() if setting.target]
    identity = {"swim.name", "swim.addr", "swim.port", "swim.bind_port", "swim.versions", "swim.keys"}
    everything = {f"swim.{name}" for name in SwimConfig.__dataclass_fields__} \
        | {f"serf.{name}" for name in SerfConfig.__dataclass_fields__}
    assert len(targets) == len(set(targets))
    assert everything - set(targets) == identity and set(targets) <= everything


def test_every_setting_can_be_given_at_its_default_and_changes_nothing():
    import tomllib

    text = "".join(
        f"[{section}]\n" + "".join(f"{key} = {setting.default_text()}\n" for key, setting in settings.items())
        for section, settings in SETTINGS.items())
    config = merge([Source(tomllib.loads(text))])
    assert swim(config) == swim(Config()) and config.serf_config() == SerfConfig()
    for section, kind in SECTIONS.items():
        for name in kind.__dataclass_fields__:
            assert getattr(getattr(config, section), name) == getattr(getattr(Config(), section), name)


def test_a_key_of_any_kind_stays_in_its_line(tmp_path):
    (tmp_path / "x.toml").write_text('"a\\nb" = 1\n[node]\n"\\u0000" = 1\n')
    (tmp_path / "x.json").write_text('{"a\\nb": 1, "mdns": {"\\r": 1}}')
    for name in ("x.toml", "x.json"):
        with pytest.raises(ConfigError) as refusal:
            load([str(tmp_path / name)])
        lines = str(refusal.value).splitlines()
        assert len(lines) == 2 and all(line.startswith(f"{tmp_path}/{name}") for line in lines)
