"""gossipctl as people and scripts see it: output, errors in one line, exit codes."""

from __future__ import annotations

import io
import json
import sys

import pytest

from gossipd.client import Unreachable
from gossipd.commands import ForceLeave, SetTags
from gossipd.ctl.table import COMMANDS
from gossipd.events import MemberEvent, QueryEvent, UserEvent
from tests.unit.ctl.daemon import a_daemon
from tests.unit.rpc.fakes import a_member

SUSPECT = a_member("delta", 14, state="suspect", incarnation=7, changed=-3600.0, reason="beta: no ack", rtt_s=0.00042)


# --- members ---

def test_members_are_a_table_sorted_by_name(ctl, daemon):
    daemon.backend.member_list.reverse()
    assert ctl("members") == (0, (
        "NAME   ADDRESS          STATUS  TAGS\n"
        "alpha  192.0.2.11:7946  alive   dc=east,role=web\n"
        "beta   192.0.2.12:7946  alive   role=db\n"
        "gamma  192.0.2.13:7946  alive\n"), "")


def test_a_suspect_is_shown_and_found_as_suspect(ctl, daemon):
    daemon.backend.member_list.append(SUSPECT)
    assert "delta  192.0.2.14:7946  suspect\n" in ctl("members")[1]
    assert ctl("members", "--status", "suspect", "-o", "name") == (0, "delta\n", "")


def test_wide_shows_what_only_gossipd_knows(ctl, daemon):
    daemon.backend.member_list[:] = [SUSPECT]
    heading, row = ctl("members", "-o", "wide")[1].splitlines()
    assert heading.split() == [
        "NAME", "ADDRESS", "STATUS", "SINCE", "INCARNATION", "RTT", "PROTOCOL", "TAGS", "REASON"]
    assert row.split()[:3] == ["delta", "192.0.2.14:7946", "suspect"]
    assert row.split()[4:] == ["7", "0.4ms", "5", "-", "beta:", "no", "ack"]


def test_filters_go_to_the_daemon(ctl):
    assert ctl("members", "--tag", "role=web|db", "--tag=dc=.*", "-oname")[1] == "alpha\nbeta\n"
    assert ctl("-o", "name", "members")[0] == 2
    assert ctl("members", "--name", "g.*", "-o=name")[1] == "gamma\n"


def test_no_match_is_exit_3_and_still_json(ctl):
    assert ctl("members", "--name", "nobody") == (3, "", "gossipctl: no member matches\n")
    code, out, _ = ctl("members", "--name", "nobody", "-o", "json")
    assert (code, json.loads(out)) == (3, {"members": []})


def test_a_bad_expression_is_named(ctl):
    code, out, err = ctl("members", "--status", "alive", "--name", "(x")
    assert (code, out, err) == (1, "", "gossipctl: expression '(x': missing closing )\n")


def test_json_has_every_key_whoever_answers(ctl, daemon):
    daemon.backend.member_list[:] = [SUSPECT]
    assert json.loads(ctl("members", "-o", "json")[1]) == {"members": [{
        "name": "delta", "host": "192.0.2.14", "port": 7946, "address": "192.0.2.14:7946", "status": "alive",
        "tags": {},
        "protocol": {"min": 2, "max": 5, "version": 5}, "state": "suspect", "since": "2023-11-14T21:13:20.000Z",
        "reason": "beta: no ack", "incarnation": 7, "rtt_ms": 0.42}]}
    assert [json.loads(line)["name"] for line in ctl("members", "-o", "jsonl")[1].splitlines()] == ["delta"]


def test_a_name_cannot_command_the_terminal(ctl, daemon):
    daemon.backend.member_list[:] = [a_member("\x1b[2Jevil\n\udcff\u202e", 1)]
    assert ctl("members", "-o", "name")[1] == "\\x1b[2Jevil\\x0a\\xff\\u202e\n"
    assert ctl("members")[1].isascii()
    assert json.loads(ctl("members", "-o", "json")[1])["members"][0]["name"] == "\x1b[2Jevil\n\\xff\u202e"


