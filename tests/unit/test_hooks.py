from __future__ import annotations

import pytest

from gossipd.errors import ConfigError
from gossipd.events import MemberEvent, MemberInfo, QueryEvent, UserEvent
from gossipd.hooks import Hook, describe, parse_spec, standard_input, variable_name, variables

DEPLOY = UserEvent("deploy", b"v2", 7, False)
LOAD = QueryEvent(1, "load", None, 9, "beta", 9.0)
JOINED = MemberEvent("member-join")


def member(name: str = "bea", addr: bytes = bytes((192, 0, 2, 11)), **tags: str) -> MemberInfo:
    return MemberInfo(name, addr, 7946, tags, "alive", bytes(6))


def filters(spec: str) -> list[tuple[str, str]]:
    return [one for hook in parse_spec(spec) for one in hook.filters]


@pytest.mark.parametrize(("spec", "found", "script"), [
    ("x.sh", [("*", "")], "x.sh"),
    ("=x.sh", [("*", "")], "x.sh"),
    ("*=FOO=1 x.sh", [("*", "")], "FOO=1 x.sh"),
    ("member-join,user:deploy=x.sh", [("member-join", ""), ("user", "deploy")], "x.sh"),
    ("user:=x.sh", [("user", "")], "x.sh"),
    ("query:load=cat /proc/loadavg", [("query", "load")], "cat /proc/loadavg"),
    ("user:a:b=x.sh", [("user", "a:b")], "x.sh"),
    ("user=", [("user", "")], ""),
])
def test_a_spec_is_split_at_the_first_equals_sign(spec, found, script):
    assert filters(spec) == found and {hook.script for hook in parse_spec(spec)} == {script}


@pytest.mark.parametrize(("spec", "said"), [    # vectors/cli/agent-handler-invalid*.txt
    ("bogus=x.sh", "Event 'bogus' invoking 'x.sh'"),
    ("foo:bar=x.sh", "Event 'foo:bar' invoking 'x.sh'"),
    ("user:x,member-foo=x.sh", "Event 'member-foo' invoking 'x.sh'"),
    ("FOO=1 x.sh", "Event 'FOO' invoking '1 x.sh'"),
    ("user, query=x.sh", "Event ' query' invoking 'x.sh'"),
    ("User=x.sh", "Event 'User' invoking 'x.sh'"),
    (",=x.sh", "Event '' invoking 'x.sh'"),
])
def test_a_bad_filter_is_refused_with_serfs_words(spec, said):
    with pytest.raises(ConfigError) as refusal:
        parse_spec(spec)
    assert str(refusal.value) == f"Invalid event script: {said}"


def test_each_filter_of_a_spec_runs_the_script_for_itself():
    assert [hook.wants(DEPLOY) for hook in parse_spec("*,user,query=x.sh")] == [True, True, False]


def test_a_hook_of_several_filters_runs_once():
    hook = Hook((("user", "deploy"), ("query", ""), ("member-join", "")), "x.sh")
    assert [hook.wants(event) for event in (DEPLOY, LOAD, JOINED, MemberEvent("member-leave"))] == [
        True, True, True, False]


def test_stats_name_handlers_as_serf_does():
    hooks = (*parse_spec("user:deploy,member-join=a"), *parse_spec("b"), *parse_spec("member-join=c"))
    assert describe(hooks) == {"user:deploy": "a", "*:": "b", "member-join:": "c"}


def test_the_environment_of_a_user_event():
    assert variables(DEPLOY, "ann", {"role": "web", "dc": ""}) == {
        b"SERF_EVENT": b"user", b"SERF_SELF_NAME": b"ann", b"SERF_SELF_ROLE": b"web",
        b"SERF_TAG_DC": b"", b"SERF_TAG_ROLE": b"web",
        b"SERF_USER_EVENT": b"deploy", b"SERF_USER_LTIME": b"7",
    }


def test_the_environment_of_a_query():
    assert variables(LOAD, "ann", {}) == {
        b"SERF_EVENT": b"query", b"SERF_SELF_NAME": b"ann", b"SERF_SELF_ROLE": b"",
        b"SERF_QUERY_NAME": b"load", b"SERF_QUERY_LTIME": b"9",
    }


def test_a_role_is_there_even_when_empty_but_its_tag_only_when_set():
    assert variables(JOINED, "ann", {}) == {
        b"SERF_EVENT": b"member-join", b"SERF_SELF_NAME": b"ann", b"SERF_SELF_ROLE": b""}


def test_names_and_values_are_bytes_in_the_environment():
    found = variables(UserEvent("d\udcff", None, 1, False), "n\t\udcfe\n", {"z": "\udc80ä"})
    assert found[b"SERF_USER_EVENT"] == b"d\xff" and found[b"SERF_SELF_NAME"] == b"n\t\xfe\n"
    assert found[b"SERF_TAG_Z"] == b"\x80\xc3\xa4"


@pytest.mark.parametrize(("tag", "name"), [
    ("dc", "DC"), ("a-b", "A_B"), ("9z", "9Z"), ("ümlaut", "_MLAUT"), ("a b.c", "A_B_C"), ("straße", "STRA_E"),
    ("ﬁt", "_T"), ("\udcff\udcfe", "__"), ("", ""), ("日本", "__"), ("ı", "I"), ("\U0001f600x", "_X"),
])
def test_a_tag_becomes_the_variable_that_serf_makes_of_it(tag, name):
    assert variable_name(tag) == name


def test_of_tags_with_one_variable_the_last_by_name_wins_whatever_their_order():
    assert variables(JOINED, "a", {"a-b": "1", "A_B": "2"})[b"SERF_TAG_A_B"] == b"1"
    assert variables(JOINED, "a", {"A_B": "2", "a-b": "1"})[b"SERF_TAG_A_B"] == b"1"


@pytest.mark.parametrize(("payload", "read"), [
    (None, b""), (b"", b""), (b"x", b"x\n"), (b"x\n", b"x\n"), (b"\n", b"\n"), (b"a\x00\xff", b"a\x00\xff\n"),
])
def test_a_payload_is_read_as_a_line_unless_it_is_empty(payload, read):
    assert standard_input(UserEvent("deploy", payload, 1, False)) == read
    assert standard_input(QueryEvent(1, "load", payload, 1, "bea", 9.0)) == read


def test_members_are_read_as_lines_of_name_address_role_and_tags():
    event = MemberEvent("member-join", [member(role="web", dc="x"), member("cal")])
    assert standard_input(event) == b"bea\t192.0.2.11\tweb\trole=web,dc=x\ncal\t192.0.2.11\t\t\n"


def test_an_ipv6_address_has_no_brackets_and_a_mapped_one_is_ipv4():
    six = bytes.fromhex("20010db8000000000000000000000001")
    mapped = bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 7))
    event = MemberEvent("member-leave", [member(addr=six), member(addr=mapped)])
    assert standard_input(event) == b"bea\t2001:db8::1\t\t\nbea\t192.0.2.7\t\t\n"


def test_tabs_and_newlines_of_members_are_escaped_and_nothing_else():
    event = MemberEvent("member-join", [member("a\tb\nc\\d\udcff", role="w\tx", k="1,2=\n")])
    assert standard_input(event) == \
        b"a\\tb\\nc\\d\xff\t192.0.2.11\tw\\tx\trole=w\\tx,k=1,2=\\n\n"


def test_the_environment_holds_no_nul():
    found = variables(UserEvent("a\0b", b"", 1, False), "bea", {"t\0": "\0x"})
    assert (found[b"SERF_USER_EVENT"], found[b"SERF_TAG_T_"]) == (b"ab", b"x")
