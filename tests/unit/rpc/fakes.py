"""A cluster as a session sees it: three members, commands that answer when the test says so or at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgpack import Unpacker, packb

from gossipd.commands import Command, QueryOutcome, StartQuery
from gossipd.errors import CommandError
from gossipd.events import MemberInfo
from gossipd.rpc.backend import Coordinate, Done, Part
from gossipd.rpc.session import Session

VERSIONS = bytes((1, 5, 2, 2, 5, 5))


def a_member(name: str, host: int, status: str = "alive", **more: Any) -> MemberInfo:
    return MemberInfo(name=name, addr=bytes((192, 0, 2, host)), port=7946, tags=more.pop("tags", {}), status=status,
                      versions=VERSIONS, **more)


def three_members() -> list[MemberInfo]:
    return [
        a_member("alpha", 11, tags={"role": "web", "dc": "east"}),
        a_member("beta", 12, tags={"role": "db"}),
        a_member("gamma", 13),
    ]


class FakeBackend:
    """Commands are recorded. With `slow` their outcome waits for `finish`, else they succeed at once."""

    def __init__(self, members: list[MemberInfo] | None = None, name: str = "alpha", slow: bool = False) -> None:
        self.name, self.slow = name, slow
        self.members_version = 1
        self.member_list = three_members() if members is None else members
        self.commands: list[Command] = []
        self.joins: list[tuple[list[str], bool]] = []
        self.waiting: list[Done] = []
        self.refuse = ""            # the CommandError that the next submit raises
        self.refuse_detail = ""
        self.join_outcome: tuple[int, str] = (1, "")
        self.members_asked = 0
        self.tags: dict[str, str] = {}      # as stats tells them
        self.results: dict[type, tuple[object, str]] = {StartQuery: (QueryOutcome([], [], []), "")}
        self.parts: list[object] = []       # told before the next command is done
        self.hearing: list[Part] = []       # of commands that run
        self.coordinates: dict[str, Coordinate] = {}
        self.sightings: dict[str, Any] = {"Cluster": "", "Links": [], "Seen": []}

    def members(self) -> list[MemberInfo]:
        self.members_asked += 1
        return list(self.member_list)

    def stats(self) -> dict[str, dict[str, str]]:
        return {"agent": {"name": self.name}, "serf": {"members": str(len(self.member_list))}, "tags": self.tags}

    def discovered(self, ask: bool) -> dict[str, Any]:
        self.asked_to_discover = ask
        return self.sightings

    def wall(self, moment: float) -> float:
        return 1_700_000_000.0 + moment

    def coordinate(self, name: str) -> Coordinate | None:
        return self.coordinates.get(name)

    def submit(self, make: Callable[[int], Command], done: Done, part: Part | None = None) -> None:
        if self.refuse:
            raise CommandError(self.refuse, self.refuse_detail)
        command = make(len(self.commands) + 1)
        self.commands.append(command)
        if part is not None:
            self.hearing.append(part)
            for value in self.parts:
                part(value)
        self._end(done, *self.results.get(type(command), (None, "")))

    def join(self, addresses: list[str], replay: bool, done: Done) -> None:
        self.joins.append((addresses, replay))
        self._end(done, *self.join_outcome)

    def leave(self, done: Done) -> None:
        self._end(done, None, "")

    def finish(self, result: object = None, error: str = "") -> None:
        self.waiting.pop(0)(result, error)

    def _end(self, done: Done, result: object, error: str) -> None:
        if self.slow:
            self.waiting.append(done)
        else:
            done(result, error)


class Client:
    """The other end of a session: sends Python values, reads them back."""

    def __init__(
        self, backend: FakeBackend | None = None, handshake: bool = True, view: str = "", **options: Any,
    ) -> None:
        self.backend = backend or FakeBackend()
        self.woken = 0
        self.notices: list[str] = []
        self.session = Session(self.backend, "test", wake=self._wake,
                               notice=lambda level, line: self.notices.append(line), **options)
        if handshake:
            greeting = {"Version": 1, "View": view}
            assert self.ask({"Command": "handshake", "Seq": 0}, greeting) == [{"Error": "", "Seq": 0}]

    def _wake(self) -> None:
        self.woken += 1

    def ask(self, *values: object) -> list[Any]:
        self.send(*values)
        return self.read()

    def send(self, *values: object) -> None:
        self.send_bytes(b"".join(packb(value, use_bin_type=True, unicode_errors="surrogateescape") for value in values))

    def send_bytes(self, data: bytes) -> None:
        self.session.receive(data, now=1.0)

    def writes(self) -> list[bytes]:
        found = []
        while data := self.session.take_output():
            found.append(data)
        return found

    def read(self) -> list[Any]:
        return unpack(b"".join(self.writes()))


def unpack(data: bytes) -> list[Any]:
    unpacker = Unpacker(raw=False, unicode_errors="surrogateescape", strict_map_key=False)
    unpacker.feed(data)
    return list(unpacker)
