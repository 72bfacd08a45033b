"""Events, queries, keys, coordinates and the log, as one client of the daemon meets them (spec rpc §6, §7)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gossipd.commands import ChangeKeys, KeyOutcome, QueryAnswer, QueryOutcome, Respond, SendEvent, StartQuery
from gossipd.effects import DEBUG, ERROR, INFO, WARNING
from gossipd.events import QueryEvent
from gossipd.rpc.connection import RECORDS_MAX
from gossipd.rpc.session import QUERIES_MAX, UNANSWERED_MAX
from tests.unit.rpc.fakes import Client, FakeBackend

ASK = {"Command": "query", "Seq": 7}
KEY = "AAECAwQFBgcICQoLDA0ODw=="
LOAD = QueryEvent(900, "load", None, 3, "beta", 9.0)


def ok(seq):
    return {"Error": "", "Seq": seq}


def record(kind, source="", payload=None):
    return {"From": source, "Payload": payload, "Type": kind}


# --- events ---

def test_an_event_is_sent_as_it_was_asked_for():
    client = Client()
    client.ask({"Command": "event", "Seq": 1}, {"Name": "deploy", "Payload": b"\xff", "Coalesce": True})
    client.ask({"Command": "event", "Seq": 2}, {"Name": "deploy"})
    assert client.backend.commands == [SendEvent(1, "deploy", b"\xff", True), SendEvent(2, "deploy", None, False)]
    client.backend.refuse = "too large"
    assert client.ask({"Command": "event", "Seq": 3}, {}) == [{"Error": "too large", "Seq": 3}]


# --- queries ---

def test_the_reply_comes_before_every_record_even_if_our_own_node_was_quicker():
    client = Client()
    client.backend.parts = [QueryAnswer("alpha", ack=True), QueryAnswer("alpha", b"1")]
    client.send(ASK, {"Name": "load"})
    first, *_ = writes = client.writes()
    assert len(writes) == 2 and first == b"\x82\xa5Error\xa0\xa3Seq\x07"
    client.send(ASK, {"Name": "load"})
    assert client.read() == [ok(7), ok(7), record("ack", "alpha"), ok(7), record("response", "alpha", b"1"),
                             ok(7), record("done")]


def test_answers_are_written_as_they_come_while_other_requests_are_served():
    client = Client(FakeBackend(slow=True))
    assert client.ask(ASK, {"Name": "load"}) == [ok(7)]
    client.backend.hearing[0](QueryAnswer("beta", None))
    assert client.woken and client.read() == [ok(7), record("response", "beta")]
    assert client.ask({"Command": "stop", "Seq": 8}, {"Stop": 7}) == [ok(8)]
    client.backend.finish(QueryOutcome([], ["beta"], []))
    assert client.read() == [ok(7), record("done")]


def test_serfs_clients_get_done_at_the_deadline_and_gossipds_as_soon_as_all_is_said():
    body = {"Name": "load", "Payload": b"x", "FilterNodes": ["beta"], "FilterTags": {"role": "db"}, "RequestAck": True,
            "RelayFactor": 2, "Timeout": 1_500_000_000}
    theirs, ours = Client(), Client(view="gossipd")
    ours.backend.results[StartQuery] = QueryOutcome(["beta"], [], ["gamma"]), ""
    assert theirs.ask(ASK, body)[-1] == record("done")
    assert ours.ask(ASK, body)[-1] == record("done") | {"Acked": ["beta"], "Answered": [], "Silent": ["gamma"]}
    for client, early in ((theirs, False), (ours, True)):
        assert client.backend.commands == [
            StartQuery(1, "load", b"x", ["beta"], {"role": "db"}, True, 2, 1.5, early)]


def test_a_negative_timeout_is_none():
    client = Client()
    client.ask(ASK, {"Name": "load", "Timeout": -1})
    assert client.backend.commands[0].timeout_s == 0.0


def test_an_answer_without_a_name_is_not_told():
    """Serf's command would take it for the end."""
    client = Client()
    client.backend.parts = [QueryAnswer("", ack=True), QueryAnswer("", b"x")]
    assert client.ask(ASK, {"Name": "load"}) == [ok(7), ok(7), record("done")]


