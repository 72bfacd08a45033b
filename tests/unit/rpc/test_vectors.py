"""Exchanges recorded between clients and Serf's agent, replayed against a session.

The fake cluster is made of what the recording shows: its members, the outcomes of its commands, its events.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gossipd.commands import (
    ChangeKeys,
    ForceLeave,
    KeyOutcome,
    QueryAnswer,
    QueryOutcome,
    Respond,
    SendEvent,
    SetTags,
    StartQuery,
)
from gossipd.errors import CommandError
from gossipd.events import Event, MemberEvent, MemberInfo, QueryEvent, UserEvent
from gossipd.rpc.backend import NoLog
from gossipd.rpc.session import COMMANDS
from tests.unit.rpc.fakes import Client, FakeBackend, unpack

VECTORS = Path(__file__).parents[2] / "vectors" / "rpc"
AUTH_KEY = "s3cret"
UNKNOWN_TO_SERF = {"bogus"}

# 0.9.4 refuses bin where text is due; we accept it, as Serf's HEAD does
STRICTER_THAN_HEAD = {"raw-header-binkeys-extra", "raw-event-binname"}

COMMAND_NAMES = {SetTags: "tags", ForceLeave: "force-leave", SendEvent: "event", StartQuery: "query",
                 Respond: "respond"}
KEY_COMMANDS = {"install": "install-key", "use": "use-key", "remove": "remove-key", "list": "list-keys"}
NOTHING_TO_JOIN = ("", {"Num": 0})


def connections(vector: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return vector.get("connections") or [vector["exchange"]]


def headers(exchange: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [value for entry in exchange if entry["direction"] == "client->agent" for value in entry["decoded"]
            if isinstance(value, dict) and "Command" in value and isinstance(value["Command"], str)]


def replayable() -> list[str]:
    names = []
    for path in sorted(VECTORS.glob("*.json")):
        vector = json.loads(path.read_text())
        asked = {header["Command"] for exchange in connections(vector) for header in headers(exchange)}
        if asked <= COMMANDS.keys() | UNKNOWN_TO_SERF and path.stem not in STRICTER_THAN_HEAD:
            names.append(path.stem)
    return names


@pytest.mark.parametrize("name", replayable())
def test_a_recorded_exchange_is_answered_as_serf_answered_it(name):
    vector = json.loads((VECTORS / f"{name}.json").read_text())
    for exchange in connections(vector):
        replay(exchange, AUTH_KEY if asks_for_key(name) else "")


def asks_for_key(name: str) -> bool:
    return name == "cli-leave" or ("auth" in name and name != "raw-auth-not-configured")


def replay(exchange: list[dict[str, Any]], auth_key: str) -> None:
    log = RecordedLog()
    client = Client(RecordedBackend(exchange), handshake=False, auth_key=auth_key, log=log)
    hung_up = False
    for entry in exchange:
        data = bytes.fromhex(entry["hex"])
        if entry["direction"] == "client->agent":
            assert not client.session.closed or not data
            client.session.receive(data, now=entry["t"])
            hung_up = hung_up or bool(entry.get("eof"))
            continue
        want = unpack(data)
        for value in want:
            happen(value, client, log, entry["t"])
        assert comparable(client.read()) == comparable(once(want))
        if entry.get("eof") and not hung_up:
            assert client.session.closed


def happen(value: dict[str, Any], client: Client, log: RecordedLog, now: float) -> None:
    """What made the recording's agent send this."""
    if "Event" in value:
        client.session.on_event(event(value), now)
    elif "Log" in value:
        log.hear(40, value["Log"])
    elif "Type" in value:
        client.backend.tell(value)


