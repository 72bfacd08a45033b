"""Serf's JSON files. Which of them Serf takes and refuses was recorded: vectors/cli/agent-cfg-*.txt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gossipd.config.flags import parse
from gossipd.config.schema import SETTINGS, Config
from gossipd.config.serfjson import MEANINGS, READERS, SERFS_RPC
from gossipd.config.toml import config_files, load
from gossipd.errors import ConfigError

KEY = "AAECAwQFBgcICQoLDA0ODw=="
SERFS_KEYS = """
    node_name bind advertise interface discover mdns.interface mdns.disable_ipv4 mdns.disable_ipv6 encrypt_key
    keyring_file event_handlers start_join replay_on_join retry_join retry_interval retry_max_attempts
    rejoin_after_leave snapshot_path log_level profile protocol role tags tags_file rpc_addr rpc_auth enable_syslog
    syslog_facility broadcast_timeout enable_compression leave_on_terminate skip_leave_on_interrupt reconnect_interval
    reconnect_timeout tombstone_timeout disable_name_resolution query_response_size_limit query_size_limit
    user_event_size_limit statsd_addr statsite_addr disable_coordinates validate_node_names msgpackusenewtimeformat
""".split()


@pytest.fixture
def read(tmp_path: Path):
    """Loads values or texts, each a file of Serf's, in their order, and flags after them."""

    def load_all(*contents: object, flags: list[str] | None = None) -> Config:
        paths = []
        for number, content in enumerate(contents):
            path = tmp_path / f"{number}.json"
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            paths += ["--config", str(path)]
        arguments = parse([*paths, *(flags or [])])
        return load(arguments.paths, arguments.flags)

    return load_all


@pytest.fixture
def complaints(read, tmp_path: Path):
    """The error lines, without the file's directory."""

    def refused(*contents: object) -> list[str]:
        with pytest.raises(ConfigError) as refusal:
            read(*contents)
        return [line.removeprefix(f"{tmp_path}/") for line in str(refusal.value).splitlines()]

    return refused


def test_every_key_of_serf_is_known():
    assert sorted(READERS) == sorted(SERFS_KEYS)


def test_what_a_key_means_is_a_setting():
    assert [meaning.setting for meaning in MEANINGS.values()
            if meaning.setting.partition(".")[2] not in SETTINGS[meaning.setting.partition(".")[0]]] == []


def test_a_usual_file(read):
    config = read({
        "node_name": "web1", "bind": "192.0.2.10:7000", "advertise": "192.0.2.20", "profile": "wan", "protocol": 4,
        "role": "web", "tags": {"zone": "north"}, "start_join": ["192.0.2.1"], "retry_join": ["192.0.2.2"],
        "encrypt_key": KEY, "event_handlers": ["member-join,user:deploy=x.sh", "y.sh"], "log_level": "WARN",
        "snapshot_path": "/var/lib/x", "rejoin_after_leave": True, "replay_on_join": True, "retry_interval": "1m30s",
        "retry_max_attempts": 3.7, "rpc_addr": "127.0.0.1:7000", "rpc_auth": "secret", "leave_on_terminate": True,
        "skip_leave_on_interrupt": True, "broadcast_timeout": "2s", "reconnect_timeout": "48h",
        "disable_name_resolution": True, "query_size_limit": 2048,
    })
    assert (config.node.name, config.network.bind, config.network.profile) == ("web1", "192.0.2.10:7000", "wan")
    assert config.network.advertise == "192.0.2.20:7946"
    assert config.join.seeds == ("192.0.2.1", "192.0.2.2")
    assert (config.join.retry_interval_s, config.join.retry_max, config.join.replay) == (90.0, 3, True)
    assert len(config.encryption.key) == 16 and config.log.level == "warning"
    assert [(hook.filters, hook.script) for hook in config.hooks] == [
        ((("member-join", ""),), "x.sh"), ((("user", "deploy"),), "x.sh"), ((("*", ""),), "y.sh")]
    assert (config.rpc.tcp, config.rpc.auth_key, config.snapshot.path) == ("127.0.0.1:7000", "secret", "/var/lib/x")
    assert (config.leave.on_terminate, config.leave.on_interrupt) == (True, False)
    serf = config.serf_config()
    assert (serf.tags, serf.protocol) == ({"zone": "north", "role": "web"}, 4)
    assert (serf.rejoin_after_leave, serf.resolve_name_conflicts, serf.query_bytes) == (True, False, 2048)
    assert (serf.reconnect_timeout_s, serf.broadcast_timeout_s) == (172800.0, 2.0)