def test_a_query_that_is_refused_has_no_records():
    client = Client()
    client.backend.refuse = "query exceeds limit of 1024 bytes"
    assert client.ask(ASK, {"Name": "load"}) == [{"Error": client.backend.refuse, "Seq": 7}]


def test_queries_of_one_connection_are_bounded_and_end():
    client = Client(FakeBackend(slow=True))
    for _ in range(QUERIES_MAX):
        assert client.ask(ASK, {}) == [ok(7)]
    assert client.ask(ASK, {})[0]["Error"]
    client.backend.finish(QueryOutcome([], [], []))
    assert client.read() == [ok(7), record("done")]
    assert client.ask(ASK, {}) == [ok(7)]


def test_answers_for_a_client_that_is_gone_are_heard_by_nobody():
    client = Client(FakeBackend(slow=True))
    client.ask(ASK, {})
    client.session.close()
    client.backend.hearing[0](QueryAnswer("beta", b"x"))
    client.backend.finish(QueryOutcome([], ["beta"], []))
    assert client.read() == []


# --- answering ---

def following(kinds="query", **options):
    client = Client(**options)
    client.ask({"Command": "stream", "Seq": 1}, {"Type": kinds})
    return client


def test_a_query_is_answered_by_its_number_on_the_connection_until_its_deadline():
    client = following()
    client.session.on_event(LOAD, now=2.0)
    client.read()
    assert client.ask({"Command": "respond", "Seq": 2}, {"ID": 1, "Payload": b"0.5"}) == [ok(2)]
    assert client.backend.commands == [Respond(1, 900, b"0.5")]
    client.backend.refuse = "response already sent"
    assert client.ask({"Command": "respond", "Seq": 3}, {"ID": 1}) == [
        {"Error": "failed to respond to key query: response already sent", "Seq": 3}]


def test_an_unknown_or_expired_number_is_refused_in_serfs_words():
    client = following()
    client.session.on_event(QueryEvent(900, "load", None, 3, "beta", 0.5), now=0.1)     # requests come at 1.0
    client.read()
    for number in (1, 2, 0):
        assert client.ask({"Command": "respond", "Seq": 2}, {"ID": number}) == [
            {"Error": "No pending queries matching ID", "Seq": 2}]
    assert client.backend.commands == []


def test_the_daemons_own_number_is_good_on_every_connection():
    client = following(view="gossipd")
    client.session.on_event(LOAD, now=2.0)
    assert client.read()[1] == {"Event": "query", "ID": 1, "LTime": 3, "Name": "load", "Payload": None, "Query": 900,
                                "Source": "beta"}
    other = Client(client.backend)
    assert other.ask({"Command": "respond", "Seq": 2}, {"ID": 0, "Payload": b"x", "Query": 900}) == [ok(2)]
    assert client.backend.commands == [Respond(1, 900, b"x")]
    client.backend.refuse = "response is past the deadline"
    assert other.ask({"Command": "respond", "Seq": 3}, {"Query": 900})[0]["Error"] == client.backend.refuse


def test_queries_that_nobody_answers_are_forgotten():
    client = following()
    for id in range(UNANSWERED_MAX + 100):
        client.session.on_event(QueryEvent(id, "load", None, 3, "beta", 9.0), now=2.0)
        client.writes()
    assert len(client.session._unanswered) == UNANSWERED_MAX
    client.session.on_event(QueryEvent(5, "load", None, 3, "beta", 19.0), now=10.0)
    assert len(client.session._unanswered) == 1


@pytest.mark.parametrize(("kinds", "watch", "expected"), [
    ("*", False, True), ("query", False, True), ("query:load", False, True), ("user,query:load", False, True),
    ("query:other", False, False), ("user,member-join", False, False), ("*", True, False), ("query", True, False),
])
def test_who_may_answer_a_query_is_who_follows_it_and_does_not_merely_watch(kinds, watch, expected):
    client = Client()
    assert not client.session.may_answer(LOAD)
    client.ask({"Command": "stream", "Seq": 1}, {"Type": kinds, "Watch": watch})
    assert client.session.may_answer(LOAD) is expected
    client.ask({"Command": "stop", "Seq": 2}, {"Stop": 1})
    assert not client.session.may_answer(LOAD)


