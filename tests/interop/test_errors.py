"""What Serf's agent says of requests that it refuses, gossipd says in the same words: the same bytes to both, live.

Each case is sent on a connection of its own, and behind it a request that never fails, whose answer marks the end.
What cannot be provoked at will is not here: `timed out broadcasting node removal` and `timeout waiting for update
broadcast` (Serf's agent raises a short `broadcast_timeout`), and the sane limit of 9216 bytes, which lies at or above
every limit that can be configured.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from msgpack import Unpacker, packb

from tests.support.processes import Agent, Lab, wait_until
from tests.support.require import need_serf

END = 9999
ANSWER_S = 20.0
AUTH_KEY = "sesame"
KEY = "AAECAwQFBgcICQoLDA0ODw=="
OTHER = "AAECAwQFBgcICQoLDA0OEA=="
JOINED_S = 15.0
QUERY_NS = 3_000_000_000


def ask(command: str, body: object = None, seq: int = 5) -> list[object]:
    """One request; a command that has no body has None."""
    header = {"Command": command, "Seq": seq}
    return [header] if body is None else [header, body]


class Connection:
    def __init__(self, agent: Agent, greet: bool = True) -> None:
        host, _, port = agent.rpc.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), ANSWER_S)
        self._unpacker = Unpacker(raw=False, unicode_errors="surrogateescape", strict_map_key=False)
        if greet:
            self.send(ask("handshake", {"Version": 1}, 0))
            assert self.read() == {"Error": "", "Seq": 0}

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def send(self, messages: list[object]) -> None:
        self._socket.sendall(b"".join(packb(one, use_bin_type=True, unicode_errors="surrogateescape")
                                      for one in messages))

    def read(self) -> Any:
        """The next object; None at the end."""
        while True:
            for value in self._unpacker:
                return value
            try:
                data = self._socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._unpacker.feed(data)

    def talk(self, messages: list[object]) -> list[Any]:
        """All that comes back; "closed" last if the agent hangs up."""
        self.send(messages + ask("get-coordinate", {"Node": ""}, END))
        answers: list[Any] = []
        while (value := self.read()) != {"Error": "", "Seq": END}:
            if value is None:
                return [*answers, "closed"]
            answers.append(value)
        self.read()
        return answers


def said(agent: Agent, messages: list[object], greet: bool = True) -> Any:
    """As plain values, without what is the agent's own: its name, and the name server that Go's resolver mentions."""
    with Connection(agent, greet) as connection:
        text = json.dumps(connection.talk(messages), default=bytes.hex, sort_keys=True)
    return json.loads(re.sub(r"(lookup \S+) on [0-9.:\[\]a-f]+: ", r"\1: ", text).replace(f'"{agent.name}"', '"NAME"'))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(need_serf("errors as Serf's agent words them")) as lab:
        yield lab


def greets(agent: Agent) -> bool:
    assert agent.running, agent.log_tail()
    try:
        with Connection(agent):
            return True
    except OSError:
        return False


class Pair:
    """A gossipd and a Serf agent with the same settings, each a cluster of its own."""

    def __init__(
        self, lab: Lab, name: str, key: str = "", ours: dict[str, Any] | None = None,
        theirs: dict[str, Any] | None = None,
    ) -> None:
        """`ours`: sections of gossipd's configuration file; `theirs`: Serf's."""
        path = lab.directory / f"{name}.json"
        path.write_text(json.dumps(theirs or {}))
        self.ours = lab.gossipd(f"{name}-ours", key=key, settings=ours or {})
        self.theirs = lab.serf(f"{name}-theirs", key=key, options=[f"-config-file={path}"])
        for agent in self.both:
            agent.launch()
        for agent in self.both:
            wait_until(lambda agent=agent: greets(agent), f"{agent} answers", ANSWER_S)

    @property
    def both(self) -> tuple[Agent, Agent]:
        return self.ours, self.theirs


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    return Pair(lab, "plain")


def expect_alike(pair: Pair, messages: list[object], error: str | None, greet: bool = True) -> None:
    """`error`: the first one, as rpc.md has it; None for a connection that is closed without a word."""
    theirs = said(pair.theirs, messages, greet)
    assert said(pair.ours, messages, greet) == theirs
    assert theirs[0] == ("closed" if error is None else {"Error": error, "Seq": 5})


# --- who may ask ---

@pytest.mark.parametrize(("messages", "error"), [
    (ask("members"), "Handshake required"),
    (ask("event", {"Name": "x"}), "Handshake required"),
    (ask("nosuch"), "Handshake required"),
    *[(ask("handshake", body) + ask("handshake", {"Version": 1}, 6) + ask("stop", {"Stop": 1}, 7),
       "Unsupported IPC version") for body in ({"Version": 0}, {"Version": 2}, {"Version": -1}, {})],
], ids=str)
def test_before_the_handshake(pair, messages, error):
    expect_alike(pair, messages, error, greet=False)


@pytest.mark.parametrize(("messages", "error"), [
    (ask("handshake", {"Version": 1}), "Handshake already performed"),
    (ask("handshake", {"Version": 2}), "Unsupported IPC version"),
    (ask("auth", {"AuthKey": "x"}), "Invalid authentication token"),
    (ask("auth", {"AuthKey": ""}), ""),
    (ask("nosuch", {}), "Unsupported command"),
    (ask("Members", {}), "Unsupported command"),
], ids=str)
def test_greetings_and_unknown_commands(pair, messages, error):
    expect_alike(pair, messages, error)


def test_a_key_that_is_asked_for(lab):
    pair = Pair(lab, "auth", ours={"rpc": {"auth_key": AUTH_KEY}}, theirs={"rpc_auth": AUTH_KEY})
    good, required = ask("auth", {"AuthKey": AUTH_KEY}), {"Error": "Authentication required", "Seq": 5}
    wrong, stop = ask("auth", {"AuthKey": "x"}), ask("stop", {"Stop": 1}, 7)
    for messages in (good + stop, good + ask("auth", {"AuthKey": "x"}, 6) + stop, wrong + good + stop):
        assert said(pair.ours, messages) == said(pair.theirs, messages)
    for agent in pair.both:
        assert said(agent, wrong + good)[0] == {"Error": "Invalid authentication token", "Seq": 5}
        for command, body in (("members", None), ("stats", None), ("nosuch", None), ("event", {}), ("join", {})):
            # Serf reads the body of a refused request as a header, and refuses again (rpc.md, T3).
            assert said(agent, ask(command, body) + good)[0] == required


# --- streams, the log, members ---

@pytest.mark.parametrize(("kinds", "error"), [
    *[(kinds, "Invalid event filter") for kinds in (
        "bogus", "member-joined", "user,bogus", " user", "member-join, user", ",", "member-join:x", " ", "USER")],
    *[(kinds, "") for kinds in ("", "*", "user:", "query:a,user:b", "member-reap")],
], ids=repr)
def test_event_filters(pair, kinds, error):
    expect_alike(pair, ask("stream", {"Type": kinds}), error)


@pytest.mark.parametrize(("level", "error"), [
    ("loud", "Unknown log level: LOUD"), ("", "Unknown log level: "), ("Warning", "Unknown log level: WARNING"),
    ("INFO ", "Unknown log level: INFO "), ("é", "Unknown log level: É"),
])
def test_log_levels(pair, level, error):
    expect_alike(pair, ask("monitor", {"LogLevel": level}), error)


def test_two_of_what_there_is_one_of(pair):
    stream = ask("stream", {"Type": "user:nobody-sends-this"})
    assert said(pair.ours, stream * 2) == said(pair.theirs, stream * 2)
    assert said(pair.ours, stream * 2)[1] == {"Error": "Stream with given sequence exists", "Seq": 5}
    monitor = ask("monitor", {"LogLevel": "ERR"}) + ask("monitor", {"LogLevel": "ERR"}, 6)
    for agent in pair.both:
        assert {"Error": "Monitor already exists", "Seq": 6} in said(agent, monitor)


@pytest.mark.parametrize("body", [{"Name": "("}, {"Status": "a**"}, {"Tags": {"a": "["}}, {"Name": "(?=x)"}], ids=str)
def test_a_bad_expression_closes_the_connection_without_a_word(pair, body):
    expect_alike(pair, ask("members-filtered", body), None)


@pytest.mark.parametrize(("command", "body"), [
    ("event", {"Name": 5}), ("event", "x"), ("query", {"Timeout": 1.0}), ("query", {"RelayFactor": 300}),
    ("join", {"Existing": "x"}), ("tags", {"Tags": [1]}), ("stream", {"Type": 5}), ("respond", {"ID": -1}),
    ("handshake", {"Version": 1.0}), ("members-filtered", {"Tags": "x"}), ("install-key", {"Key": 1}),
], ids=str)
def test_a_body_that_cannot_be_read_closes_the_connection_without_a_word(pair, command, body):
    expect_alike(pair, ask(command, body), None)


# --- sizes ---

EVENT = "user event exceeds configured limit of {} bytes before encoding"
ENCODED_EVENT = "encoded user event exceeds configured limit of {} bytes after encoding"
QUERY = "query exceeds limit of 1024 bytes"
TAGS = "Encoded length of tags exceeds limit of 512 bytes"
RESPONSE = "failed to respond to key query: response exceeds limit of 1024 bytes"


@pytest.mark.parametrize(("name", "payload", "error"), [
    (1, 480, ""), (1, 481, ""), (1, 482, ENCODED_EVENT), (6, 506, ENCODED_EVENT), (6, 507, EVENT), (6, 601, EVENT),
    (0, 0, ""), (0, 513, EVENT), (513, 0, EVENT), (1, 9216, EVENT), (9000, 9000, EVENT),
])
def test_events_too_large(pair, name, payload, error):
    event = {"Name": "n" * name, "Payload": b"p" * payload, "Coalesce": True}
    expect_alike(pair, ask("event", event), error.format(512))


def test_events_too_large_for_the_largest_limit_and_what_an_old_protocol_lacks(lab):
    limit = {"user_event_size_limit": 9216}
    pair = Pair(lab, "old", ours={"serf": limit, "node": {"protocol": 3}}, theirs=limit | {"protocol": 3})
    for payload, error in ((9180, ""), (9200, ENCODED_EVENT), (9216, EVENT), (20000, EVENT)):
        expect_alike(pair, ask("event", {"Name": "n", "Payload": b"p" * payload}), error.format(9216))
    for command, body in (("query", {"Name": "q"}), ("install-key", {"Key": KEY}), ("list-keys", None)):
        expect_alike(pair, ask(command, body), "Feature not supported")


@pytest.mark.parametrize(("value", "error"), [(500, ""), (504, ""), (505, ""), (506, TAGS), (507, TAGS), (600, TAGS)])
def test_tags_too_large(pair, value, error):
    expect_alike(pair, ask("tags", {"Tags": {"t": "x" * value}}) + ask("tags", {"DeleteTags": ["t"]}, 6), error)


@pytest.mark.parametrize(("body", "error"), [
    ({"Payload": b"x" * 1024}, QUERY), ({"Payload": b"x" * 5000}, QUERY), ({"FilterNodes": ["n" * 100] * 20}, QUERY),
    ({"FilterTags": {"a": "x" * 2000}}, QUERY),
    ({"Name": "_serf_x"}, "Queries cannot contain the '_serf_' prefix"),
    ({"Name": "_serf_"}, "Queries cannot contain the '_serf_' prefix"),
    ({"Name": "_serf_ping", "Payload": b"x"}, "Queries cannot contain the '_serf_' prefix"),
], ids=lambda one: str(one)[:40])
def test_queries_that_cannot_be_asked(pair, body, error):
    expect_alike(pair, ask("query", {"Name": "q", "Timeout": 1} | body), error)


def test_answers_that_cannot_be_given(pair):
    sizes = (b"x" * 2000, b"x" * 1024, b"fine", b"again", b"x" * 2000)
    errors = [RESPONSE, RESPONSE, "", "failed to respond to key query: response already sent", RESPONSE]
    unknown = {"Error": "No pending queries matching ID", "Seq": 5}
    for agent in pair.both:
        with Connection(agent) as asking, Connection(agent) as answering:
            answering.talk(ask("stream", {"Type": "query:load"}, 1))
            asking.send(ask("query", {"Name": "load", "Timeout": QUERY_NS}))
            _, event = answering.read(), answering.read()
            for payload, error in zip(sizes, errors, strict=True):
                answer, = answering.talk(ask("respond", {"ID": event["ID"], "Payload": payload}))
                assert answer == {"Error": error, "Seq": 5}
            for number in (0, 77):
                assert answering.talk(ask("respond", {"ID": number, "Payload": b""})) == [unknown]
            while (answer := asking.read()).get("Type") != "done":
                pass
            time.sleep(0.1)     # Serf forgets a query with a timer of its own
            assert answering.talk(ask("respond", {"ID": event["ID"], "Payload": b""})) == [unknown]


# --- joins and leaves ---

@pytest.mark.parametrize("addresses", [
    [], ["127.0.0.1:1"], ["127.0.0.1:1", "127.0.0.2:1", "127.0.0.1:1"], ["nosuch.invalid"], [""], [":1"], [":"],
    ["127.0.0.1:99999"], ["127.0.0.1:x"], ["127.0.0.1:"], ["127.0.0.1:-1"], ["[::1"], ["[::1]x:1"], ["[::1]:"],
    ["a:b:c:1"], ["a b"], ["a..b"], ["name/127.0.0.1:1"], ["/127.0.0.1:1"], ["name/"], ["a/b/127.0.0.1:1"], ["[]"],
    ["127.0.0.1:1", "nosuch.invalid", "127.0.0.2:1", "127.0.0.1:99999", "127.0.0.1:1"], ["255.255.255.255:1"],
    ["x" * 300 + ":1"],
], ids=lambda one: str(one)[:60])
def test_joins_that_reach_nobody(pair, addresses):
    ours, theirs = (said(agent, ask("join", {"Existing": addresses})) for agent in pair.both)
    assert ours == theirs
    assert ours[1] == {"Num": 0}


def test_while_it_leaves_an_agent_joins_nobody_and_leaves_once(lab):
    pair, other = Pair(lab, "leaving"), lab.gossipd("other")
    other.start()
    for agent in pair.both:
        assert agent.join(other.gossip) == 1
        wait_until(lambda agent=agent: agent.name in other.statuses(), f"{agent} has joined", JOINED_S)
        with Connection(agent) as first, Connection(agent) as second, Connection(agent) as third:
            first.send(ask("leave"))
            time.sleep(0.3)
            assert second.talk(ask("join", {"Existing": [other.gossip]})) == [
                {"Error": "Serf can't Join after Leave or Shutdown", "Seq": 5}, {"Num": 0}]
            third.send(ask("leave"))
            assert third.read() == {"Error": "Leave already in progress", "Seq": 5}


# --- keys ---

NOT_BASE64 = ("zzz!", "!", "a", "ab", "abc", "ab=", "ab==x", "abc=d", "=", "====", "A===", "é", KEY[:-1], KEY + " ",
              "AA E=", "AA\nA", "ab=\n", "ab=\nx")
NO_KEYS = ("", "YWJj", "ab==", "\n", "A\r\nA=\n=", "YWJj" * 10)
CHANGES = ("install-key", "use-key", "remove-key")


@pytest.fixture(scope="module", params=["", KEY], ids=["not encrypted", "encrypted"])
def keyed(request, lab) -> Pair:
    return Pair(lab, "keyed" if request.param else "keyless", key=request.param)


@pytest.mark.parametrize("command", CHANGES)
@pytest.mark.parametrize("key", [*NOT_BASE64, *NO_KEYS, KEY, f"\n{KEY}\r\n", OTHER, "AAAA" * 600],
                         ids=lambda key: repr(key)[:30])
def test_keys(keyed, command, key):
    ours, theirs = (said(agent, ask(command, {"Key": key})) for agent in keyed.both)
    assert ours == theirs
    assert key not in NOT_BASE64 or ours[0]["Error"].startswith("illegal base64 data at input byte ")


def test_listing_keys(keyed):
    ours, theirs = (said(agent, ask("list-keys")) for agent in keyed.both)
    assert ours == theirs


# --- and for our own clients ---

def test_our_own_clients_are_told_the_size_too(pair):
    own = ask("handshake", {"Version": 1, "View": "gossipd"}, 0)
    for messages, error in (
        (ask("event", {"Name": "n", "Payload": b"x" * 512}), EVENT.format(512) + ": 513 bytes"),
        (ask("event", {"Name": "n", "Payload": b"x" * 482}), ENCODED_EVENT.format(512) + ": 513 bytes"),
        (ask("tags", {"Tags": {"t": "x" * 506}}), TAGS + ": they need 513"),
        (ask("install-key", {"Key": "YWJj"}), "key size must be 16, 24 or 32 bytes: 3 bytes"),
    ):
        with Connection(pair.ours, greet=False) as connection:
            connection.send(own + messages)
            connection.read()
            assert connection.read()["Error"] == error
