"""The Python client, beyond what gossipctl shows of it."""

from __future__ import annotations

import socket
import threading

import pytest

from gossipd import client as client_module
from gossipd.client import Client, ClientError, ConnectionLost, JoinFailed, Member, TimedOut, Unreachable
from gossipd.clientcalls import events as events_of
from gossipd.clientwire import WAITING_MAX, Records
from gossipd.commands import ChangeKeys, KeyOutcome, QueryAnswer, QueryOutcome, Respond, StartQuery
from gossipd.events import MemberEvent, QueryEvent, UserEvent
from gossipd.rpc.plain import pack
from gossipd.serf.coordinates import Coordinate
from tests.unit.ctl.daemon import a_daemon
from tests.unit.rpc.fakes import FakeBackend, a_member


def test_one_connection_serves_call_after_call(daemon):
    with Client(daemon.path) as client:
        assert [member.name for member in client.members(tags={"role": "web"})] == ["alpha"]
        assert client.stats()["agent"] == {"name": "alpha"}
        assert client.join(["seed"]) == 1
        assert len(client.members()) == 3


def test_members_are_typed(daemon):
    with Client(daemon.path) as client:
        alpha = client.members()[0]
    assert (alpha.address, alpha.tags, alpha.protocol, alpha.state) == (
        "192.0.2.11:7946", {"role": "web", "dc": "east"}, (2, 5, 5), "")
    assert repr(alpha) == "Member('alpha', '192.0.2.11:7946', 'alive')"


def test_a_failed_join_lists_reasons_and_the_connection_still_works(daemon):
    daemon.backend.join_outcome = (0, "2 errors occurred:\n\t* a\n\t* b\n\n")
    with Client(daemon.path) as client:
        with pytest.raises(JoinFailed) as caught:
            client.join(["a", "b"])
        assert caught.value.reasons == ["a", "b"]
        assert client.stats()


def test_events_are_iterated_until_the_connection_ends(daemon):
    daemon.events = [MemberEvent("member-join", [a_member("x", 1), a_member("y", 2)])]
    with Client(daemon.path) as client:
        events = client.events("member-join")
        event = next(events)
        assert (event.kind, [member.name for member in event.members]) == ("member-join", ["x", "y"])
        with pytest.raises(ConnectionLost):
            next(events)


def test_a_wrong_filter_is_an_error_at_once(daemon):
    with Client(daemon.path) as client, pytest.raises(ClientError, match="Invalid event filter"):
        client.events("bogus")


def test_a_large_cluster_arrives_whole(tmp_path):
    backend = FakeBackend([a_member(f"node-{i:04}", i % 250, tags={"n": str(i)}) for i in range(2000)])
    with a_daemon(tmp_path / "s", backend) as daemon, Client(daemon.path) as client:
        members = client.members()
    assert len(members) == 2000 and members[1234].tags == {"n": "1234"}


@pytest.mark.parametrize(("raw", "host"), [
    (b"\x7f\x00\x00\x01", "127.0.0.1"), (bytes(10) + b"\xff\xff\x7f\x00\x00\x01", "127.0.0.1"),
    (bytes(15) + b"\x01", "::1"), (b"19", "?3139"), (None, "?"), ("\x7f\x00\x00\x01", "127.0.0.1")])
def test_addresses_are_read_in_every_form_that_agents_send(raw, host):
    assert Member({"Addr": raw}).host == host


# --- daemons that misbehave ---

GREETED = pack({"Error": "", "Seq": 1}) + pack({"Error": "", "Seq": 2})


