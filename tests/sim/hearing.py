"""Who heard which events and queries, when, and what must hold of that. Who answers, and what snapshots keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from gossipd.commands import QueryAnswer, QueryOutcome, Respond, SendEvent, StartQuery
from gossipd.errors import CommandError
from gossipd.events import Event, QueryEvent, UserEvent
from gossipd.node import Node
from tests.sim.host import Host, HostState
from tests.sim.world import World

NAMED_MAX = 5               # names listed in one sentence
CLOCK_LINES_S = 0.5         # how often the daemon writes the member clock
FLUSH_S = 0.5               # how long the daemon keeps lines before it writes them


@dataclass(slots=True)
class Heard:
    """A user event, as one process was told of it."""

    at: float
    boot: int
    name: str
    ltime: int
    payload: bytes | None


@dataclass(slots=True)
class Sent:
    at: float
    sender: str
    ltime: int
    known: int                  # the highest Lamport time that the sender had heard by then


@dataclass(slots=True)
class Ears:
    """Listens at every host. Events are told apart by their names: send each name once, with `send`."""

    world: World
    heard: dict[str, list[Heard]] = field(default_factory=dict)     # by host
    sent: dict[str, Sent] = field(default_factory=dict)             # by name of the event

    def __post_init__(self) -> None:
        self.world.listeners.append(self._listen)

    def _listen(self, host: Host, event: Event) -> None:
        if isinstance(event, UserEvent):
            one = Heard(self.world.now, host.boot, event.name, event.ltime, event.payload)
            self.heard.setdefault(host.name, []).append(one)

    def send(self, sender: str, name: str, payload: bytes | None = None) -> None:
        known = max((one.ltime for one in self.heard.get(sender, ())), default=0)
        self.world.command(sender, lambda id: SendEvent(id, name, payload, coalesce=False))
        self.sent[name] = Sent(self.world.now, sender, self.heard[sender][-1].ltime, known)

    def count(self, host: str, boot: int | None = None) -> Counter[str]:
        """How often each event was heard there, by one process or by all."""
        return Counter(one.name for one in self.heard.get(host, ()) if boot is None or one.boot == boot)

    def missing(self) -> list[str]:
        """Events not heard, as "event at host", of the hosts that run now."""
        return [f"{name} at {host.name}" for host in self.world.running() for name in self.sent
                if not self.count(host.name)[name]]

    def problems(self) -> list[str]:
        """What is wrong if every running host should have heard every event once."""
        twice = [f"{name} at {host.name} {times} times" for host in self.world.running()
                 for name, times in self.count(host.name).items() if times > 1]
        unsent = [f"{one.name} at {name}" for name, all_ in self.heard.items() for one in all_
                  if one.name not in self.sent]
        return [*_sentence("never heard", self.missing()), *_sentence("heard again", twice),
                *_sentence("heard but never sent", unsent), *self.disorder()]

    def disorder(self) -> list[str]:
        """Lamport's promise: whoever sends an event gives it a later time than all that it had heard of."""
        early = [f"{name} of {sent.ltime} after {sent.known}" for name, sent in self.sent.items()
                 if sent.ltime <= sent.known]
        changed = [f"{one.name} at {host}: {one.ltime}" for host, all_ in self.heard.items() for one in all_
                   if one.name in self.sent and one.ltime != self.sent[one.name].ltime]
        return [*_sentence("sent with too early a time", early), *_sentence("heard with another time", changed)]

    def overtakings(self) -> int:
        """How often a host heard an event after one with a later time."""
        return sum(later.ltime < former.ltime for all_ in self.heard.values()
                   for former, later in zip(all_, all_[1:], strict=False))

    def delays(self) -> list[float]:
        """How long each event took to each host, in seconds, in order."""
        return sorted(one.at - self.sent[one.name].at for all_ in self.heard.values() for one in all_
                      if one.name in self.sent)

    def last_delays(self) -> list[float]:
        """How long each event took to the last host, in seconds."""
        last: dict[str, float] = {}
        for one in (one for all_ in self.heard.values() for one in all_ if one.name in self.sent):
            last[one.name] = max(last.get(one.name, 0.0), one.at - self.sent[one.name].at)
        return list(last.values())


