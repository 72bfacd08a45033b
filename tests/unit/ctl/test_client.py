"""The Python client, beyond what gossipctl shows of it."""

from __future__ import annotations

import socket
import threading

import pytest

from gossipd.client import Client, ClientError, ConnectionLost, JoinFailed, Member, TimedOut, Unreachable
from gossipd.events import MemberEvent
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
    b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xc1", b"\x91" * 9000, b"\x82\xa5Error\xa0\xa3Seq\x63"])
def test_garbage_is_a_client_error(tmp_path, answer):
    with Client(a_server(tmp_path, answer)) as client, pytest.raises(ClientError, match="not"):
        client.members()


def test_a_daemon_that_hangs_up_is_connection_lost(tmp_path):
    with Client(a_server(tmp_path, None)) as client, pytest.raises(ConnectionLost):
        client.members()


def test_a_daemon_that_does_not_answer_is_timed_out(tmp_path):
    with Client(a_server(tmp_path, b"\x82\xa5Error\xa0"), timeout_s=0.05) as client, pytest.raises(TimedOut):
        client.members()


def test_a_port_that_is_no_number_is_unreachable():
    for address in ("localhost", "localhost:http", ":7373x", "127.0.0.1:99999"):
        with pytest.raises(Unreachable):
            Client(address)


def test_a_socket_in_a_directory_of_somebody_else_is_not_trusted(monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("gossipd.paths.SYSTEM_SOCKET", "/nowhere")
    monkeypatch.setattr("gossipd.client.is_private", lambda directory: False)
    with pytest.raises(Unreachable, match="own"):
        Client()
