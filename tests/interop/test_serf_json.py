"""Serf's configuration files: what a Serf agent takes gossipd takes as it is, and both keep the same tags file."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gossipd.daemon.main import EXIT_CONFIG, main
from tests.support.processes import START_S, Agent, Lab, free_host
from tests.support.require import ROOT, need_serf

PORT, RPC_PORT = random.Random().sample(range(20_000, 30_000), 2)     # below those that the system gives away
KEY = "AAECAwQFBgcICQoLDA0ODw=="
SOON_S = 15.0
RUNS = "Serf agent running!"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(need_serf("Serf's configuration files beside Serf")) as lab:
        yield lab


# --- the tags file

SPECIAL = {"role": "web", "html": "<a & b>", "lines": "a\nb\tc\b\f\x7f\u2028", "ümlaut": "\"\\"}


def as_serf(lab: Lab, file: Path, host: str) -> Agent:
    return lab.serf("x", host, options=[f"-config-file={file}"])


def as_gossipd(lab: Lab, file: Path, host: str) -> Agent:
    return lab.gossipd("x", host, options=["--config", str(file)])


@pytest.mark.parametrize(("first", "second"), [(as_serf, as_gossipd), (as_gossipd, as_serf)])
def test_a_tags_file_is_taken_over_with_the_same_configuration(lab, first, second):
    tags_file, file, host = lab.directory / "tags.json", lab.directory / "serf.json", free_host()
    file.write_text(json.dumps({"Tags_File": str(tags_file), "interface": ""}))
    agent = first(lab, file, host)
    agent.start()
    assert not tags_file.exists()
    agent.set_tags(SPECIAL)
    agent.kill()
    other = second(lab, file, host)
    other.start()
    assert other.members()["x"].tags == SPECIAL
    other.set_tags({"new": "1"}, ["role"])
    changed = {**SPECIAL, "new": "1"}
    del changed["role"]
    assert json.loads(tags_file.read_text()) == changed and tags_file.stat().st_mode & 0o777 == 0o600
    other.kill()
    again = first(lab, file, host)
    again.start()
    assert again.members()["x"].tags == changed


def test_both_write_the_same_bytes(lab):
    written = []
    for number, kind in enumerate((as_serf, as_gossipd)):
        tags_file, file = lab.directory / f"tags{number}.json", lab.directory / "serf.json"
        file.write_text(json.dumps({"tags_file": str(tags_file)}))
        agent = kind(lab, file, free_host())
        agent.start()
        agent.set_tags(SPECIAL)
        written.append(tags_file.read_bytes())
        agent.set_tags({}, list(SPECIAL))
        written.append(tags_file.read_bytes())
        agent.kill()
    assert written[:2] == written[2:] and written[1] == b"{}"


# --- what is taken and what is refused


class Outcomes:
    """Starts an agent of Serf's and one of ours with the same file."""

    def __init__(self, directory: Path, program: str, stack: ExitStack) -> None:
        self.file = directory / "serf.json"
        self._directory, self._program, self._stack = directory, program, stack

    def of_serf(self) -> str:
        """Its first lines, up to the one that says that it runs; all of them if it ends."""
        return self._output([self._program, "agent", f"-config-file={self.file}"], RUNS)

    def of_gossipd(self) -> str:
        return self._output(
            [sys.executable, "-m", "gossipd", "--config", str(self.file),
             "--rpc-socket", str(self._directory / "rpc.sock")], "rpc at ")

    def of_the_alias(self) -> str:
        return self._output([sys.executable, "-m", "gossipd.serfcli", "agent", f"-config-file={self.file}"], RUNS)

    def _output(self, argv: list[str], until: str) -> str:
        process = self._stack.enter_context(subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        patience = threading.Timer(START_S, process.kill)
        patience.start()
        said = ""
        try:
            assert process.stdout is not None
            for line in process.stdout:
                said += line
                if until in line:
                    break
        finally:
            patience.cancel()
            process.kill()
            process.wait()
        return said


@pytest.fixture
def outcomes(tmp_path: Path) -> Iterator[Outcomes]:
    with ExitStack() as stack:
        yield Outcomes(tmp_path, need_serf("Serf's configuration files beside Serf"), stack)


@pytest.fixture
def checked(capsys: pytest.CaptureFixture[str]) -> Callable[[Path], tuple[bool, str]]:
    """Does `gossipd --check` take a file, and what does it say?"""

    def check(file: Path) -> tuple[bool, str]:
        code = main(["--check", "--config", str(file)])
        assert code in (0, EXIT_CONFIG)
        return code == 0, capsys.readouterr().err

    return check


EVERY_KEY = {
    "node_name": "everything", "advertise": "127.0.0.1:7000", "interface": "lo", "discover": "", "encrypt_key": KEY,
    "event_handlers": ["user:deploy=true", "member-join,member-leave=true", "*=A=1 true", "true"], "start_join": [],
    "replay_on_join": True, "retry_join": ["192.0.2.1", "a.example:7946", "n/192.0.2.2:1", "[2001:db8::1]:7"],
    "retry_interval": "1m30s", "retry_max_attempts": 3, "rejoin_after_leave": True, "log_level": "Info",
    "profile": "local", "protocol": 4, "role": "", "rpc_auth": "secret", "enable_syslog": False,
    "syslog_facility": "LOCAL3", "broadcast_timeout": "2.5s", "enable_compression": False, "leave_on_terminate": True,
    "skip_leave_on_interrupt": True, "reconnect_interval": "20s", "reconnect_timeout": "48h",
    "tombstone_timeout": "12h", "disable_name_resolution": True, "query_response_size_limit": 2048,
    "query_size_limit": 2049, "user_event_size_limit": 600, "statsd_addr": "127.0.0.1:8125", "statsite_addr": "",
    "disable_coordinates": True,
}


@pytest.mark.parametrize("spelled", [str.lower, str.upper, str.title])
def test_a_file_with_every_key_starts_all_three(outcomes, tmp_path, spelled):
    (tmp_path / "keys").write_text(json.dumps([KEY]))
    for number, files in enumerate(({"tags": {"a": "b"}}, {"tags_file": str(tmp_path / "tags")})):
        values = {**EVERY_KEY, **files, "snapshot_path": str(tmp_path / f"snapshot{number}"),
                  "bind": f"127.0.0.1:{PORT}", "rpc_addr": f"127.0.0.1:{RPC_PORT}"}
        if number:
            del values["encrypt_key"]
            values["keyring_file"] = str(tmp_path / "keys")
        outcomes.file.write_text(json.dumps({spelled(key): value for key, value in values.items()}))
        assert RUNS in outcomes.of_serf()
        assert RUNS in outcomes.of_the_alias()
        assert f"node everything at 127.0.0.1:{PORT}, rpc at " in outcomes.of_gossipd()


@pytest.mark.parametrize(("values", "words"), [
    ({"interface": "lo", "bind": "127.9.9.9"}, "Interface 'lo' has no '127.9.9.9' address"),
    ({"interface": "lo", "bind": f"[::]:{PORT}"}, "Interface 'lo' has no '::' address"),
    ({"interface": "nope0"}, "no such network interface"),
])
def test_an_interface_that_does_not_fit_is_refused_by_all_three_in_the_same_words(outcomes, values, words):
    outcomes.file.write_text(json.dumps(
        {"node_name": "x", "bind": f"0.0.0.0:{PORT}", "rpc_addr": f"127.0.0.1:{RPC_PORT}", **values}))
    for said in (outcomes.of_serf(), outcomes.of_the_alias(), outcomes.of_gossipd()):
        assert words in said


@pytest.mark.parametrize("bind", [f"0.0.0.0:{PORT}", f"127.0.0.1:{PORT}"])
def test_an_interface_gives_all_three_the_same_address(outcomes, bind):
    outcomes.file.write_text(json.dumps(
        {"node_name": "x", "bind": bind, "interface": "lo", "rpc_addr": f"127.0.0.1:{RPC_PORT}"}))
    using = "Using interface 'lo' address '127.0.0.1'\n"
    for said in (outcomes.of_serf(), outcomes.of_the_alias()):
        assert RUNS in said and (using in said) == bind.startswith("0.")
    assert f"node x at 127.0.0.1:{PORT}, rpc at " in outcomes.of_gossipd()


BASE = {"node_name": "x", "bind": f"127.0.0.1:{PORT}", "rpc_addr": f"127.0.0.1:{RPC_PORT}"}
SMALL = [
    {"tags": {"": "x"}}, {"tags": {"a": None}}, {"tags": {"a": 1}}, {"tags": []}, {"tags": {"big": 600 * "x"}},
    {"advertise": "0.0.0.0"}, {"advertise": "224.0.0.1"}, {"advertise": "255.255.255.255"},
    {"advertise": "127.0.0.1:0"}, {"advertise": ":7950"}, {"advertise": ""}, {"advertise": "a b"},
    {"bind": f"224.0.0.1:{PORT}"}, {"bind": f"255.255.255.255:{PORT}"},
    {"bind": "127.0.0.1:99999"}, {"bind": "a b"}, {"bind": f":{PORT}"},
    {"bind": f"localhost:{PORT}"}, {"retry_join": ["a b"]}, {"retry_join": [""]}, {"retry_join": ["h:99999"]},
    {"retry_join": ["/x"]}, {"retry_join": "a"}, {"retry_join": {}}, {"retry_join": None}, {"retry_join": [1]},
    {"query_size_limit": 20_000_000}, {"query_size_limit": -1}, {"query_response_size_limit": 1 << 40},
    {"user_event_size_limit": -1}, {"user_event_size_limit": 9217}, {"user_event_size_limit": 1e3},
    {"reconnect_interval": "1ms"}, {"reconnect_interval": "-1s"}, {"reconnect_interval": "5"},
    {"tombstone_timeout": "1ns"}, {"reconnect_timeout": 5}, {"retry_max_attempts": -5}, {"retry_interval": "+5s"},
    {"retry_interval": " 5s"}, {"retry_interval": ""}, {"retry_interval": "1us"}, {"retry_interval": "300000h"},
    {"protocol": 4.9}, {"protocol": 6}, {"protocol": 1}, {"protocol": -1}, {"protocol": True},
    {"leave_on_terminate": 1}, {"leave_on_terminate": None}, {"node_name": None}, {"node_name": 5},
    {"syslog_facility": "BOGUS"}, {"statsd_addr": "nonsense"}, {"log_level": "LOUD"}, {"log_level": "Trace"},
    {"profile": "fast"}, {"encrypt_key": KEY + "\n"}, {"encrypt_key": "AAEC"}, {"encrypt_key": "?"},
    {"event_handlers": [""]}, {"event_handlers": ["=x"]}, {"event_handlers": ["bogus=x"]},
    {"keyring_file": "/nonexistent"}, {"role": "web"}, {"unknown": 1}, {"tags": {"a": "b"}, "tags_file": "/x"},
    {"role": "web", "tags_file": "/x"}, {"tags_file": "/dev"}, {"snapshot_path": ""},
]
TEXTS = [
    "null", "{}", "[]", "", " ", "5", '{"node_name": "x"} trailing {', "// why\n{}", '{"node_name": "x" /* why */}',
    '{"node_name": "x",}', "{'node_name': 'x'}", "\ufeff{}", '{\r\n"node_name":\r\n"x"}\r\n', '{"node_name": "a\tb"}',
    '{"node_name": "\\ud800"}', '{"node_name": "a\0b"}', '{"protocol": NaN}', '{"protocol": 04}',
]


@pytest.mark.parametrize("values", SMALL, ids=lambda values: json.dumps(values)[:60])
def test_gossipd_takes_the_values_that_serf_takes_and_no_others(outcomes, checked, values):
    outcomes.file.write_text(json.dumps({**BASE, **values}))
    taken, said = checked(outcomes.file)
    assert (RUNS in outcomes.of_serf()) == taken, said
    assert taken or said.count("\n") == 1


@pytest.mark.parametrize("text", TEXTS)
def test_gossipd_takes_the_texts_that_serf_takes_and_no_others(outcomes, checked, text):
    first, second = outcomes.file, outcomes.file.with_name("x.json")
    second.write_text(text)
    taken, said = checked(second)
    argv = [need_serf(""), "agent", f"-config-file={first}", f"-config-file={second}"]
    first.write_text(json.dumps(BASE))
    assert (RUNS in outcomes._output(argv, RUNS)) == taken, said
    assert taken or said.startswith(f"gossipd: {second}:")