Answering = Callable[[Host, QueryEvent], float | None]
"""After how many seconds a host answers a query; None: never."""


@dataclass(slots=True)
class Mouths:
    """Answers queries at every host, with its name."""

    world: World
    answering: Answering
    asked: Counter[str] = field(default_factory=Counter)        # queries seen, by host
    too_late: Counter[str] = field(default_factory=Counter)     # answers that the node itself refused, by host

    def __post_init__(self) -> None:
        self.world.listeners.append(self._listen)

    def _listen(self, host: Host, event: Event) -> None:
        if isinstance(event, QueryEvent):
            self.asked[host.name] += 1
            after = self.answering(host, event)
            if after is not None:
                self.world.at(self.world.now + after, self._respond, host, host.boot, event)

    def _respond(self, host: Host, boot: int, event: QueryEvent) -> None:
        if host.boot != boot or host.state is not HostState.RUNNING:
            return
        try:
            self.world.command(host.name, lambda id: Respond(id, event.id, host.name.encode()))
        except CommandError:
            self.too_late[host.name] += 1


@dataclass(slots=True)
class Asked:
    """A query of ours, over or not."""

    host: Host
    id: int
    at: float

    @property
    def outcome(self) -> QueryOutcome | None:
        reply = self.host.replies.get(self.id)
        return reply.result if reply is not None and isinstance(reply.result, QueryOutcome) else None

    @property
    def answers(self) -> dict[str, bytes | None]:
        """Payloads by name, acks left out."""
        values = [value for _, value in self.host.parts.get(self.id, ())]
        return {value.source: value.payload for value in values if isinstance(value, QueryAnswer) and not value.ack}


def ask(world: World, name: str, *, early: bool = False, timeout_s: float = 0.0, relay_factor: int = 0) -> Asked:
    """Ask everybody, with acks."""
    make = partial(StartQuery, name="load", ack=True, early=early, timeout_s=timeout_s, relay_factor=relay_factor)
    return Asked(world.hosts[name], world.command(name, lambda id: make(id)), world.now)


def ask_and_wait(world: World, name: str, *, early: bool = False, timeout_s: float = 0.0,
                 relay_factor: int = 0) -> tuple[Asked, float]:
    """Ask everybody and run until the query is over. Returns the query and how long it took, in seconds."""
    asked = ask(world, name, early=early, timeout_s=timeout_s, relay_factor=relay_factor)
    took = world.wait_for(lambda: asked.outcome is not None, 30.0, 0.005)
    assert took is not None, f"a query of {name} never ended"
    return asked, took


# snapshots


def keep_clocks(world: World) -> None:
    """From now on every node's member clock is written as the daemon does."""
    for host in world.running():
        if isinstance(host.core, Node) and (lines := host.core.serf.clock_lines()):
            world.write(host, lines)
    world.at(world.now + CLOCK_LINES_S, keep_clocks, world)


def lose_tail(world: World, name: str) -> None:
    """The process died before it wrote its last lines, and within one of them."""
    host = world.hosts[name]
    kept = b"".join(lines for at, lines in host.disk if at <= world.now - FLUSH_S)
    rest = b"".join(lines for at, lines in host.disk if at > world.now - FLUSH_S)
    host.disk[:] = [(0.0, kept + rest[:world.rng.randrange(len(rest) + 1)])]


def restart_from_disk(world: World, name: str) -> None:
    """Start the process again with what its snapshot kept, and nothing else."""
    host = world.hosts[name]
    text = b"".join(lines for _, lines in host.disk)
    if not text.endswith(b"\n"):
        host.disk.append((world.now, b"\n"))
    world.restart(name, snapshot=text)


def _sentence(what: str, cases: list[str]) -> list[str]:
    return [f"{what}: {len(cases)}: {'; '.join(cases[:NAMED_MAX])}"] if cases else []
