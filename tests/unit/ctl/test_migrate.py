"""gossipctl migrate: the daemon behaves the same with what it writes as with Serf's own file."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from gossipd.config.schema import Config
from gossipd.config.serfjson import MEANINGS
from gossipd.config.toml import load
from gossipd.ctl.main import main

KEY = "AAECAwQFBgcICQoLDA0ODw=="
EVERYTHING = {
    "node_name": 'n"1', "bind": "192.0.2.1:7000", "advertise": "192.0.2.2", "profile": "wan", "protocol": 4,
    "tags": {"role": "web", "with space": "a\nb", "ümlaut": "\\"}, "discover": "app", "mdns": {"interface": "eth0"},
    "encrypt_key": KEY, "start_join": ["192.0.2.9"], "retry_join": ["a.example:7946"], "retry_interval": "45s",
    "retry_max_attempts": 3, "replay_on_join": True, "snapshot_path": "/var/lib/serf/snap", "rejoin_after_leave": True,
    "rpc_addr": "127.0.0.1:7400", "rpc_auth": "s3cret", "log_level": "WARN", "leave_on_terminate": True,
    "skip_leave_on_interrupt": True, "broadcast_timeout": "7s", "reconnect_interval": "20s", "reconnect_timeout": "48h",
    "tombstone_timeout": "12h", "disable_name_resolution": True, "query_response_size_limit": 2048,
    "query_size_limit": 2049, "user_event_size_limit": 600,
    "event_handlers": ["/bin/all.sh", "user:deploy,query=deploy.sh 'a b' \"c\"", "member-join=multi\nline"],
}


@pytest.fixture
def migrate(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Exit code, the TOML, and what is said."""

    def run(values: object, *words: str) -> tuple[int, str, str]:
        path = tmp_path / "serf.json"
        path.write_text(json.dumps(values))
        code = main(["migrate", str(path), *words])
        out, err = capsys.readouterr()
        return code, out, err.replace(f"{tmp_path}/", "")

    return run


def loaded(path: Path, text: str) -> dict[str, object]:
    path.write_text(text)
    return plain(load([str(path)]))


def plain(config: Config) -> dict[str, object]:
    """Comparable, without what was said of the files."""
    sections = {about.name: getattr(config, about.name) for about in fields(config) if about.name != "notices"}
    return {name: {about.name: getattr(section, about.name) for about in fields(section)}
            if hasattr(section, "__dataclass_fields__") else section for name, section in sections.items()}


@pytest.mark.parametrize("values", [
    {}, EVERYTHING, *({name: EVERYTHING[name]} for name in EVERYTHING), {"role": "db"}, {"Node_Name": "x"},
    {"mdns": {"disable_ipv4": True, "Disable_IPv6": False}, "discover": "x"}, {"retry_interval": "10ms"},
    {"rpc_addr": "", "tags": {}, "event_handlers": []}, {"keyring_file": "/etc/keyring"}, {"retry_join": ["::1"]},
    {"interface": "eth1"}, {"tags_file": "/var/lib/gossipd/tags.json"}, {"tags": {"": "x"}},
], ids=lambda values: ",".join(values) if len(values) < 4 else "everything")
def test_the_same_settings_come_out(migrate, tmp_path, values):
    code, text, said = migrate(values)
    assert (code, said) == (0, "")
    assert loaded(tmp_path / "new.toml", text) == plain(load([str(tmp_path / "serf.json")]))


def test_every_key_that_means_something_is_tried():
    tried = {*EVERYTHING, "role", "keyring_file", "mdns.interface", "mdns.disable_ipv4", "mdns.disable_ipv6",
             "interface", "tags_file"}
    assert set(MEANINGS) - tried == set()


def test_each_setting_is_explained(migrate):
    _, text, _ = migrate({"node_name": "ann", "event_handlers": ["query:load=uptime"]})
    assert text.startswith("# Settings of gossipd, made from /")
    assert text.partition("\n\n")[2].splitlines() == [
        "[node]", "# Name of this node, unique in the cluster. Empty: the host name.", 'name = "ann"',
        "", "[rpc]",
        '# TCP address for clients of Serf, such as "127.0.0.1:7373". A port alone, ":7373", means all addresses, of '
        "IPv4 and", "# IPv6. Empty: none.",
        'tcp = "127.0.0.1:7373"', "", "[[handler]]",
        "# A run that takes longer is ended, with all processes it began. Serf's agent waits for ever.",
        '# timeout = "60s"', 'on = ["query:load"]', 'run = "uptime"']