def a_server(tmp_path, *answers):
    """Accepts once; sends each answer after one more chunk of request, then hangs until the client goes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "bad"))
    listener.listen()

    def serve():
        with listener, listener.accept()[0] as connection:
            for answer in answers:
                connection.recv(65536)
                if answer is None:
                    return
                connection.sendall(answer)
            connection.recv(65536)

    threading.Thread(target=serve, daemon=True).start()
    return str(tmp_path / "bad")


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xc1", b"\x91" * 9000, b"\x82\xa5Error\xa0\xa3Seq\x63",
    pack({"Error": "", "Seq": [1]}), *(GREETED + pack(body) for body in (
        {"Members": 1}, {"Members": [1]}, {"Members": [{"Addr": 1}]}, {"Members": [{"Name": 1}, {"Name": "a"}]}))])
def test_garbage_is_a_client_error(tmp_path, answer):
    with Client(a_server(tmp_path, answer)) as client, pytest.raises(ClientError, match="not"):
        client.members()


@pytest.mark.parametrize("record", [{"Members": 1}, {"Members": [1]}, {"Members": [{"Addr": 1}]}])
def test_garbage_among_events_is_a_client_error(tmp_path, record):
    events = pack({"Error": "", "Seq": 2}) + pack(record)
    with Client(a_server(tmp_path, GREETED + events)) as client, pytest.raises(ClientError, match="is not gossipd"):
        next(client.events())


def test_a_daemon_that_hangs_up_is_connection_lost(tmp_path):
    with Client(a_server(tmp_path, None)) as client, pytest.raises(ConnectionLost):
        client.members()


def test_a_daemon_that_does_not_answer_is_timed_out(tmp_path):
    with Client(a_server(tmp_path, b"\x82\xa5Error\xa0"), timeout_s=0.05) as client, pytest.raises(TimedOut):
        client.members()


def test_a_name_that_nobody_looks_up_in_time_is_timed_out(monkeypatch):
    stuck = threading.Event()

    def slow(host: bytes, port: int, family: int, kind: int, protocol: int, flags: int) -> list[object]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        stuck.wait(30.0)
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    monkeypatch.setattr(client_module._socket, "getaddrinfo", slow)
    with pytest.raises(TimedOut, match=r"no answer from db1\.example:7373 within 0\.05 s"):
        Client("db1.example:7373", timeout_s=0.05)
    stuck.set()
    with pytest.raises(Unreachable, match="db1.example:7373: too late"):
        Client("db1.example:7373", timeout_s=5.0)


def test_a_daemon_is_found_by_the_name_of_its_host():
    with socket.create_server(("127.0.0.1", 0)) as server, \
            Client(f"localhost:{server.getsockname()[1]}", timeout_s=5.0) as client:
        assert client.address.startswith("localhost:")


def test_the_longest_timeouts_are_long(tmp_path):
    with Client(a_server(tmp_path, b""), timeout_s=2**32 / 1000 + 0.05) as client:      # in 32 bits 50 ms
        threading.Timer(0.2, client._socket.shutdown, [socket.SHUT_RDWR]).start()
        with pytest.raises(ConnectionLost):
            client.members()


def test_after_a_call_that_timed_out_nothing_late_is_taken_for_an_answer(tmp_path):
    late = pack({"Error": "", "Seq": 2})
    with Client(a_server(tmp_path, pack({"Error": "", "Seq": 1}), late), timeout_s=0.05) as client:
        client.greet()
        with pytest.raises(TimedOut):
            client.stats()
        for _ in range(2):
            with pytest.raises(ConnectionLost, match="timed out"):
                client.members()


def test_a_port_that_is_no_number_is_unreachable():
    for address in ("localhost", "localhost:http", ":7373x", "127.0.0.1:99999"):
        with pytest.raises(Unreachable):
            Client(address)


@pytest.mark.parametrize("address", [
    "127.0.0.1:\u00b2", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:" + "9" * 5000, "\udcff:1", "\u00e9..:1",
    "\u00e9" * 100 + ":1", "::1", "fe80::1:7373", "/\ud800", "/" + "x" * 300])
def test_an_address_that_is_none_is_unreachable(address):
    with pytest.raises(Unreachable):
        Client(address)


def test_a_socket_whose_queue_is_full_is_waited_for(tmp_path):
    path = str(tmp_path / "full.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        with pytest.raises(TimedOut):
            Client(path, timeout_s=0.1)
        threading.Timer(0.1, listener.accept).start()
        Client(path, timeout_s=10.0).close()


def test_a_socket_in_a_directory_of_somebody_else_is_not_trusted(monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("gossipd.paths.SYSTEM_SOCKET", "/nowhere")
    monkeypatch.setattr("gossipd.clientcalls.is_private", lambda directory: False)
    with pytest.raises(Unreachable, match="own"):
        Client()


# --- records that come after a reply ---

DEPLOY = UserEvent("deploy", b"v1", 7, True)
LOAD = QueryEvent(900, "load", b"p", 3, "beta", 1e9)


def test_calls_may_be_made_while_events_are_followed(daemon):
    daemon.events, daemon.hangs_up = [DEPLOY, LOAD], False
    with Client(daemon.path) as client:
        events = client.events("user", "query")
        assert client.stats()["agent"] == {"name": "alpha"}     # the events came before this answer
        assert next(events).name == "deploy"
        query = next(events)
        assert (query.id, query.query, query.source, query.payload) == (1, 900, "beta", b"p")
        client.respond(query, b"0.5")
        client.answer_query(query.query)
    assert daemon.backend.commands == [Respond(1, 900, b"0.5"), Respond(2, 900, None)]


def test_several_things_are_followed_at_the_same_time(daemon):
    daemon.events, daemon.hangs_up = [DEPLOY, LOAD], False
    daemon.backend.parts = [QueryAnswer("alpha", ack=True), QueryAnswer("beta", b"1")]
    with Client(daemon.path) as client:
        users, queries, asked = client.events("user"), client.events("query"), client.query("load")
        assert [next(queries).name, next(users).name] == ["load", "deploy"]
        assert [(answer.node, answer.ack, answer.payload) for answer in asked] == [
            ("alpha", True, None), ("beta", False, b"1")]
        assert client.stats()


def test_what_is_not_followed_any_more_disturbs_nobody(daemon):
    daemon.events, daemon.hangs_up = [DEPLOY], False
    with Client(daemon.path) as client:
        client.events("user")       # never looked at
        for _ in range(3):
            assert client.stats()
        events = client._open(events_of(("user",), False), None)
        next(events)
        events.close()
        assert client.stats()


def test_a_query_tells_who_did_what(daemon):
    daemon.backend.parts = [QueryAnswer("alpha", ack=True), QueryAnswer("beta", b"1")]
    daemon.backend.results[StartQuery] = QueryOutcome(["alpha"], ["beta"], ["gamma"]), ""
    with Client(daemon.path) as client:
        query = client.query("load", b"x", nodes=["alpha"], tags={"role": "w"}, relay_factor=2, timeout_s=1.5)
        assert query.silent is None
        assert repr(list(query)) == "[Answer('alpha', ack), Answer('beta', b'1')]"
        assert (query.acked, query.answered, query.silent) == (["alpha"], ["beta"], ["gamma"])
        daemon.backend.refuse = "query exceeds limit"
        with pytest.raises(ClientError, match="query exceeds limit"):
            client.query("load")
    assert daemon.backend.commands == [StartQuery(1, "load", b"x", ["alpha"], {"role": "w"}, True, 2, 1.5, True)]


def test_of_queries_that_are_over_nothing_is_kept(daemon):
    daemon.backend.parts = [QueryAnswer("alpha", ack=True)]
    daemon.backend.results[StartQuery] = QueryOutcome(["alpha"], [], []), ""
    with Client(daemon.path) as client:
        assert [[answer.node for answer in client.query("load")] for _ in range(2)] == [["alpha"], ["alpha"]]
        client.query("load")        # and nobody looks at what is said
        assert client.stats() and not client._talk._followed


def test_records_that_nobody_takes_are_dropped_newest_first():
    records = Records()
    for number in range(WAITING_MAX + 5):
        records.take({"number": number})
    assert [records.waiting[0], records.waiting[-1], len(records.waiting)] == [
        {"number": 0}, {"number": WAITING_MAX - 1}, WAITING_MAX]


def test_a_query_that_never_ends_times_out(tmp_path):
    with a_daemon(tmp_path / "s", FakeBackend(slow=True)) as daemon, Client(daemon.path, timeout_s=0.05) as client:
        with pytest.raises(TimedOut):
            list(client.query("load", timeout_s=0.05))


def test_keys_and_coordinates_are_typed(daemon):
    daemon.backend.coordinates = {"beta": Coordinate((0.0,) * 8, 1.5, 0.0, 0.25)}
    outcome = KeyOutcome(2, 2, 1, {"beta": "no"}, {"k": 2}, {"k": 1}, ["alpha"])
    daemon.backend.results[ChangeKeys] = outcome, "1/2 failed"
    with Client(daemon.path) as client:
        result = client.list_keys()
        assert (result.error, result.nodes, result.responses, result.errors, result.messages, result.keys,
                result.primaries, result.done, result.silent) == (
            "1/2 failed", 2, 2, 1, {"beta": "no"}, {"k": 2}, {"k": 1}, ["alpha"], [])
        with pytest.raises(ClientError, match="illegal base64"):
            client.use_key("!")
        beta = client.coordinate("beta")
        assert beta is not None and beta.rtt_s(beta) == 0.5
        assert client.coordinate("nosuch") is None