def test_serfs_monitor_follows_everything_and_answers_nothing():
    client = following("*")
    client.ask({"Command": "monitor", "Seq": 2}, {"LogLevel": "INFO"})
    assert not client.session.may_answer(LOAD)


def test_who_follows_queries_may_answer_them_though_it_follows_the_log_too():
    client = following("query")
    client.ask({"Command": "monitor", "Seq": 2}, {"LogLevel": "INFO"})
    assert client.session.may_answer(LOAD)


# --- keys ---

KEY_COMMANDS = {"install-key": "install", "use-key": "use", "remove-key": "remove"}


@pytest.mark.parametrize("command", [*KEY_COMMANDS, "list-keys"])
def test_a_key_command_has_a_body_whether_it_failed_or_not(command):
    client = Client()
    action = KEY_COMMANDS.get(command, "list")
    outcome = KeyOutcome(3, 2, 1, {"beta": "no"}, {KEY: 1}, {KEY: 1}, ["alpha"], ["gamma"])
    request = [{"Command": command, "Seq": 1}, *([] if action == "list" else [{"Key": KEY}])]
    keys = {KEY: 1} if action == "list" else None
    body = {"Keys": keys, "Messages": {"beta": "no"}, "NumErr": 1, "NumNodes": 3, "NumResp": 2}
    for error in ("", "1/3 nodes reported failure"):
        client.backend.results[ChangeKeys] = outcome, error
        assert client.ask(*request) == [{"Error": error, "Seq": 1}, body]
    assert client.backend.commands[0] == ChangeKeys(1, action, b"" if action == "list" else bytes(range(16)))
    own = Client(client.backend, view="gossipd")
    assert own.ask(*request)[1] == body | {"Done": ["alpha"], "Primaries": {KEY: 1}, "Silent": ["gamma"]}
    client.backend.refuse = "query exceeds limit of 1024 bytes"
    empty = {"Keys": {} if action == "list" else None, "Messages": {}, "NumErr": 0, "NumNodes": 0, "NumResp": 0}
    assert client.ask(*request) == [{"Error": client.backend.refuse, "Seq": 1}, empty]


@pytest.mark.parametrize("command", KEY_COMMANDS)
def test_a_key_of_no_size_is_asked_of_all_for_serfs_clients_and_refused_at_once_for_our_own(command):
    theirs, ours = Client(), Client(view="gossipd")
    request = {"Command": command, "Seq": 1}, {"Key": "YWJj"}
    theirs.ask(*request)
    assert theirs.backend.commands == [ChangeKeys(1, KEY_COMMANDS[command], b"abc")]
    assert ours.ask(*request)[0]["Error"] == "key size must be 16, 24 or 32 bytes: 3 bytes"
    assert ours.backend.commands == []


# --- errors ---

@pytest.mark.parametrize("request_", [
    [{"Command": "event", "Seq": 7}, {}], [ASK, {}], [{"Command": "tags", "Seq": 7}, {}],
    [{"Command": "install-key", "Seq": 7}, {"Key": KEY}],
], ids=lambda request: request[0]["Command"])
def test_serfs_clients_get_serfs_words_alone_and_our_own_the_detail_too(request_):
    for view, error in (("", "too large"), ("gossipd", "too large: 513 bytes"), ("other", "too large")):
        client = Client(view=view)
        client.backend.refuse, client.backend.refuse_detail = "too large", "513 bytes"
        assert client.ask(*request_)[0] == {"Error": error, "Seq": 7}


def test_the_detail_of_a_refused_answer_follows_serfs_words_too():
    for view, error in (("", "too long"), ("gossipd", "too long: 9 bytes")):
        client = following(view=view)
        client.session.on_event(LOAD, now=2.0)
        client.read()
        client.backend.refuse, client.backend.refuse_detail = "too long", "9 bytes"
        assert client.ask({"Command": "respond", "Seq": 2}, {"ID": 1})[0]["Error"] == (
            f"failed to respond to key query: {error}")