@pytest.mark.parametrize("content", ["null", "{}", ' \n{"node_name": ""} trailing nonsense {', '{"NODE_NAME": null}'])
def test_a_file_that_says_nothing_changes_nothing_but_where_serfs_clients_look(read, content):
    config = read(content)
    assert config.rpc.tcp == SERFS_RPC == "127.0.0.1:7373"
    assert (config.node.name, config.core, config.hooks, config.notices) == ("", {}, (), ())


def test_keys_in_any_case_are_known(read):
    config = read({"NODE_NAME": "upper", "Tags": {"Role": "x"}, "MDNS": {"Disable_IPv4": True}, "discover": "c"})
    assert config.node.name == "upper" and config.serf_config().tags == {"Role": "x"}
    assert (config.discovery.cluster, config.discovery.ipv4, config.discovery.ipv6) == ("c", False, True)


def test_nothing_that_is_empty_or_false_takes_back_what_an_earlier_file_said(read):
    config = read(
        {"node_name": "a", "leave_on_terminate": True, "retry_max_attempts": 3, "reconnect_interval": "5s",
         "rpc_addr": "127.0.0.1:1"},
        {"node_name": "", "leave_on_terminate": False, "retry_max_attempts": 0, "reconnect_interval": "0s",
         "protocol": -1, "rpc_addr": ""})
    assert (config.node.name, config.leave.on_terminate, config.join.retry_max) == ("a", True, 3)
    assert config.serf_config().reconnect_interval_s == 5.0 and config.rpc.tcp == "127.0.0.1:1"


def test_lists_and_tags_of_several_files_add_up_and_other_values_are_the_last_ones(read):
    config = read(
        {"start_join": ["a"], "tags": {"x": "1", "y": "1"}, "event_handlers": ["a.sh"], "node_name": "one"},
        {"start_join": ["b"], "retry_join": ["c"], "tags": {"y": "2"}, "event_handlers": ["b.sh"], "node_name": "two"},
        flags=["--event-handler", "c.sh", "--tag", "z=3"])
    assert config.join.seeds == ("a", "b", "c") and config.node.name == "two"
    assert config.serf_config().tags == {"x": "1", "y": "2", "z": "3"}
    assert [hook.script for hook in config.hooks] == ["a.sh", "b.sh", "c.sh"]


def test_intervals_below_a_second_are_raised_as_in_serf(read):
    config = read({"retry_interval": "10ms", "broadcast_timeout": "999ms"})
    assert (config.join.retry_interval_s, config.serf_config().broadcast_timeout_s) == (1.0, 1.0)


def test_what_has_no_effect_in_serf_has_none_here(read):
    config = read({"enable_compression": False, "disable_coordinates": True, "validate_node_names": True,
                   "MsgpackUseNewTimeFormat": True})
    assert config.core == {} and config.notices == ()


def test_what_is_ignored_is_said(read, tmp_path):
    config = read({"statsd_addr": "h:8125", "enable_syslog": True, "syslog_facility": ""})
    assert config.notices == (
        f"{tmp_path}/0.json:1: enable_syslog: ignored, the log goes to standard error",
        f"{tmp_path}/0.json:1: statsd_addr: ignored, gossipd sends nothing to statsd")


