"""Files and flags of `serf agent` (spec agent §1-§4, §8, §9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossipd.config.schema import Config
from gossipd.serfcli.agent.settings import Refused, Wanted, check_identity, log_level, read, to_config, unsupported
from gossipd.serfcli.agent.stores import read_keyring_file, read_tags_file
from gossipd.serfcli.flags import FlagError

KEY, KEY_BYTES = "AAECAwQFBgcICQoLDA0ODw==", bytes(range(16))


class Said(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


def wanted(*argv: str, said: Said | None = None) -> Wanted:
    return read(list(argv), said if said is not None else Said())


def config(*argv: str) -> Config:
    chosen = wanted(*argv)
    check_identity(chosen, Said())
    return to_config(chosen, Said())


def refusal(*argv: str) -> str:
    with pytest.raises(Refused) as caught:
        config(*argv)
    return str(caught.value)


def test_flags_alone():
    made = config("-node=a", "-bind=127.0.0.1", "-tag", "a=1", "-tag=b=x=y", "-role=web", "-profile=wan",
                  "-snapshot=/x", "-rejoin", "-disable-compression", "-protocol=4", "-broadcast-timeout=7s",
                  f"-encrypt={KEY}", "-discover=c", "-replay", "ignored", "-node=b")
    assert (made.node.name, made.network.bind, made.network.profile) == ("a", "127.0.0.1:7946", "wan")
    assert made.core == {
        "serf.tags": {"a": "1", "b": "x=y", "role": "web"}, "swim.compress": False, "serf.protocol": 4,
        "serf.rejoin_after_leave": True, "serf.broadcast_timeout_s": 7.0}
    assert (made.snapshot.path, made.encryption.key, made.discovery.cluster) == ("/x", KEY_BYTES, "c")
    assert made.join.replay and made.join.seeds == ()


@pytest.mark.parametrize("version", [0, -1])
def test_a_protocol_that_is_none_means_the_default(version):
    assert config(f"-protocol={version}").core["serf.protocol"] == 5


def test_without_flags_an_agent_is_where_serfs_is_found():
    made = config()
    assert (made.rpc.tcp, made.network.bind, made.leave.timeout_s) == ("127.0.0.1:7373", "0.0.0.0:7946", 3.0)
    assert made.leave.on_interrupt and not made.leave.on_terminate


def test_later_files_and_flags_win_but_nothing_is_taken_back(tmp_path):
    (tmp_path / "1.json").write_text('{"node_name": "one", "leave_on_terminate": true, "tags": {"a": "1", "b": "1"},'
                                     ' "start_join": ["x"], "retry_max_attempts": 3}')
    (tmp_path / "2.json").write_text('{"NODE_NAME": "two", "leave_on_terminate": false, "tags": {"b": "2"},'
                                     ' "start_join": ["y"], "retry_max_attempts": 0, "event_handlers": ["a.sh"]}')
    (tmp_path / "3.txt").write_text("not read")
    chosen = wanted(f"-config-dir={tmp_path}", "-join=z", "-tag=c=3", "-event-handler=user=b.sh")
    assert chosen.text("node_name") == "two" and chosen.switch("leave_on_terminate")
    assert chosen.tags == {"a": "1", "b": "2", "c": "3"}
    assert chosen.texts("start_join") == ["x", "y", "z"] and chosen.values["retry_max_attempts"] == 3
    assert [hook.script for hook in chosen.hooks] == ["a.sh", "b.sh"]


def test_the_order_on_the_command_line_is_the_order_of_files_and_directories(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.json").write_text('{"node_name": "dir"}')
    (tmp_path / "f").write_text('{"node_name": "file"}')
    first, second = f"-config-file={tmp_path / 'f'}", f"-config-dir={tmp_path / 'd'}"
    assert wanted(first, second).text("node_name") == "dir"
    assert wanted(second, first).text("node_name") == "file"
    assert wanted(f"-config-file={tmp_path / 'd'}", f"-config-dir={tmp_path / 'f'}").text("node_name") == "file"


def test_compression_is_only_switched_off_by_the_flag(tmp_path):
    (tmp_path / "x").write_text('{"enable_compression": false}')
    assert wanted(f"-config-file={tmp_path / 'x'}").compress
    assert not wanted("-disable-compression").compress


@pytest.mark.parametrize("flags, text", [
    (["-tag", "x"], "Error: Invalid tag: 'x'"),
    (["-tag", "=x"], "Error: Invalid tag: '=x'"),
    (["-retry-interval=10"], 'Error: time: missing unit in duration "10"'),
    (["-broadcast-timeout=x"], 'Error: time: invalid duration "x"'),
    (["-event-handler=bogus=x.sh"], "Invalid event script: Event 'bogus' invoking 'x.sh'"),
    (["-event-handler=FOO=1 x.sh"], "Invalid event script: Event 'FOO' invoking '1 x.sh'"),
    (["-iface=nope0"], "Invalid network interface: route ip+net: no such network interface"),
    (["-mdns-iface=lo"], "mDNS interface specified without enabling mDNS discovery"),
    (["-discover=x", "-mdns-iface=nope0"], "Invalid mDNS network interface: route ip+net: no such network interface"),
    (["-discover=x", "-mdns-iface=lo", "-mdns-disable-ipv4", "-mdns-disable-ipv6"],
     "Invalid mDNS configuration: both IPv4 and IPv6 are disabled"),
    (["-bind=127.0.0.1:99999"], "Invalid bind address: address 99999: invalid port"),
    (["-bind=::1"], "Invalid bind address: address ::1: too many colons in address"),
    (["-encrypt=zzz!"], "Invalid encryption key: illegal base64 data at input byte 3"),
    (["-profile=fast"], "Unknown profile: fast"),
    (["-bind=127.9.9.9", "-iface=lo"], "Interface 'lo' has no '127.9.9.9' address"),
    (["-rpc-addr=nonsense"], "Error starting RPC listener: listen tcp: address nonsense: missing port in address"),
])
def test_what_is_wrong_is_told_in_serfs_words(flags, text):
    assert refusal(*flags) == text


@pytest.mark.parametrize("flag", ["-advertise=1.2.3.4.5.6", "-advertise=1.2.3.4.5.6:9", "-bind=1.2.3.4.5.6:9"])
def test_of_an_address_that_is_not_found_only_the_host_is_told(flag):
    assert refusal(flag) == f"Invalid {flag[1:].partition('=')[0]} address: lookup 1.2.3.4.5.6: no such host"


def test_an_rpc_address_for_everybody_needs_a_key(tmp_path):
    assert "0.0.0.0:7373 can be reached from outside" in refusal("-rpc-addr=0.0.0.0:7373")
    (tmp_path / "x").write_text('{"rpc_auth": "s3cret"}')
    assert config("-rpc-addr=0.0.0.0:7373", f"-config-file={tmp_path / 'x'}").rpc.auth_key == "s3cret"


def test_events_larger_than_serf_can_send_are_refused(tmp_path):
    (tmp_path / "x").write_text('{"user_event_size_limit": 9217}')
    assert refusal(f"-config-file={tmp_path / 'x'}").endswith("user event size limit exceeds limit of 9216 bytes")


def test_warnings_come_in_serfs_order():
    said = Said()
    chosen = wanted("-role=web", "-retry-interval=10ms", "-broadcast-timeout=1ms", "-rejoin", said=said)
    assert said == [
        "Deprecation warning: 'Role' has been replaced with 'Tags'",
        "Warning: 'RetryInterval' is too low. Setting to 1s", "Warning: 'BroadcastTimeout' is too low. Setting to 1s",
        "Warning: 'RejoinAfterLeave' enabled without snapshot file"]
    assert to_config(chosen, Said()).core["serf.broadcast_timeout_s"] == 1.0


@pytest.mark.parametrize("text, level", [("", "INFO"), ("debug", "DEBUG"), ("Err", "ERR"), ("TRACE", "TRACE")])
def test_levels_are_words_in_any_case(text, level):
    assert log_level(Wanted({"log_level": text})) == level


def test_warning_is_no_level_of_serfs():
    with pytest.raises(Refused, match="Invalid log level: WARNING. Valid log levels are: "):
        log_level(Wanted({"log_level": "warning"}))


def test_an_interface_stands_for_its_first_address():
    said = Said()
    chosen = wanted("-iface=lo", "-bind=0.0.0.0:7950")
    check_identity(chosen, said)
    assert said == ["Using interface 'lo' address '127.0.0.1'"] and chosen.text("bind") == "127.0.0.1:7950"


def test_an_advertised_address_without_a_port_gets_serfs_port():
    chosen = wanted("-bind=127.0.0.1:7950", "-advertise=127.0.0.2")
    check_identity(chosen, Said())
    assert chosen.text("advertise") == "127.0.0.2:7946"


def test_discovery_is_on_the_interface_of_the_agent_unless_told():
    assert config("-discover=c", "-iface=lo", "-bind=127.0.0.1").discovery.interfaces == ("lo",)
    assert config("-discover=c", "-iface=lo", "-mdns-iface=lo", "-bind=127.0.0.1").discovery.interfaces == ("lo",)
    assert config("-discover=c", "-bind=127.0.0.1").discovery.interfaces == ()


def test_what_has_no_effect_is_said(tmp_path):
    (tmp_path / "x").write_text('{"statsd_addr": "127.0.0.1:8125"}')
    assert unsupported(wanted(f"-config-file={tmp_path / 'x'}")) == ["statsd_addr: gossipd sends nothing to statsd"]


def test_an_address_that_nobody_can_reach_is_not_advertised_and_that_is_said():
    chosen = wanted("-advertise=0.0.0.0")
    check_identity(chosen, Said())
    assert unsupported(chosen) == ["advertise: '0.0.0.0:7946' is a wildcard"]
    assert to_config(chosen, Said()).network.advertise == ""


@pytest.mark.parametrize("path", ["/dev/zero", "/"])
def test_what_is_no_file_is_told_at_once(tmp_path, path):
    link = tmp_path / "file.json"
    link.symlink_to(path)
    assert "Failed to read tags file: " in refusal(f"-tags-file={link}")
    assert "Failed to read keyring file: " in refusal(f"-keyring-file={link}")


def test_binding_where_nobody_can_reach_is_done():
    assert config("-bind=224.0.0.1").network.bind == "224.0.0.1:7946"


def test_a_configuration_that_is_no_file_cannot_be_read():
    assert refusal("-config-file=/dev/zero") == "Error reading '/dev/zero': open /dev/zero: is not a regular file"


def test_unknown_flags_are_errors_of_flags():
    with pytest.raises(FlagError, match="-bogus"):
        wanted("-bogus")


# files of tags and keys

def test_tags_from_a_file_replace_those_of_the_agent(tmp_path):
    path = tmp_path / "tags.json"
    made = config(f"-tags-file={path}")
    assert (made.core.get("serf.tags"), made.node.tags_file) == (None, str(path))
    path.write_text('{"b": "<x>", "a": "1"}')
    said = Said()
    assert to_config(wanted(f"-tags-file={path}"), said).core["serf.tags"] == {"a": "1", "b": "<x>"}
    assert said == [f"Restored 2 tag(s) from {path}"]
    assert refusal(f"-tags-file={path}", "-tag", "a=b") == \
        "Failed to setup the Serf agent: Tags config not allowed while using tag files"


@pytest.mark.parametrize("text, wrong", [
    ('["a"]', "Failed to decode tags file: json: cannot unmarshal array"),
    ('{"a": 1}', "Failed to decode tags file: json: cannot unmarshal number"),
    ("{", "Failed to decode tags file: "),
    ("{} x", "Failed to decode tags file: "),
    ("\ufeff{}", "Failed to decode tags file: "),
])
def test_a_bad_tags_file_is_told_in_serfs_words(tmp_path, text, wrong):
    path = tmp_path / "tags.json"
    path.write_text(text)
    assert refusal(f"-tags-file={path}").startswith(f"Failed to setup the Serf agent: {wrong}")


@pytest.mark.parametrize("text, tags", [
    ("null", {}), ("{}", {}), ('{"a": ""}', {"a": ""}), ('{"a": null}', {"a": ""}), ('{"": "x"}', {"": "x"})])
def test_tags_files_that_are_fine(tmp_path, text, tags):
    path = tmp_path / "tags.json"
    path.write_text(text)
    assert read_tags_file(str(path)) == tags


@pytest.mark.parametrize("text, wrong", [
    ("[]", "Keyring file contains no keys"), ("null", "Keyring file contains no keys"),
    ("{}", "Failed to decode keyring file: json: cannot unmarshal object into Go value of type []string"),
    ('["zzz!"]', "Failed to decode key from keyring: illegal base64 data at input byte 3"),
    ('["YWJj"]', "Failed to restore keyring: key size must be 16, 24 or 32 bytes"),
    ('["YWJj", ""]', "Failed to restore keyring: key size must be 16, 24 or 32 bytes"),
    ('["!", 5]', "Failed to decode keyring file: json: cannot unmarshal number into Go value of type string"),
    ('[["x"]]', "Failed to decode keyring file: json: cannot unmarshal array into Go value of type string"),
    ('["", "x"]', "Failed to decode key from keyring: illegal base64 data at input byte 0"),
    ('[null]', "Failed to restore keyring: Empty primary key not allowed"),
    ('["\\ud800"]', "Failed to decode key from keyring: illegal base64 data at input byte 0"),
])
def test_a_bad_keyring_file_is_told_in_serfs_words(tmp_path, text, wrong):
    path = tmp_path / "keys.json"
    path.write_text(text)
    assert refusal(f"-keyring-file={path}") == f"Failed to setup the Serf agent: {wrong}"


def test_a_keyring_file_has_to_be_there(tmp_path: Path):
    path = tmp_path / "keys.json"
    assert refusal(f"-keyring-file={path}") == f"Failed to setup the Serf agent: stat {path}: no such file or directory"
    path.write_text(f'["{KEY}"]')
    assert read_keyring_file(str(path)) == [KEY_BYTES]
    assert config(f"-keyring-file={path}").encryption.keyring_file == str(path)
