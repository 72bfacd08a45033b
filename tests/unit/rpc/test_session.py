"""What a client may rely on, and what it cannot do to the daemon (spec rpc §3-§9, Traps)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgpack import packb

from gossipd.commands import ForceLeave, SetTags
from gossipd.events import MemberEvent, QueryEvent, UserEvent
from gossipd.rpc import connection as limits
from gossipd.rpc.connection import RECORDS_MAX
from gossipd.rpc.records import Encodings
from gossipd.rpc.session import COMMANDS, STREAMS_MAX
from tests.unit.rpc.fakes import Client, FakeBackend, a_member

MEMBERS = {"Command": "members", "Seq": 1}
FAILED = MemberEvent("member-failed", [a_member("gamma", 13, "failed")])
DEPLOY = UserEvent("deploy", b"v1", 7, True)


def ok(seq):
    return {"Error": "", "Seq": seq}


# --- order ---

def test_later_requests_wait_while_a_command_runs():
    client = Client(FakeBackend(slow=True))
    client.send({"Command": "join", "Seq": 1}, {"Existing": ["seed"]}, {"Command": "stats", "Seq": 2})
    assert client.read() == []
    client.backend.finish(1)
    assert [value.get("Seq") for value in client.read()] == [1, None, 2, None]


def test_the_shell_is_woken_when_a_command_ends_later():
    client = Client(FakeBackend(slow=True))
    client.send({"Command": "force-leave", "Seq": 1}, {"Node": "x"})
    assert client.woken == 0
    client.backend.finish()
    assert client.woken == 1 and client.read() == [ok(1)]


def test_streams_flow_while_a_command_runs():
    client = Client(FakeBackend(slow=True))
    client.ask({"Command": "stream", "Seq": 1}, {"Type": "*"})
    client.send({"Command": "join", "Seq": 2}, {"Existing": ["seed"]})
    client.session.on_event(DEPLOY, now=2.0)
    assert client.read()[0] == ok(1)
    assert client.woken == 1


def test_many_requests_that_end_at_once_do_not_nest():
    client = Client()
    client.send(*[{"Command": "force-leave", "Seq": 1}, {"Node": "x"}] * 3000)
    assert len(client.read()) == 3000


def test_a_command_that_ends_after_the_client_is_gone_is_heard_by_nobody():
    client = Client(FakeBackend(slow=True))
    client.send({"Command": "join", "Seq": 1}, {"Existing": ["seed"]})
    client.session.close()
    client.backend.finish(1)
    assert client.read() == [] and client.woken == 0


# --- commands ---

def test_a_command_refused_at_once_is_answered_with_its_text():
    client = Client()
    client.backend.refuse = "Encoded length of tags exceeds limit of 512 bytes"
    assert client.ask({"Command": "tags", "Seq": 1}, {}) == [{"Error": client.backend.refuse, "Seq": 1}]
    assert client.ask({"Command": "stop", "Seq": 2}, {}) == [ok(2)]


def test_a_failed_join_has_a_body_too():
    client = Client()
    client.backend.join_outcome = (0, "1 error occurred:\n\t* no\n\n")
    header, body = client.ask({"Command": "join", "Seq": 1}, {"Existing": ["a"], "Replay": True})
    assert header["Error"] and body == {"Num": 0}
    assert client.backend.joins == [(["a"], True)]


def test_tags_are_asked_for_as_changes():
    client = Client()
    changes = {"Tags": {"dc": "west", "n": "1"}, "DeleteTags": ["dc", "role", "nosuch"]}
    client.ask({"Command": "tags", "Seq": 1}, changes)
    assert client.backend.commands == [SetTags(1, {"dc": "west", "n": "1"}, ["dc", "role", "nosuch"])]
    client.ask({"Command": "tags", "Seq": 2}, {"DeleteTags": {"dc": "role"}})
    assert client.backend.commands[1] == SetTags(2, {}, ["dc", "role"])


def test_force_leave_without_prune_does_not_prune():
    client = Client()
    client.ask({"Command": "force-leave", "Seq": 1}, {"Node": "beta"})
    client.ask({"Command": "force-leave", "Seq": 2}, ["beta", 1])
    assert client.backend.commands == [ForceLeave(1, "beta", False), ForceLeave(2, "beta", True)]


def test_leave_is_answered_and_the_session_ends():
    client = Client(FakeBackend(slow=True))
    client.send({"Command": "leave", "Seq": 1})
    assert not client.session.closed
    client.backend.finish()
    assert client.read() == [ok(1)] and client.session.closed


def test_members_are_encoded_once_until_they_change():
    client, encodings = Client(), Encodings()
    others = [Client(client.backend, encodings=encodings) for _ in range(5)]
    replies = [other.ask(MEMBERS) for other in others]
    assert replies.count(replies[0]) == 5 and client.backend.members_asked == 1
    client.backend.members_version += 1
    client.backend.member_list.pop()
    assert len(others[0].ask(MEMBERS)[1]["Members"]) == 2


def test_an_ipv4_address_is_sent_in_four_bytes_even_if_it_came_in_sixteen():
    member = a_member("six", 1)
    member.addr = bytes(10) + b"\xff\xff\x7f\x00\x00\x01"
    assert Client(FakeBackend([member])).ask(MEMBERS)[1]["Members"][0]["Addr"] == b"\x7f\x00\x00\x01"


def test_names_that_are_not_utf8_pass_through():
    client = Client(FakeBackend([a_member("\udcff\x00x", 1)]))
    client.send(MEMBERS)
    assert b"\xa3\xff\x00x" in b"".join(client.writes())


# --- filtered members ---

def names(reply):
    return sorted(member["Name"] for member in reply[1]["Members"])


@pytest.mark.parametrize(("filters", "expected"), [
    ({}, ["alpha", "beta", "gamma"]),
    ({"Name": "al"}, []),
    ({"Name": "al.*"}, ["alpha"]),
    ({"Name": "alp|ta"}, ["alpha", "beta"]),            # ^alp or ta$: there is no group around it
    ({"Status": "alive", "Tags": {"role": "web|db"}}, ["alpha", "beta"]),
    ({"Tags": {"role": ""}}, ["gamma"]),
    ({"Tags": {"nosuch": ".*"}}, ["alpha", "beta", "gamma"]),
    ({"Tags": {"role": "web", "dc": "west"}}, []),
    ({"Status": "suspect"}, []),
])
def test_filters_are_expressions_for_the_whole_value(filters, expected):
    assert names(Client().ask({"Command": "members-filtered", "Seq": 1}, filters)) == expected


@pytest.mark.parametrize("expression", ["(", "(?=a)", r"(a)\1", "a{1001}", r"a\Z"])
def test_an_expression_that_re2_refuses_closes_without_a_reply(expression):
    client = Client()
    assert client.ask({"Command": "members-filtered", "Seq": 1}, {"Name": expression}) == []
    assert client.session.closed and client.notices


@pytest.mark.parametrize("tags", [{f"t{n}": "x" for n in range(17)}, {f"t{n}": "(?:a?){900}" * 4 for n in range(4)}],
                         ids=["many", "large"])
def test_many_or_large_expressions_close_without_a_reply(tags):
    client = Client()
    assert client.ask({"Command": "members-filtered", "Seq": 1}, {"Tags": tags}) == []
    assert client.session.closed and client.notices


def test_as_many_expressions_as_anybody_needs_are_taken():
    tags = {f"t{n}": "|x[a-z]*" for n in range(16)}
    reply = Client().ask({"Command": "members-filtered", "Seq": 1}, {"Tags": tags, "Status": "alive", "Name": ".*"})
    assert names(reply) == ["alpha", "beta", "gamma"]


def test_the_own_view_shows_what_only_gossipd_knows():
    suspect = a_member("gamma", 13, state="suspect", incarnation=4, changed=10.0, reason="beta: no ack", rtt_s=0.5)
    backend = FakeBackend([a_member("alpha", 11, state="alive"), suspect])
    request = {"Command": "members-filtered", "Seq": 1}
    _, plain = Client(backend).ask(request, {"Name": "gamma"})
    assert "State" not in plain["Members"][0]
    client = Client(backend, view="gossipd")
    _, own = client.ask(request, {"Name": "gamma"})
    assert own["Members"][0] == plain["Members"][0] | {
        "State": "suspect", "Incarnation": 4, "Since": 1_700_000_010.0, "Reason": "beta: no ack", "RTT": 0.5}
    assert names(client.ask(request, {"Status": "suspect"})) == ["gamma"]
    assert names(client.ask(request, {"Status": "alive"})) == ["alpha", "gamma"]


# --- streams ---

def test_the_reply_to_stream_is_written_alone():
    client = Client()
    client.send({"Command": "stream", "Seq": 5}, {"Type": "*"})
    client.session.on_event(DEPLOY, now=2.0)
    first, second = client.writes()
    assert first == packb(ok(5))
    assert second.startswith(packb(ok(5))) and len(second) > len(first)


def test_each_stream_hears_what_it_asked_for_under_its_own_number():
    client = Client()
    client.ask({"Command": "stream", "Seq": 5}, {"Type": "member-failed"})
    client.ask({"Command": "stream", "Seq": 6}, {"Type": "user:deploy,member-failed"})
    client.session.on_event(FAILED, now=2.0)
    client.session.on_event(DEPLOY, now=2.0)
    client.session.on_event(UserEvent("other", None, 8, False), now=2.0)
    values = client.read()
    assert [value["Seq"] for value in values[::2]] == [5, 6, 6]
    assert values[5] == {"Coalesce": True, "Event": "user", "LTime": 7, "Name": "deploy", "Payload": b"v1"}


def test_queries_are_numbered_for_each_connection():
    client = Client()
    for seq in (5, 6):
        client.ask({"Command": "stream", "Seq": seq}, {"Type": "query"})
    for id in (900, 901):
        client.session.on_event(QueryEvent(id, "load", None, 3, "beta", 9.0), now=2.0)
    assert [value["ID"] for value in client.read()[1::2]] == [1, 2, 3, 4]


def test_a_stopped_stream_is_silent_and_its_number_is_free_again():
    client = Client()
    stream = {"Command": "stream", "Seq": 5}, {"Type": "*"}
    client.ask(*stream)
    assert client.ask(*stream) == [{"Error": "Stream with given sequence exists", "Seq": 5}]
    assert client.ask({"Command": "stop", "Seq": 6}, {"Stop": 5}) == [ok(6)]
    client.session.on_event(DEPLOY, now=2.0)
    assert client.read() == []
    assert client.ask(*stream) == [ok(5)]


def test_streams_per_connection_are_bounded():
    client = Client()
    for seq in range(STREAMS_MAX):
        client.ask({"Command": "stream", "Seq": seq}, {})
    assert client.ask({"Command": "stream", "Seq": 999}, {})[0]["Error"]
    assert not client.session.closed


# --- clients that do not read ---

def test_a_stream_that_nobody_reads_keeps_its_oldest_records_and_drops_the_newest():
    client = Client()
    client.ask({"Command": "stream", "Seq": 1}, {"Type": "*"})
    for number in range(600):
        client.session.on_event(UserEvent("e", None, number, False), now=2.0)
    assert client.session.records_dropped == 600 - RECORDS_MAX
    assert len(client.notices) == 88 and "Dropping event" in client.notices[0]
    assert [value["LTime"] for value in client.read()[1::2]] == list(range(RECORDS_MAX))
    client.session.on_event(UserEvent("e", None, 700, False), now=3.0)
    assert client.read()[1]["LTime"] == 700 and not client.session.closed


def test_requests_are_not_begun_while_much_is_unwritten():
    backend = FakeBackend([a_member(f"node-{i}", 1) for i in range(1000)])
    client = Client(backend)
    client.send(*[MEMBERS] * 100)
    assert not client.session.closed
    assert client.session._unsent < 2 * limits.UNSENT_BYTES_HIGH
    assert len(client.read()) == 200


def test_a_client_that_subscribes_and_never_reads_is_closed_in_the_end():
    client = Client()
    many = MemberEvent("member-join", [a_member(f"node-{i}", 1) for i in range(1000)])
    client.ask({"Command": "stream", "Seq": 1}, {"Type": "*"})
    for _ in range(200):
        client.session.on_event(many, now=2.0)
    assert client.session.closed and client.woken
    assert client.session.take_output() == b""


def test_a_large_request_is_read_to_its_end():
    client = Client()
    request = packb({"Command": "force-leave", "Seq": 1}) + packb({"Node": "x" * (3 * limits.INPUT_BYTES_HIGH)})
    client.send_bytes(request[:-1])
    assert client.session.wants_input
    client.send_bytes(request[-1:])
    assert client.read() == [ok(1)]


def test_the_shell_is_told_to_stop_reading_and_input_is_bounded_if_it_does_not():
    client = Client(FakeBackend(slow=True))
    client.send({"Command": "join", "Seq": 1}, {"Existing": ["seed"]})
    assert client.session.wants_input
    client.send(*[MEMBERS] * 5000)
    assert not client.session.wants_input and not client.session.closed
    client.send(*[MEMBERS] * 100_000)
    assert client.session.closed


# --- keys ---

def test_a_refused_request_has_its_body_skipped():
    client = Client(auth_key="s3cret")
    refused = {"Error": "Authentication required", "Seq": 1}
    assert client.ask({"Command": "join", "Seq": 1}, {"Existing": ["a"]}) == [refused]
    assert client.notices == ["agent.ipc: Client sending commands before auth"]
    assert client.ask({"Command": "auth", "Seq": 2}, {"AuthKey": "s3cret"}) == [ok(2)]
    assert client.ask({"Command": "join", "Seq": 3}, {"Existing": ["a"]}) == [ok(3), {"Num": 1}]


def test_a_wrong_key_does_not_revoke_access():
    client = Client(auth_key="s3cret")
    client.ask({"Command": "auth", "Seq": 1}, {"AuthKey": "s3cret"})
    for wrong in ("S3cret", "\udcff", ""):
        reply = client.ask({"Command": "auth", "Seq": 2}, {"AuthKey": wrong})
        assert reply == [{"Error": "Invalid authentication token", "Seq": 2}]
    assert client.ask(MEMBERS)[0] == ok(1)


# --- garbage ---

COMMAND_NAMES = st.sampled_from([*COMMANDS, "bogus", ""])
GARBAGE = st.one_of(
    st.binary(max_size=30),
    st.builds(lambda command, seq: packb({"Command": command, "Seq": seq}), COMMAND_NAMES, st.integers(0, 5)),
    st.builds(packb, st.recursive(
        st.none() | st.integers(-5, 300) | st.text(max_size=4) | st.binary(max_size=4) | st.booleans() | st.floats(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["Existing", "Node", "Tags", "Name", "Type", "Stop", "Version"]), inner, max_size=3),
        max_leaves=6)),
)


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.lists(GARBAGE, max_size=12))
def test_no_client_can_make_a_session_raise(handshake, parts):
    client = Client(handshake=handshake)
    for part in parts:
        client.send_bytes(part)
        client.session.on_event(FAILED, now=2.0)
        client.read()