class RecordedBackend(FakeBackend):
    """Answers with what the recording's agent answered."""

    def __init__(self, exchange: list[dict[str, Any]]) -> None:
        sent = [value for entry in exchange if entry["direction"] == "agent->client"
                for value in unpack(bytes.fromhex(entry["hex"]))]
        super().__init__([member(record) for record in known_members(sent).values()])
        self._stats = next((value for value in sent if "runtime" in value), {})
        self._outcomes = {
            command: [found for header in headers(exchange) if header["Command"] == command
                      if (found := outcome(sent, header["Seq"])) != NOTHING_TO_JOIN]
            for command in (*COMMAND_NAMES.values(), *KEY_COMMANDS.values(), "join", "get-coordinate")
        }
        self._asked = iter([records_of(sent, header["Seq"]) for header in headers(exchange)
                            if header["Command"] == "query" and not outcome(sent, header["Seq"])[0]])
        self.running: list[tuple[list[dict[str, Any]], Any, Any]] = []     # records to come, part, done

    def stats(self) -> dict[str, dict[str, str]]:
        return self._stats

    def coordinate(self, name: str) -> Any:
        _, body = self._outcomes["get-coordinate"].pop(0)
        coord = body["Coord"]
        return SimpleNamespace(**{key.lower(): value for key, value in coord.items()}) if body["Ok"] else None

    def join(self, addresses: list[str], replay: bool, done: Any) -> None:
        error, body = self._outcomes["join"].pop(0)
        done(body["Num"], error)

    def submit(self, make: Any, done: Any, part: Any = None) -> None:
        command = make(1)
        name = KEY_COMMANDS[command.action] if isinstance(command, ChangeKeys) else COMMAND_NAMES[type(command)]
        error, body = self._outcomes[name].pop(0)
        if isinstance(command, ChangeKeys):
            done(KeyOutcome(body["NumNodes"], body["NumResp"], body["NumErr"], body["Messages"], body["Keys"] or {}),
                 error)
        elif error:
            raise CommandError(error.removeprefix("failed to respond to key query: "))
        elif part:
            self.running.append((next(self._asked), part, done))
        else:
            done(None, "")

    def tell(self, record: dict[str, Any]) -> None:
        """A query that runs gives this."""
        waiting, part, done = next(entry for entry in self.running if entry[0] and entry[0][0] == record)
        waiting.pop(0)
        if record["Type"] == "done":
            done(QueryOutcome([], [], []), "")
        else:
            part(QueryAnswer(record["From"], record["Payload"], record["Type"] == "ack"))


class RecordedLog(NoLog):
    """Says what the recording's agent logged, when the test tells it to."""

    def listen(self, hear: Any, level: int) -> None:
        self.hear = hear


def known_members(sent: list[Any]) -> dict[str, dict[str, Any]]:
    return {record["Name"]: record for value in sent if "Event" not in value for record in value.get("Members") or ()}


def outcome(sent: list[Any], seq: int) -> tuple[str, Any]:
    at = next((i for i, value in enumerate(sent) if value.get("Seq") == seq), None)
    if at is None:
        return "never answered", {}
    return sent[at]["Error"], sent[at + 1] if at + 1 < len(sent) else {}


def records_of(sent: list[Any], seq: int) -> list[Any]:
    """Of a query."""
    return [body for header, body in pairwise(sent) if header.get("Seq") == seq and "Type" in body]


def member(record: dict[str, Any]) -> MemberInfo:
    versions = [record[f"{layer}{word}"] for layer in ("Protocol", "Delegate") for word in ("Min", "Max", "Cur")]
    return MemberInfo(record["Name"], record["Addr"], record["Port"], record["Tags"], record["Status"], bytes(versions))


def event(value: dict[str, Any]) -> Event:
    kind = value["Event"]
    if kind == "user":
        return UserEvent(value["Name"], value["Payload"], value["LTime"], value["Coalesce"])
    if kind == "query":
        return QueryEvent(1000 + value["ID"], value["Name"], value["Payload"], value["LTime"], "beta", 9.0)
    return MemberEvent(kind, [member(record) for record in value["Members"]])


def once(values: list[Any]) -> list[Any]:
    """Serf takes a refused request's body for another header and refuses twice; we answer once (spec rpc T3)."""
    return [value for i, value in enumerate(values)
            if i == 0 or value != values[i - 1] or value.get("Error") != "Authentication required"]


def comparable(value: Any, free: bool = False) -> Any:
    """Order kept where Serf's is fixed (keys of structs), sorted where it is random."""
    if isinstance(value, dict):
        free = free or "serf" in value      # stats
        pairs = [(key, comparable(part, free or key == "Tags")) for key, part in value.items()]
        return ("map", sorted(pairs) if free else pairs)
    if isinstance(value, list):
        items = [comparable(part, free) for part in value]
        return sorted(items, key=repr) if value and isinstance(value[0], dict) and "Name" in value[0] else items
    return value


def test_most_recordings_can_be_replayed():
    assert len(replayable()) >= 85
