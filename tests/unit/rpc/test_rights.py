"""What clients with fewer rights get to hear, and what those with a wrong key do."""

from __future__ import annotations

import pytest

from gossipd.events import QueryEvent
from gossipd.rpc.rights import NEEDED, Right, needed_for
from gossipd.rpc.session import COMMANDS
from tests.unit.rpc.fakes import Client

READING = ["members", "members-filtered", "stream", "stop", "stats", "get-coordinate", "discovered"]
SENDING = ["event", "query", "respond"]
CHANGING = ["join", "leave", "force-leave", "tags", "monitor", "install-key", "use-key", "remove-key", "list-keys"]


def call(client: Client, command: str) -> list[object]:
    body: list[object] = [{}] if COMMANDS[command][0] is not None else []
    return client.ask({"Command": command, "Seq": 7}, *body)


def denied(command: str, word: str) -> list[object]:
    return [{"Error": f"Permission denied: {command} needs the right {word}", "Seq": 7}]


def test_every_command_belongs_to_one_level():
    assert sorted([*READING, *SENDING, *CHANGING, "handshake", "auth"]) == sorted(COMMANDS)
    assert set(NEEDED) <= set(COMMANDS)


@pytest.mark.parametrize(("commands", "needed"), [(READING, Right.READ), (SENDING, Right.EVENT),
                                                  (CHANGING, Right.ADMIN)], ids=["read", "event", "admin"])
def test_a_level_allows_its_commands_and_the_level_below_does_not(commands, needed):
    for command in commands:
        assert needed_for(command) is needed
        refused = Client(right=Right(needed - 1))
        assert call(refused, command) == denied(command, needed.word)
        assert refused.backend.commands == [] and not refused.session.closed
        allowed = call(Client(right=needed), command)
        assert not str(allowed[0]).startswith("{'Error': 'Permission denied")


def test_the_body_of_a_refused_call_is_skipped_and_the_connection_goes_on():
    client = Client(right=Right.READ)
    replies = client.ask({"Command": "join", "Seq": 1}, {"Existing": ["a"]}, {"Command": "stats", "Seq": 2})
    assert replies[0]["Error"] == "Permission denied: join needs the right admin"
    assert replies[1] == {"Error": "", "Seq": 2} and "agent" in replies[2]


def test_an_unknown_command_is_unknown_whatever_the_rights():
    client = Client(right=Right.NONE)
    assert client.ask({"Command": "nonsense", "Seq": 1}) == [{"Error": "Unsupported command", "Seq": 1}]
    assert client.session.closed


def test_nobody_waits_for_the_answer_of_a_client_that_may_not_answer():
    query = QueryEvent(1, "load", None, 1, "beta", 9.0)
    for right, answers in ((Right.READ, False), (Right.EVENT, True)):
        client = Client(right=right)
        client.ask({"Command": "stream", "Seq": 1}, {"Type": "query"})
        assert client.session.may_answer(query) is answers


def test_a_client_is_a_guest_until_it_may_do_something():
    assert Client(handshake=False).session.is_guest
    assert not Client().session.is_guest
    assert Client(right=Right.NONE).session.is_guest
    client = Client(auth_key="s3cret")
    assert client.session.is_guest
    client.ask({"Command": "auth", "Seq": 1}, {"AuthKey": "s3cret"})
    assert not client.session.is_guest


class Delays:
    """Holds wrong keys up until told."""

    def __init__(self, room: bool = True) -> None:
        self.room = room
        self.attempts: list[int] = []
        self.waiting: list[object] = []

    def __call__(self, attempts: int, tell: object) -> bool:
        self.attempts.append(attempts)
        self.waiting.append(tell)
        return self.room

    def let_go(self) -> None:
        self.waiting.pop()()    # type: ignore[operator]


def test_a_wrong_key_is_answered_later_and_what_was_asked_meanwhile_after_it():
    delays = Delays()
    client = Client(auth_key="s3cret", wrong_key=delays)
    wrong = ({"Command": "auth", "Seq": 1}, {"AuthKey": "secret"})
    assert client.ask(*wrong, {"Command": "stats", "Seq": 2}) == []
    delays.let_go()
    assert client.woken == 1
    assert client.read() == [
        {"Error": "Invalid authentication token", "Seq": 1}, {"Error": "Authentication required", "Seq": 2}]
    assert client.ask(*wrong) == [] and delays.attempts == [1, 2]


def test_a_right_key_is_never_held_up():
    delays = Delays(room=False)
    client = Client(auth_key="s3cret", wrong_key=delays)
    assert client.ask({"Command": "auth", "Seq": 1}, {"AuthKey": "s3cret"}) == [{"Error": "", "Seq": 1}]


def test_a_client_with_a_wrong_key_is_closed_where_too_many_wait():
    client = Client(auth_key="s3cret", wrong_key=Delays(room=False))
    assert client.ask({"Command": "auth", "Seq": 1}, {"AuthKey": "secret"}) == []
    assert client.session.closed
    assert client.notices == ["agent.ipc: Closing client with a wrong key, too many are waiting: test"]


def test_a_client_that_is_gone_when_the_wait_ends_does_no_harm():
    delays = Delays()
    client = Client(auth_key="s3cret", wrong_key=delays)
    client.send({"Command": "auth", "Seq": 1}, {"AuthKey": "secret"})
    client.session.close()
    delays.let_go()
    assert client.read() == []
