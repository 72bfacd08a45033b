"""Events and queries between gossipd and Serf, both ways, and each kind's commands with the other's agent.

Of each kind one agent answers queries by scripts; gossipd g1 answers by a client that follows them; Serf s1 does not
answer.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from gossipd.client import ClientError
from tests.support.processes import GOSSIPCTL, ROOT, Agent, Lab, Watch, alive, wait_until, wait_until_all_see
from tests.support.require import need_serf

KEY = b64encode(bytes(range(32))).decode()
JOIN_S, EVENT_S, ANSWER_S = 15.0, 10.0, 60.0
SOON_S = 2.5            # a query of four members that runs to its deadline takes 3.2 s
HANDLERS = ("query:who=echo I am $SERF_SELF_NAME", "query:echo=cat")
ALL = ["g1", "g2", "s1", "s2"]


class Responder:
    """A client of g1 that answers `who` and `echo` as the handlers do."""

    def __init__(self, agent: Agent) -> None:
        self._name, self._client = agent.name, agent.client()
        events = self._client.events("query:who", "query:echo")
        threading.Thread(target=self._answer, args=(events,), daemon=True).start()

    def _answer(self, events: Iterator[object]) -> None:
        with suppress(ClientError):
            for event in events:
                answer = f"I am {self._name}\n".encode() if event.name == "who" else event.payload
                self._client.respond(event, answer)


class Cluster:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        ours = [word for handler in HANDLERS for word in ("--event-handler", handler)]
        theirs = [f"-event-handler={handler}" for handler in HANDLERS]
        self.g1 = lab.gossipd("g1", key=KEY, tags={"role": "web"})
        self.g2 = lab.gossipd("g2", key=KEY, tags={"role": "db", "dc": "east"}, options=ours)
        self.s1 = lab.serf("s1", key=KEY, tags={"role": "web", "dc": "west"})
        self.s2 = lab.serf("s2", key=KEY, tags={"role": "db"}, options=theirs)
        self.agents = [self.g1, self.g2, self.s1, self.s2]
        lab.start(*self.agents)
        for agent in self.agents[1:]:
            agent.join(self.g1.gossip)
        wait_until_all_see(self.agents, alive(self.agents), JOIN_S)
        self.responder = Responder(self.g1)


@pytest.fixture(scope="module")
def program() -> str:
    return need_serf("events and queries between gossipd and Serf")


@pytest.fixture(scope="module")
def cluster(program: str) -> Iterator[Cluster]:
    with Lab(program) as lab:
        yield Cluster(lab)


def run(argv: list[str], payload: bytes = b"") -> tuple[int, str, str]:
    done = subprocess.run(argv, cwd=ROOT, input=payload, capture_output=True, timeout=ANSWER_S)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def gossipctl(agent: Agent, *words: str, payload: bytes = b"") -> tuple[int, str, str]:
    return run([*GOSSIPCTL, "--rpc-addr", agent.rpc, *words], payload)


Command = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def serf(program: str) -> Command:
    """`serf(agent, command, words...)`: exit code and output; results and errors all go to stdout."""
    def serf(agent: Agent, command: str, *words: str) -> tuple[int, str]:
        code, output, errors = run([program, command, f"-rpc-addr={agent.rpc}", *words])
        assert errors == ""
        return code, output
    return serf


# events

def heard(watch: Watch) -> list[tuple[str, bytes | None]]:
    return [(event.name, event.payload) for _, event in list(watch.events)]


def wait_until_heard(watches: list[Watch], expected: list[tuple[str, bytes | None]]) -> None:
    for watch in watches:
        wait_until(lambda watch=watch: sorted(heard(watch), key=repr) == sorted(expected, key=repr),
                   lambda watch=watch: f"{watch} has {expected}, not {heard(watch)}", EVENT_S)


def test_events_of_every_agent_are_heard_once_by_all_with_payload_and_time(cluster):
    watches = [agent.watch("user") for agent in cluster.agents]
    payloads = {"g1": None, "g2": bytes(range(256)), "s1": None, "s2": b"\xff\x00 v1\n"}
    for agent in cluster.agents:
        with agent.client() as client:
            client.send_event(f"from-{agent.name}", payloads[agent.name], coalesce=False)
    wait_until_heard(watches, [(f"from-{name}", payload) for name, payload in payloads.items()])
    times = [{event.name: event.ltime for _, event in watch.events} for watch in watches]
    assert times.count(times[0]) == len(times)
    assert not any(event.coalesce for watch in watches for _, event in watch.events)


@pytest.mark.parametrize("sender", ALL)
def test_of_events_that_may_coalesce_the_last_one_is_told(cluster, sender):
    """Serf holds all of them back, gossipd tells the first one at once."""
    watches = [agent.watch("user:config") for agent in cluster.agents]
    with cluster.lab.agents[sender].client() as client:
        for number in range(3):
            client.send_event("config", b"%d" % number)
    for watch in watches:
        wait_until(lambda watch=watch: heard(watch)[-1:] == [("config", b"2")],
                   lambda watch=watch: f"{watch} has the last one, not {heard(watch)}", EVENT_S)
        assert len(heard(watch)) <= (1 if watch.agent.kind == "serf" else 2)
        assert all(event.coalesce for _, event in watch.events)


def test_each_command_line_sends_by_way_of_the_other_agent(cluster, serf):
    watches = [agent.watch("user:deploy") for agent in cluster.agents]
    assert serf(cluster.g1, "event", "-coalesce=false", "deploy", "v1") == (
        0, "Event 'deploy' dispatched! Coalescing enabled: false\n")
    assert gossipctl(cluster.s1, "event", "deploy", "--no-coalesce", "-", payload=b"\x00\xff\n") == (
        0, "event 'deploy' sent\n", "")
    wait_until_heard(watches, [("deploy", b"v1"), ("deploy", b"\x00\xff\n")])


def test_an_event_that_is_too_large_is_refused_in_the_same_words(cluster, serf):
    ours, theirs = (serf(agent, "event", "big", "x" * 600) for agent in (cluster.g1, cluster.s1))
    assert ours[0] == theirs[0] == 1 and ours[1].startswith(theirs[1].rstrip())
    assert gossipctl(cluster.s1, "event", "big", "x" * 600)[0] == 1


# queries

@pytest.mark.parametrize("asker", ALL)
@pytest.mark.parametrize("relay_factor", [0, 2])
def test_every_agent_gets_every_ack_and_answer_once(cluster, asker, relay_factor):
    with cluster.lab.agents[asker].client() as client:
        query = client.query("echo", b"\x00\xffping\n", relay_factor=relay_factor, timeout_s=2.0)
        answers = list(query)
    assert sorted(query.acked) == ALL
    assert sorted((answer.node, answer.payload) for answer in answers if not answer.ack) == [
        (name, b"\x00\xffping\n") for name in ("g1", "g2", "s2")]


@pytest.mark.parametrize("asker", ["g1", "s1"])
@pytest.mark.parametrize(("filters", "expected"), [
    ({"nodes": ["g2", "s2", "nobody"]}, ["g2", "s2"]),
    ({"tags": {"role": "^w"}}, ["g1", "s1"]),
    ({"tags": {"role": "^d", "dc": "."}}, ["g2"]),
    ({"tags": {"dc": "^$"}}, ["g1", "s2"]),
    ({"nodes": ["s1", "g1", "g2"], "tags": {"dc": "st"}}, ["g2", "s1"]),
    ({"tags": {"role": "("}}, []),
], ids=str)
def test_filters_choose_the_same_members_whoever_asks(cluster, asker, filters, expected):
    with cluster.lab.agents[asker].client() as client:
        query = client.query("nothing", timeout_s=1.0, **filters)
        assert [answer for answer in query if not answer.ack] == []
    assert sorted(query.acked) == expected


def test_without_acks_only_answers_come(cluster):
    for agent in (cluster.g1, cluster.s1):
        with agent.client() as client:
            assert sorted(answer.node for answer in client.query("who", ack=False, timeout_s=1.0)) == ["g1", "g2", "s2"]


def test_gossipd_knows_when_everybody_has_answered(cluster):
    begun = time.monotonic()
    with cluster.g1.client() as client:
        query = client.query("who", nodes=["g1", "g2", "s2"])
        answers = {answer.node: answer.payload for answer in query if not answer.ack}
    assert time.monotonic() - begun < SOON_S
    assert answers == {name: f"I am {name}\n".encode() for name in ("g1", "g2", "s2")}
    assert query.silent == []


def test_gossipd_does_not_wait_for_a_gossipd_where_nobody_answers(cluster):
    begun = time.monotonic()
    with cluster.g1.client() as client:
        query = client.query("unheard of", nodes=["g1", "g2"])
        assert sorted(answer.node for answer in query if answer.ack) == ["g1", "g2"]
    assert time.monotonic() - begun < SOON_S


def test_an_answer_that_comes_late_is_refused_by_both_kinds_alike(cluster):
    for agent in (cluster.g2, cluster.s1):
        with agent.client() as asker, agent.client() as client:
            events = client.events("query:late")
            client.stats()      # Serf's agent subscribes before it answers this
            list(asker.query("late", nodes=[agent.name], timeout_s=0.5))
            with pytest.raises(ClientError, match=r"No pending queries matching ID|past the deadline"):
                client.respond(next(events), b"x")


# serf's commands with gossipd

def lines(text: str) -> list[str]:
    return sorted(text.splitlines())


@pytest.mark.parametrize("words", [
    ("-timeout=1s", "who"), ("-timeout=1s", "-no-ack", "who"), ("-timeout=1s", "-tag", "role=db", "who"),
    ("-timeout=1s", "-node=g2", "-node=s1", "-relay-factor=1", "who"), ("-timeout=1s", "-tag", "role=(", "who"),
    ("_serf_x",), ("big", "x" * 1100),
], ids=lambda words: " ".join(words)[:30])
def test_serf_query_says_the_same_with_both_kinds(cluster, serf, words):
    ours, theirs = (serf(agent, "query", *words) for agent in (cluster.g1, cluster.s1))
    assert ours[0] == theirs[0]
    if ours[0] == 0:
        assert lines(ours[1]) == lines(theirs[1])
    else:       # gossipd adds the size
        assert ours[1].startswith(theirs[1].rstrip())


def test_serf_query_in_json_has_every_answer_in_one_piece(cluster, serf):
    code, output = serf(cluster.g1, "query", "-timeout=1s", "-format=json", "who")
    found = json.loads(output)
    assert (code, sorted(found["Acks"])) == (0, ALL)
    assert found["Responses"] == {name: f"I am {name}\n" for name in ("g1", "g2", "s2")}


def test_serf_query_takes_as_long_as_with_serf(cluster, serf):
    begun = time.monotonic()
    assert serf(cluster.g1, "query", "-node=g1", "unheard of")[0] == 0
    assert 3.0 < time.monotonic() - begun < 3.2 + SOON_S


def test_serf_reachability_contacts_all(cluster, serf):
    code, output = serf(cluster.g1, "reachability", "-verbose")
    assert code == 0 and output.endswith("Successfully contacted all live nodes\n"), output
    assert sorted(re.findall(r"Ack from '(\w+)'", output)) == ALL


def test_serf_rtt_estimates_between_all(cluster, serf):
    form = re.compile(r"Estimated (\w+) <-> (\w+) rtt: \d+\.\d{3} ms\n")
    for one, other in (("g1", "g2"), ("g2", "s1"), ("s1", "s2")):
        wait_until(lambda one=one, other=other: serf(cluster.g1, "rtt", one, other)[0] == 0,
                   f"a coordinate of {one} and {other}", EVENT_S)
        assert form.fullmatch(serf(cluster.g1, "rtt", one, other)[1]).groups() == (one, other)
    assert form.fullmatch(serf(cluster.g1, "rtt", "s2")[1]).groups() == ("s2", "g1")
    assert serf(cluster.g1, "rtt", "nosuch") == serf(cluster.s1, "rtt", "nosuch")


def test_serf_keys_says_the_same_with_both_kinds(cluster, serf):
    other = b64encode(bytes(range(7, 23))).decode()
    for words in (["-list"], [f"-install={other}"], ["-list"], [f"-use={b64encode(bytes(16)).decode()}"],
                  [f"-remove={KEY}"], [f"-remove={other}"], ["-install=not_base64!"]):
        ours, theirs = (serf(agent, "keys", *words) for agent in (cluster.g1, cluster.s1))
        assert (ours[0], lines(ours[1])) == (theirs[0], lines(theirs[1])), words


def test_serf_monitor_shows_log_and_events_of_gossipd(cluster, program):
    process = subprocess.Popen([program, "monitor", f"-rpc-addr={cluster.g1.rpc}"], stdout=subprocess.PIPE, text=True)
    shown: list[str] = []
    threading.Thread(target=lambda: shown.extend(process.stdout), daemon=True).start()
    wait_until(lambda: any("member-join name=s2" in line for line in shown), lambda: f"past lines: {shown}", EVENT_S)
    assert re.fullmatch(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[INFO\] \w+: .*\n", shown[0])
    with cluster.s1.client() as client:
        client.send_event("seen", b"v1", coalesce=False)
    wait_until(lambda: '\tName: "seen"\n' in shown, lambda: f"the event: {shown}", EVENT_S)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_serf_monitor_knows_the_levels(cluster, serf):
    assert serf(cluster.g1, "monitor", "-log-level=loud") == serf(cluster.s1, "monitor", "-log-level=loud")


# gossipctl with serf's agent

def test_gossipctl_query_tells_who_did_what_with_both_kinds(cluster):
    for agent in (cluster.g1, cluster.s1):
        code, output, errors = gossipctl(agent, "query", "who", "--timeout", "1", "-o", "json")
        found = json.loads(output)
        assert (code, errors, sorted(found["acked"]), sorted(found["answered"])) == (0, "", ALL, ["g1", "g2", "s2"])
        assert {answer["node"]: answer["payload"] for answer in found["answers"]} == {
            name: f"I am {name}\n" for name in ("g1", "g2", "s2")}
        assert found["silent"] == []
        code, output, _ = gossipctl(agent, "query", "who", "--no-ack", "--timeout", "1", "--tag", "role=web")
        assert code == 4 and re.search(r"^neither +1  s1$", output, re.MULTILINE)
        assert gossipctl(agent, "query", "who", "--node", "nobody", "--timeout", "1")[0] == 3


def test_gossipctl_reachability_and_rtt_work_with_serf(cluster):
    code, output, errors = gossipctl(cluster.s1, "reachability", "-o", "json")
    found = json.loads(output)
    assert (code, errors, found["silent"]) == (0, "", [])
    assert sorted(record["node"] for record in found["reached"]) == ALL
    code, output, _ = gossipctl(cluster.s1, "rtt", "g1", "-o", "json")
    found = json.loads(output)
    assert (code, found["nodes"]) == (0, ["g1", "s1"]) and 0 < found["rtt_ms"] < 1000
    assert gossipctl(cluster.s1, "rtt", "nosuch")[0] == 3


def test_gossipctl_rtt_says_what_serf_says(cluster, serf):
    for agent in (cluster.g1, cluster.s1):
        for _ in range(20):     # coordinates move all the time
            _, ours, _ = gossipctl(agent, "rtt", "g2", "s2")
            theirs = serf(agent, "rtt", "g2", "s2")[1]
            if ours.split()[-2] == theirs.split()[-2]:
                break
        else:
            pytest.fail(f"{agent}: {ours} is not {theirs}")


def test_gossipctl_keys_works_with_serf(cluster):
    code, output, errors = gossipctl(cluster.s1, "keys", "list")
    assert (code, output.splitlines()[1].split(), errors) == (0, [KEY, "4/4"], "")
    code, output, errors = gossipctl(cluster.s1, "keys", "remove", KEY)
    assert code == 1 and "done on 0 of 4 members" in output
    assert "g1: Removing the primary key is not allowed" in errors and "4/4 nodes reported failure" in errors


def test_gossipctl_keys_has_a_result_for_each_member_of_both_kinds(cluster):
    code, output, errors = gossipctl(cluster.g1, "keys", "install", "-", payload=KEY.encode() + b"\n")
    assert (code, errors) == (0, "")
    assert [line.split() for line in output.splitlines()[1:]] == [[name, "done"] for name in ALL]
    code, output, _ = gossipctl(cluster.g1, "keys", "list")
    assert output.splitlines()[1].split() == [KEY, "4/4", "4/4"]
    code, output, _ = gossipctl(cluster.g1, "keys", "remove", KEY, "-o", "json")
    found = json.loads(output)
    assert (code, found["done"], found["silent"], found["errors"]) == (1, [], [], 4)
    assert found["messages"] == dict.fromkeys(ALL, "Removing the primary key is not allowed")


def test_gossipctl_monitor_follows_serfs_log(cluster):
    process = subprocess.Popen([*GOSSIPCTL, "monitor", "--level", "debug", "--rpc-addr", cluster.s1.rpc],
                               cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert re.match(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w+\] ", process.stdout.readline())
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(10) == 0


def test_gossipctl_respond_says_that_serf_has_no_such_numbers(cluster):
    code, output, errors = gossipctl(cluster.s1, "respond", "5", "x")
    assert (code, output) == (1, "")
    assert errors.startswith("gossipctl: a Serf agent takes answers only from who got the query on the same connection")