# --- coordinates ---

def test_a_coordinate_is_told_or_is_not_there():
    client = Client()
    client.backend.coordinates["beta"] = SimpleNamespace(vec=(0.5,) * 8, error=1.5, adjustment=0.0, height=0.25)
    request = {"Command": "get-coordinate", "Seq": 1}
    assert client.ask(request, {"Node": "beta"})[1] == {
        "Coord": {"Adjustment": 0.0, "Error": 1.5, "Height": 0.25, "Vec": [0.5] * 8}, "Ok": True}
    assert client.ask(request, {"Node": "nosuch"})[1] == {
        "Coord": {"Adjustment": 0.0, "Error": 0.0, "Height": 0.0, "Vec": None}, "Ok": False}


# --- the log ---

class FakeLog:
    def __init__(self, *lines):
        self.lines = list(lines)
        self.hearers = {}

    def recent(self, level):
        return [line for number, line in self.lines if number >= level]

    def listen(self, hear, level):
        self.hearers[hear] = level

    def mute(self, hear):
        self.hearers.pop(hear, None)

    def say(self, level, line):
        for hear, least in tuple(self.hearers.items()):
            if level >= least:
                hear(level, line)


def log_client(**options):
    log = FakeLog((DEBUG, "d"), (INFO, "i"), (WARNING, "w"), (ERROR, "e"))
    return Client(log=log, **options), log


@pytest.mark.parametrize(("level", "lines"), [
    ("trace", "diwe"), ("DEBUG", "diwe"), ("Info", "iwe"), ("WARN", "we"), ("err", "e")])
def test_a_monitor_shows_the_last_lines_and_then_each_new_one(level, lines):
    client, log = log_client()
    assert client.ask({"Command": "monitor", "Seq": 1}, {"LogLevel": level}) == [
        ok(1), *[value for line in lines for value in (ok(1), {"Log": line})]]
    log.say(ERROR, "new")
    assert client.woken and client.read() == [ok(1), {"Log": "new"}]


def test_the_reply_to_monitor_is_written_alone():
    client, _ = log_client()
    client.send({"Command": "monitor", "Seq": 1}, {"LogLevel": "ERR"})
    assert len(client.writes()) == 2


def test_one_monitor_at_a_time_and_only_known_levels():
    client, log = log_client()
    monitor = {"Command": "monitor", "Seq": 1}
    assert client.ask(monitor, {"LogLevel": "loud"}) == [{"Error": "Unknown log level: LOUD", "Seq": 1}]
    assert client.ask(monitor, {}) == [{"Error": "Unknown log level: ", "Seq": 1}]
    client.ask(monitor, {"LogLevel": "ERR"})
    assert client.ask({"Command": "monitor", "Seq": 2}, {"LogLevel": "ERR"}) == [
        {"Error": "Monitor already exists", "Seq": 2}]
    client.ask({"Command": "stop", "Seq": 3}, {"Stop": 1})
    assert log.hearers == {}
    assert client.ask({"Command": "monitor", "Seq": 4}, {"LogLevel": "ERR"})[0] == ok(4)
    client.session.close()
    assert log.hearers == {}


def test_a_monitor_that_nobody_reads_drops_the_newest_and_says_so_once_though_that_is_a_line_too():
    client, log = log_client()
    client.session._notice = lambda level, line: (client.notices.append(line), log.say(level, line))
    client.ask({"Command": "monitor", "Seq": 1}, {"LogLevel": "DEBUG"})
    for number in range(RECORDS_MAX + 50):
        log.say(INFO, str(number))
    assert client.notices == ["agent.ipc: Dropping logs to test"]
    assert [value["Log"] for value in client.read()[1::2]] == [str(number) for number in range(RECORDS_MAX)]
    log.say(INFO, "again")
    assert client.read() == [ok(1), {"Log": "again"}]
