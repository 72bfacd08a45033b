"""Queries of ours: asking the cluster and collecting what comes back (spec serf §8.1, §8.5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from random import Random

from gossipd.commands import QueryAnswer, QueryOutcome, StartQuery
from gossipd.effects import Effect, Part, Reply
from gossipd.errors import CommandError
from gossipd.serf.answers import INTERNAL
from gossipd.serf.config import SerfConfig
from gossipd.serf.lamport import LamportClock
from gossipd.serf.members import ALIVE, LEAVING, Roster, SerfMember
from gossipd.serf.messages import ACK_FLAG, QueryMessage, QueryResponse, encode_query
from gossipd.serf.queryfilters import Filters, encode_filters
from gossipd.serf.tags import decode_tags
from gossipd.swim.upper import Lower
from gossipd.timers import TimerQueue

QUERIES_SINCE = 4                   # the first protocol version that may start queries
PING = "_serf_ping"                 # the one internal query that users may start
SOURCES_MIN = 64                    # answers taken at least, however small the cluster
TIMEOUT_MAX_S = 3600.0
WORK_MAX = 100_000                  # steps of one expression over all members, to know whom it asks: about 25 ms

OnAnswer = Callable[[QueryAnswer, float, list[Effect]], None]
OnOver = Callable[[QueryOutcome, float, list[Effect]], None]


@dataclass(slots=True)
class Ask:
    """What to ask whom. `early`: it is over when everybody asked has answered, has said in the ack that nobody there
    will, or has acked a ping; at its deadline if we cannot tell who is asked."""

    name: str
    payload: bytes | None = None
    nodes: list[str] = field(default_factory=list)
    tags: Mapping[str, str] = field(default_factory=dict)
    ack: bool = False
    relay_factor: int = 0
    timeout_s: float = 0.0
    early: bool = False


@dataclass(frozen=True, slots=True)
class QueryOver:
    ltime: int


class RunningQuery:
    __slots__ = ("id", "acks_wanted", "acks_count", "asked", "missing", "acked", "answered", "sources_max",
                 "on_answer", "on_over")

    def __init__(self, id: int, ask: Ask, asked: list[str] | None, sources_max: int, on_answer: OnAnswer,
                 on_over: OnOver) -> None:
        self.id = id
        self.acks_wanted = ask.ack
        self.acks_count = ask.name == PING          # nobody answers a ping but by the ack
        self.asked = asked                          # None: not of interest, or not to be told
        self.missing = dict.fromkeys(asked or ())
        self.acked: dict[str, None] = {}
        self.answered: dict[str, None] = {}
        self.sources_max = sources_max
        self.on_answer, self.on_over = on_answer, on_over

    def outcome(self) -> QueryOutcome:
        silent = None if self.asked is None else [
            name for name in self.asked if name not in self.acked and name not in self.answered]
        return QueryOutcome(list(self.acked), list(self.answered), silent)


class Queries:
    """`handle` processes a query as everybody does, `spread` gossips it."""

    def __init__(self, config: SerfConfig, lower: Lower, roster: Roster, clock: LamportClock, rng: Random,
                 timers: TimerQueue[Hashable], tags: Callable[[], Mapping[str, str]],
                 handle: Callable[[QueryMessage, float, list[Effect]], bool],
                 spread: Callable[[bytes, float], None]) -> None:
        self._config, self._lower, self._roster, self._clock = config, lower, roster, clock
        self._rng, self._timers, self._tags = rng, timers, tags
        self._handle, self._spread = handle, spread
        self._running: dict[int, RunningQuery] = {}     # by Lamport time: each of ours has its own

    def default_timeout_s(self) -> float:
        """Longer the larger the cluster: gossip needs the time."""
        scale = math.ceil(math.log10(self._lower.up_count() + 1))
        return self._lower.config.gossip_interval_s * self._config.query_timeout_mult * scale

    def start(self, command: StartQuery, now: float, out: list[Effect]) -> None:
        """For a user: a `Part` for each ack and answer, then the `Reply`. Raises CommandError."""
        if command.name.startswith(INTERNAL) and (command.name != PING or command.payload):
            raise CommandError(f"Queries cannot contain the '{INTERNAL}' prefix")
        if not 0 <= command.relay_factor <= 255:
            raise CommandError(f"relay factor must be 0 to 255, not {command.relay_factor}")

        def part(answer: QueryAnswer, now: float, out: list[Effect]) -> None:
            out.append(Part(command.id, answer))

        def over(outcome: QueryOutcome, now: float, out: list[Effect]) -> None:
            out.append(Reply(command.id, outcome))

        self.ask(Ask(command.name, command.payload, command.nodes, command.tags, command.ack, command.relay_factor,
                     command.timeout_s, command.early), part, over, now, out)

    def ask(self, ask: Ask, on_answer: OnAnswer, on_over: OnOver, now: float, out: list[Effect]) -> int:
        """Returns the query's Lamport time, by which `stop` knows it. Raises CommandError."""
        if self._config.protocol < QUERIES_SINCE:
            raise CommandError("Feature not supported", f"queries need protocol {QUERIES_SINCE}")
        timeout_s = min(ask.timeout_s, TIMEOUT_MAX_S) if ask.timeout_s > 0 else self.default_timeout_s()
        query = self._message(ask, timeout_s)
        message, limit = encode_query(query), self._config.query_bytes
        if len(message) > limit:
            raise CommandError(f"query exceeds limit of {limit} bytes", f"{len(message)} bytes")
        asked = self._who(query) if ask.early else None
        sources_max = max(SOURCES_MIN, 2 * len(self._roster.table))
        running = RunningQuery(query.id, ask, asked, sources_max, on_answer, on_over)
        self._running[query.ltime] = running
        self._timers.set(QueryOver(query.ltime), now + timeout_s)
        self._handle(query, now, out)
        self._spread(message, now)
        self._stop_if_complete(query.ltime, running, now)
        return query.ltime

    def _message(self, ask: Ask, timeout_s: float) -> QueryMessage:
        local = self._lower.config
        return QueryMessage(
            ltime=self._clock.time, id=self._rng.getrandbits(31), addr=local.addr, port=local.port,
            source_node=local.name, name=ask.name, payload=ask.payload or None, timeout_ns=int(timeout_s * 1e9),
            filters=encode_filters(ask.nodes, ask.tags), flags=ACK_FLAG if ask.ack else 0,
            relay_factor=ask.relay_factor)

    def _who(self, query: QueryMessage) -> list[str] | None:
        """The members in operation that the filters let pass; None if other nodes may read a filter otherwise."""
        filters, local = Filters(query.filters, WORK_MAX), self._lower.config.name
        names = [name for name, member in self._roster.table.items() if _runs(member)
                 and filters.match(name, self._tags() if name == local else decode_tags(member.record.meta))]
        return None if filters.uncertain else names

    def on_response(self, response: QueryResponse, now: float, out: list[Effect]) -> None:
        """Late ones, strangers' ones and repetitions are nothing special: relays make them."""
        running = self._running.get(response.ltime)
        if running is None or running.id != response.id:
            return
        if response.no_answer:
            running.missing.pop(response.source, None)
            self._stop_if_complete(response.ltime, running, now)
        seen = running.acked if response.is_ack else running.answered
        if (response.is_ack and not running.acks_wanted) or response.source in seen or len(seen) >= running.sources_max:
            return
        seen[response.source] = None
        if not response.is_ack or running.acks_count:
            running.missing.pop(response.source, None)
        running.on_answer(QueryAnswer(response.source, response.payload, response.is_ack, response.ltime), now, out)
        self._stop_if_complete(response.ltime, running, now)

    def member_gone(self, name: str, now: float) -> None:
        """It failed or left: nobody waits for its answer any more."""
        for ltime, running in self._running.items():
            if name in running.missing:
                del running.missing[name]
                self._stop_if_complete(ltime, running, now)

    def _stop_if_complete(self, ltime: int, running: RunningQuery, now: float) -> None:
        if running.asked is not None and not running.missing:
            self.stop(ltime, now)

    def stop(self, ltime: int, now: float) -> None:
        """Enough was heard: it is over now, not at its deadline."""
        if ltime in self._running:
            self._timers.set(QueryOver(ltime), now)

    def over(self, ltime: int, now: float, out: list[Effect]) -> None:
        running = self._running.pop(ltime)
        running.on_over(running.outcome(), now, out)


def _runs(member: SerfMember) -> bool:
    """Who is said to be leaving answers until it has gone."""
    return member.status is ALIVE or (member.status is LEAVING and member.record.is_up)