def test_it_says_that_what_ended_serfs_agent_is_retried_from_now_on(migrate):
    _, text, said = migrate({"start_join": ["192.0.2.9"], "retry_join": ["192.0.2.8"]})
    words = " ".join(text.replace("\n# ", " ").split())
    assert said == "" and "Serf's agent ends if none of start_join answers" in words
    assert "gossipd retries them all. seeds = [" in words
    assert "start_join" not in migrate({"retry_join": ["192.0.2.8"]})[1]


def test_a_file_with_a_key_says_so(migrate):
    assert "holds a key" in migrate({"encrypt_key": KEY})[1]
    assert "holds a key" not in migrate({"node_name": "ann"})[1]


def test_what_has_no_equivalent_is_said_in_both_places(migrate, tmp_path):
    code, text, said = migrate({"enable_syslog": True, "retry_join": ["a b"], "node_name": "ann"})
    assert code == 4
    assert said.splitlines() == [
        "gossipctl: serf.json:1: enable_syslog: ignored, the log goes to standard error",
        "gossipctl: serf.json:1: retry_join: ignored, 'a b' is no address"]
    assert text.count("# No equivalent: ") == 2
    assert loaded(tmp_path / "new.toml", text)["node"]["name"] == "ann"


def test_a_tags_file_stays_one(migrate, tmp_path):
    path = tmp_path / "tags.json"
    path.write_text('{"role": "web"}')
    code, text, said = migrate({"tags_file": str(path)})
    assert (code, said) == (0, "") and f'tags_file = "{path}"' in text and "web" not in text
    assert loaded(tmp_path / "new.toml", text)["core"] == {"serf.tags": {"role": "web"}}
    assert migrate({"tags_file": str(path), "role": "db"})[::2] == (
        1, "gossipctl: node.tags_file: not together with tags\n")


@pytest.mark.parametrize("path", ["/dev/zero", "/"])
def test_what_is_no_file_is_told_in_one_line(migrate, capsys, path):
    assert main(["migrate", path]) == 1
    assert capsys.readouterr().err.startswith(f"gossipctl: {path}: is ")
    code, _, said = migrate({}, path)
    assert code == 1 and said.startswith(f"gossipctl: {path}: is ") and said.count("\n") == 1


def test_a_snapshot_is_gone_on_with(migrate, tmp_path):
    snapshot = tmp_path / "snap"
    snapshot.write_bytes(b"alive: ann 192.0.2.1:7946\nclock: 7\nevent-clock: 2\nnot-alive: ann\n#comment\nleave\n")
    code, text, said = migrate({"snapshot_path": "/old"}, str(snapshot))
    assert (code, said) == (0, "")
    assert loaded(tmp_path / "new.toml", text)["snapshot"] == {"path": str(snapshot)}
    snapshot.write_bytes(b"{}\n")
    assert migrate({}, str(snapshot))[::2] == (
        4, "gossipctl: snap: 1 lines are no lines of a snapshot and will be skipped\n")
    assert migrate({}, str(tmp_path / "none"))[::2] == (1, "gossipctl: none: No such file or directory\n")


def test_the_names_of_files_may_hold_anything_and_the_toml_is_whole(tmp_path, capsys):
    odd = tmp_path / "a\x01\x7f\n[node]\udcff"
    odd.write_text('{"node_name": "x", "statsd_addr": "y"}')
    assert main(["migrate", str(odd)]) == 4
    assert loaded(tmp_path / "new.toml", capsys.readouterr().out)
    assert main(["migrate", str(odd), str(odd)]) == 1
    assert capsys.readouterr().err.endswith("TOML has no words for a path that is not UTF-8\n")


@pytest.mark.parametrize(("values", "message"), [
    ({"nodename": "x"}, 'gossipctl: serf.json:1: nodename: unknown key; did you mean node_name?\n'),
    ({"protocol": "5", "tags": 1}, "gossipctl: serf.json:1: protocol: expected a number; "
                                   "serf.json:1: tags: expected an object of strings\n"),
    ({"event_handlers": ["nonsense=x"]}, "Invalid event script: Event 'nonsense' invoking 'x'"),
])
def test_a_file_that_serf_would_refuse_is_refused_in_one_line(migrate, values, message):
    code, text, said = migrate(values)
    assert (code, text) == (1, "")
    assert message in said and said.count("\n") == 1