@pytest.mark.parametrize(("content", "lines"), [
    ({"bogus": 1, "node_nmae": "x"}, ["0.json:1: bogus: unknown key", "0.json:1: node_nmae: unknown key; did you mean "
                                      "node_name?"]),
    ({"mdns": {"iface": "x"}}, ["0.json:1: mdns.iface: unknown key"]),
    ({"node_name": 5}, ["0.json:1: node_name: expected a string"]),
    ({"leave_on_terminate": "true"}, ["0.json:1: leave_on_terminate: expected true or false"]),
    ({"protocol": "4"}, ["0.json:1: protocol: expected a number"]),
    ({"protocol": True}, ["0.json:1: protocol: expected a number"]),
    ('{"protocol": 1e999}', ["0.json:1: protocol: expected a number"]),
    ('{"protocol": NaN}', ["0.json:1: protocol: expected a number"]),
    ({"event_handlers": "x.sh"}, ["0.json:1: event_handlers: expected a list of strings"]),
    ({"start_join": [1]}, ["0.json:1: start_join: expected a list of strings"]),
    ({"tags": ["a"]}, ["0.json:1: tags: expected an object of strings"]),
    ({"tags": {"a": 1, "b": True}}, ["0.json:1: tags: expected an object of strings"]),
    ({"reconnect_interval": "10"}, ['0.json:1: reconnect_interval: expected a duration such as "1.5s" or "1h30m"']),
    ({"reconnect_interval": 10}, ['0.json:1: reconnect_interval: expected a duration such as "1.5s" or "1h30m"']),
    ({"interface": "eth 0"}, ["0.json:1: interface: expected the name of a network interface"]),
    ({"tags_file": "/x", "tags": {"a": "1"}}, ["0.json:1: tags_file: not together with tags"]),
    ({"tags_file": "/x", "role": "web"}, ["0.json:1: tags_file: not together with tags"]),
    ('{"node_name": "x" /* why */}', ["0.json: is not JSON: "]),
    ('// why\n{}', ["0.json: is not JSON: "]),
    ('{"node_name": "x",}', ["0.json: is not JSON: "]),
    ('\ufeff{}', ["0.json: begins with a byte order mark"]),
    ('{"node_name": "a\0"}', ["0.json: is not JSON: "]),
    ({"mdns": "eth0"}, ["0.json:1: mdns: "]),
    ({"mdns": {"interface": 1}}, ["0.json:1: mdns.interface: expected a string"]),
    ({"bind": "a b"}, ["0.json:1: bind: expected an address"]),
    ("[1]", ["0.json: expected an object"]),
    ("5", ["0.json: expected an object"]),
    ('{broken', ["0.json: is not JSON: "]),
    ("", ["0.json: is not JSON: "]),
    ("[" * 100_000, ["0.json: is not JSON: "]),
    ('{\n"a": 1,\n"log_level": "LOUD"}', ["0.json:2: a: unknown key"]),
    ('{\n"event_handlers": ["bogus=x.sh"]}', [
        "0.json:2: event_handlers: Invalid event script: Event 'bogus' invoking 'x.sh'"]),
    ('{\n"Log_Level": "LOUD"}', ['0.json:2: log_level: expected one of "debug"']),
    ({"rpc_addr": "192.0.2.1:7373"}, ["0.json:1: rpc_addr: needs rpc.auth_key"]),
    ({"encrypt_key": "secret"}, ["0.json:1: encrypt_key: expected 16, 24 or 32 bytes in base64"]),
    ({"user_event_size_limit": 10000}, ["0.json:1: user_event_size_limit: expected"]),
    ({"bind": "a:b"}, ["0.json:1: bind: expected an address"]),
])
def test_what_serf_refuses_is_refused_with_file_line_and_serfs_key(complaints, content, lines):
    found = complaints(content)
    assert len(found) == len(lines), found
    for line, beginning in zip(found, lines, strict=True):
        assert line.startswith(beginning)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.json: No such file or directory"):
        load([str(tmp_path / "none.json")])