class Terminal(io.TextIOWrapper):
    def __init__(self):
        super().__init__(io.BytesIO(), encoding="utf-8")

    def isatty(self):
        return True


@pytest.mark.parametrize(("environment", "colored"), [
    ({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colors_are_for_terminals_that_want_them(ctl, daemon, monkeypatch, environment, colored):
    daemon.backend.member_list.append(a_member("omega", 15, "failed"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    ctl("members")
    written = terminal.buffer.getvalue().decode()
    assert ("\x1b[31mfailed" in written) == colored
    assert ("\x1b" in written) == colored


# --- join, leave, force-leave, tags ---

def test_join_says_how_many_answered(ctl, daemon):
    daemon.backend.join_outcome = (2, "")
    assert ctl("join", "--replay", "a", "b") == (0, "joined through 2 of 2 addresses\n", "")
    assert daemon.backend.joins == [(["a", "b"], True)]


def test_a_join_through_some_is_exit_4(ctl, daemon):
    code, out, err = ctl("join", "a", "b")
    assert code == 4 and out.startswith("joined through 1 of 2") and err.count("\n") == 1


def test_a_failed_join_is_one_line_with_every_reason(ctl, daemon):
    daemon.backend.join_outcome = (0, "2 errors occurred:\n\t* Failed to join a: x\n\t* Failed to join b: y\n\n")
    assert ctl("join", "a", "b") == (1, "", "gossipctl: could not join: Failed to join a: x; Failed to join b: y\n")


def test_leave_says_so(ctl):
    assert ctl("leave") == (0, "left the cluster\n", "")


def test_force_leave_knows_the_names(ctl, daemon):
    daemon.backend.member_list.append(a_member("omega", 15, "failed"))
    assert ctl("force-leave", "--prune", "omega") == (0, "'omega' pruned\n", "")
    assert daemon.backend.commands == [ForceLeave(1, "omega", True)]
    assert ctl("force-leave", "omgea") == (3, "", "gossipctl: no member is called 'omgea'; did you mean 'omega'?\n")


@pytest.mark.parametrize(("words", "expected"), [
    (["join", "a", "b"], {"addresses": 2, "contacted": 1}),
    (["leave"], {"left": True}),
    (["force-leave", "--prune", "omega"], {"name": "omega", "pruned": True}),
    (["event", "deploy\x9b"], {"name": "deploy\x9b"}),
    (["respond", "7"], {"query": 7}),
    (["tags", "set", "a=b"], {"tags": {"role": "web"}, "bytes": 11, "bytes_max": 512}),
    (["tags", "unset", "a"], {"tags": {"role": "web"}, "bytes": 11, "bytes_max": 512}),
])
def test_what_changes_something_answers_in_json_too(ctl, daemon, words, expected):
    daemon.backend.tags = {"role": "web"}
    daemon.backend.member_list.append(a_member("omega", 15, "failed"))
    assert json.loads(ctl(*words, "-o", "json")[1]) == expected


def test_tags_are_shown_and_changed(ctl, daemon):
    daemon.backend.tags = {"role": "web"}
    assert ctl("tags", "set", "n=1", "dc=") == (0, "tags take 11 of 512 bytes\n", "")
    assert ctl("tags", "unset", "dc") == (0, "tags take 11 of 512 bytes\n", "")
    assert ctl("tags", "list") == (0, "KEY   VALUE\nrole  web\n\ntags take 11 of 512 bytes\n", "")
    assert json.loads(ctl("tags", "list", "-o", "json")[1]) == {"tags": {"role": "web"}, "bytes": 11, "bytes_max": 512}
    assert daemon.backend.commands == [SetTags(1, {"dc": "", "n": "1"}), SetTags(2, {}, ["dc"])]
    for wrong in (["tags"], ["tags", "set"], ["tags", "list", "x"], ["tags", "set", "novalue"], ["tags", "drop", "x"]):
        assert ctl(*wrong)[0] == 2
    daemon.backend.refuse = "Encoded length of tags exceeds limit of 512 bytes"
    assert ctl("tags", "set", "n=1") == (1, "", f"gossipctl: {daemon.backend.refuse}\n")


def test_an_error_is_one_line_whatever_its_text(ctl, daemon):
    daemon.backend.refuse = "no\n\tway \x1b[2J\n"
    assert ctl("tags", "set", "n=1") == (1, "", "gossipctl: no way \\x1b[2J\n")


# --- info ---

def test_info_is_sorted_text_or_json(ctl):
    assert ctl("info")[1] == "agent\n  name  alpha\nserf\n  members  3\ntags\n"
    assert json.loads(ctl("info", "-o", "json")[1])["serf"] == {"members": "3"}


# --- events ---

HAPPENED = [
    MemberEvent("member-failed", [a_member("gamma", 13, "failed")]),
    UserEvent("deploy", b"v1 \xc3\xa9", 7, True),
    UserEvent("raw", b"\xff\x00", 8, False),
    QueryEvent(77, "load", None, 3, "beta", 9.0),
]


def test_events_are_a_line_each_until_the_daemon_goes(ctl, daemon):
    daemon.events = HAPPENED
    code, out, err = ctl("events")
    assert code == 6 and "closed the connection" in err
    assert [line.split()[1:] for line in out.splitlines()] == [
        ["member-failed", "gamma", "192.0.2.13:7946"], ["user", "deploy", "v1", "é"], ["user", "raw", "\\xff\\x00"],
        ["query", "load"]]


def test_events_as_json_lines(ctl, daemon):
    daemon.events = HAPPENED
    failed, deploy, raw, load = map(json.loads, ctl("events", "-o", "jsonl", "--count", "4")[1].splitlines())
    assert failed["event"] == "member-failed" and failed["members"][0]["status"] == "failed"
    assert {key: deploy[key] for key in deploy if key != "time"} == {
        "event": "user", "name": "deploy", "payload": "v1 é", "payload_base64": None, "ltime": 7, "coalesce": True}
    assert (raw["payload"], raw["payload_base64"]) == (None, "/wA=")
    assert (load["payload"], load["payload_base64"], load["id"]) == (None, None, 1)


def test_events_can_be_counted_and_chosen(ctl, daemon):
    daemon.events = HAPPENED
    code, out, _ = ctl("events", "--type", "user:raw", "--type", "query", "--count", "2")
    assert code == 0 and [line.split()[1] for line in out.splitlines()] == ["user", "query"]


def test_an_unknown_kind_of_event_is_wrong_usage(ctl):
    code, _, err = ctl("events", "--type", "bogus")
    assert code == 2 and "bogus" in err


# --- the command line ---

@pytest.mark.parametrize("words", [
    [], ["bogus"], ["members", "--bogus"], ["members", "extra"], ["join"], ["force-leave", "a", "b"],
    ["leave", "--replay"],
    ["members", "-o", "xml"], ["members", "--name"], ["members", "--help=yes"], ["members", "--timeout", "soon"],
    ["members", "--timeout", "0"], ["members", "--rpc-socket", "/a", "--rpc-addr", "b:1"], ["members", "--tag", "x"],
    ["events", "--count", "0"], ["help", "bogus"], ["-x"], ["members", "-"],
])
def test_wrong_usage_is_one_line_and_exit_2(ctl, words):
    code, out, err = ctl(*words)
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith("gossipctl: ")


@pytest.mark.parametrize("words", [["keys", "bogus"], ["keys", "list", "x"], ["keys", "list", ""], ["keys", "use"],
                                   ["keys", "bogus", "x"], ["tags", "bogus"], ["tags", "list", "x"], ["tags", "set"]])
def test_wrong_usage_is_told_before_a_daemon_is_looked_for(ctl, words):
    assert ctl(*words, "--rpc-socket", "/nowhere/rpc.sock")[0] == 2


def test_a_mistyped_word_is_answered_with_the_nearest(ctl):
    assert "did you mean members?" in ctl("membres")[2]
    assert "did you mean --status?" in ctl("members", "--statsu", "x")[2]
    assert "did you mean members?" in ctl("help", "membres")[2]
    assert ctl("-o", "json", "members")[2] == '{"error": "option -o stands after the command", "exit_status": 2}\n'


@pytest.mark.parametrize("words", [["events", "--count"], ["respond"], ["query", "x", "--relay-factor"]])
def test_a_number_of_thousands_of_digits_is_wrong_usage(ctl, words):
    code, _, err = ctl(*words, "9" * 5000)
    assert code == 2 and err.startswith("gossipctl: ")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help_names_every_command(ctl, words):
    code, out, _ = ctl(*words)
    assert code == 0 and all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_options_and_examples(ctl, name):
    code, out, err = ctl(name, "--help")
    assert (code, err) == (0, "") and ctl("help", name)[1] == out
    assert "Examples:\n" in out and f"  gossipctl {name}" in out
    assert all(option.names[-1] in out for option in COMMANDS[name].options)
    assert max(map(len, out.splitlines())) <= 100


def test_version(ctl):
    assert ctl("--version")[1].startswith("gossipctl ")


# --- finding the daemon ---

def test_options_for_the_daemon_stand_before_or_after_the_command(ctl, daemon, monkeypatch):
    monkeypatch.setenv("GOSSIPCTL_RPC", "/nowhere/rpc.sock")
    assert ctl("--rpc-socket", daemon.path, "members")[0] == 0
    assert ctl("members", f"--rpc-socket={daemon.path}")[0] == 0
    assert ctl("members")[0] == 6


def test_a_daemon_that_is_not_there_is_exit_6_with_advice(ctl):
    code, out, err = ctl("members", "--rpc-socket", "/nowhere/rpc.sock")
    assert (code, out, err.count("\n")) == (6, "", 1) and "/nowhere/rpc.sock" in err and "--rpc-socket" in err
    assert ctl("members", "--rpc-addr", "127.0.0.1:1")[0] == 6
    assert "Is gossipd running?" in err


def test_who_may_not_open_the_socket_is_told_where_that_is_set(ctl, monkeypatch):
    def refuse(*words, **options):
        raise Unreachable("/run/gossipd/rpc.sock: Permission denied")

    monkeypatch.setattr("gossipd.ctl.main.Client", refuse)
    assert ctl("members")[2] == ("gossipctl: /run/gossipd/rpc.sock: Permission denied. [rpc] in gossipd.toml(5) says "
                                 "who may use it\n")


def test_a_port_that_is_none_is_exit_6(ctl):
    assert ctl("members", "--rpc-addr", "127.0.0.1:http")[0] == 6


def test_without_any_word_the_users_own_socket_is_tried(ctl, monkeypatch, tmp_path):
    monkeypatch.delenv("GOSSIPCTL_RPC")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("gossipd.paths.SYSTEM_SOCKET", str(tmp_path / "no"))
    assert f"{tmp_path}/gossipd/rpc.sock" in ctl("members")[2]


def test_an_answer_that_is_nonsense_is_one_line_and_no_traceback(ctl, daemon):
    daemon.backend.stats = lambda: {"agent": 7}
    assert ctl("info") == (1, "", "gossipctl: unexpected: AttributeError: 'int' object has no attribute 'items'\n")
    assert json.loads(ctl("info", "-o", "json")[2])["exit_status"] == 1


# --- keys ---

def test_a_key_is_asked_for_and_checked(ctl, tmp_path, monkeypatch):
    with a_daemon(tmp_path / "locked.sock", auth_key="s3cret") as locked:
        where = "--rpc-socket", locked.path
        assert ctl("members", *where) == (1, "", "gossipctl: Authentication required\n")
        assert ctl("members", *where, "--rpc-auth", "x") == (1, "", "gossipctl: Invalid authentication token\n")
        assert ctl("members", *where, "--rpc-auth", "s3cret")[0] == 0
        monkeypatch.setenv("GOSSIPCTL_RPC_AUTH", "s3cret")
        assert ctl("members", *where)[0] == 0