def test_a_directory_of_serfs_files_is_read_if_it_has_none_of_ours(tmp_path):
    for name in ("b.json", "a.json", "c.txt"):
        (tmp_path / name).write_text("{}")
    assert config_files(str(tmp_path)) == [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    (tmp_path / "own.toml").write_text("")
    assert config_files(str(tmp_path)) == [str(tmp_path / "own.toml")]


def test_our_files_and_flags_win_over_serfs_like_over_others(read, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('[rpc]\ntcp = ""\n[join]\nseeds = ["mine"]\n')
    config = read({"start_join": ["a"], "node_name": "x"}, flags=["--config", str(own), "--node", "y"])
    assert (config.rpc.tcp, config.join.seeds, config.node.name) == ("", ("mine",), "y")


def test_the_interface_is_bound_and_looked_on(read):
    config = read({"interface": "eth1", "discover": "app"})
    assert (config.network.interface, config.discovery.interfaces) == ("eth1", ("eth1",))
    assert read({"interface": "eth1", "mdns": {"interface": "eth2"}}).discovery.interfaces == ("eth2",)


def test_tags_come_from_the_tags_file(read, tmp_path):
    path = tmp_path / "tags"
    assert read({"tags_file": str(path)}).core == {}
    path.write_text('{"role": "web"}')
    config = read({"TAGS_FILE": str(path), "tags": {}, "role": ""})
    assert (config.node.tags_file, config.serf_config().tags) == (str(path), {"role": "web"})
    path.write_text("[]")
    with pytest.raises(ConfigError, match=f"^{path}: expected an object of strings$"):
        read({"tags_file": str(path)})


def test_addresses_that_nobody_can_reach_are_ignored_as_serf_would_start_with_them(read, tmp_path):
    config = read({"advertise": "255.255.255.255", "start_join": ["a b", "h1"], "retry_join": ["", "h:99999", None]})
    assert (config.network.advertise, config.join.seeds) == ("", ("h1",))
    assert [notice.removeprefix(f"{tmp_path}/0.json:1: ") for notice in config.notices] == [
        "advertise: ignored, '255.255.255.255' is the broadcast address",
        "start_join: ignored, 'a b' is no address", "retry_join: ignored, '' is no address",
        "retry_join: ignored, 'h:99999' is no address", "retry_join: ignored, '' is no address"]


@pytest.mark.parametrize("address", ["0.0.0.0", "[::]:1", "224.0.0.1", "[ff02::1]", "192.0.2.1:0"])
def test_such_an_address_is_not_advertised(read, address):
    config = read({"advertise": address})
    assert config.network.advertise == "" and len(config.notices) == 1


def test_numbers_that_make_no_sense_are_the_nearest_that_do(read):
    serf = read({"reconnect_interval": "-5s", "reconnect_timeout": "1ns", "tombstone_timeout": "20ms",
                 "query_size_limit": -1, "query_response_size_limit": 1 << 40, "user_event_size_limit": -3,
                 }).serf_config()
    assert (serf.reconnect_interval_s, serf.reconnect_timeout_s, serf.tombstone_timeout_s) == (0.01, 0.01, 0.02)
    assert (serf.query_bytes, serf.query_response_bytes, serf.user_event_bytes) == (0, 1_000_000, 1)


def test_an_unknown_key_with_nothing_near_it_is_told_in_a_short_line(complaints):
    [line] = complaints({"zzzzqqq": 1})
    assert line == "0.json:1: zzzzqqq: unknown key, in Serf too; see gossipd-from-serf(7)"


def test_a_port_alone_is_one_on_all_addresses(read):
    config = read({"bind": ":7999", "rpc_addr": ":7000", "rpc_auth": "secret"})
    assert (config.network.bind, config.rpc.tcp) == ("0.0.0.0:7999", "[::]:7000")


@pytest.mark.parametrize("address", [":7373", "0.0.0.0:7373", "[::]:7373"])
def test_any_wildcard_for_clients_means_both_families_as_in_serf(read, address):
    assert read({"rpc_addr": address, "rpc_auth": "secret"}).rpc.tcp == "[::]:7373"


def test_null_in_lists_and_objects_is_an_empty_string(read):
    assert read({"tags": {"a": None, "": "x"}}).serf_config().tags == {"a": "", "": "x"}


def test_halves_of_characters_and_bytes_that_are_none_become_the_usual_replacement(read, tmp_path):
    assert read('{"node_name": "a\\ud800", "tags": {"\\udc80": "\\udfff"}}').serf_config().tags == {"\ufffd": "\ufffd"}
    (tmp_path / "x.json").write_bytes(b'{"node_name": "a\xff"}')
    assert load([str(tmp_path / "x.json")]).node.name == "a\ufffd"


def test_lines_may_end_in_any_way(read):
    assert read('{\r\n"node_name":\r\n"x"}\r\n').node.name == "x"


def test_directories_in_a_directory_do_not_count_as_in_serf(tmp_path):
    (tmp_path / "a.json").mkdir()
    (tmp_path / "b.json").write_text('{"node_name": "x"}')
    assert load([str(tmp_path)]).node.name == "x"


@pytest.mark.parametrize("address", ["9" * 5000 + ".1.1.1", "127.0.0.1:" + "9" * 5000, "9" * 5000])
@pytest.mark.parametrize("name", ["bind", "advertise", "start_join", "rpc_addr"])
def test_numbers_of_any_length_in_an_address_are_told_in_a_line(read, name, address):
    try:
        notices = read({name: [address] if name == "start_join" else address}).notices
    except ConfigError as error:
        notices = (str(error),)
    assert [f"{name}: " in line for line in notices] == [True]


def test_binding_where_nobody_can_reach_is_said_and_done_as_serf_does_it(read, tmp_path):
    config = read({"bind": "224.0.0.1"})
    assert config.network.bind == "224.0.0.1"
    assert config.notices == (f"{tmp_path}/0.json:1: bind: nobody can reach a multicast address",)
