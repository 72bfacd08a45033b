"""Queries that reach this node: dropped if known, else acked, offered to users, answered (spec serf §8.2-8.4)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from random import Random

from gossipd.addresses import Address
from gossipd.effects import DEBUG, Effect, Emit, Notice
from gossipd.errors import CommandError, WireError
from gossipd.events import QueryEvent
from gossipd.serf.config import SerfConfig
from gossipd.serf.lamport import LamportClock
from gossipd.serf.members import ALIVE, Roster, SerfMember
from gossipd.serf.messages import (
    ACK_FLAG,
    NO_BROADCAST_FLAG,
    QUERY_RESPONSE,
    QueryMessage,
    QueryResponse,
    Relay,
    encode_relay,
    encode_response,
)
from gossipd.serf.queryfilters import Filters
from gossipd.swim.members import address_of
from gossipd.swim.upper import Lower
from gossipd.timers import Allowance, TimerQueue
from gossipd.wire.reasons import BAD_TYPE

INTERNAL = "_serf_"                 # names that users never see
IDS_IN_SLOT_MAX = 1024              # queries of one Lamport time; further ones are dropped (§18.7)
PENDING_MAX = 4096                  # queries that users may answer; beyond, answered ones go first, then the oldest
TIMEOUT_MAX_S = 3600.0              # of a query, whatever it says (§18.14)
RELAY_PROTOCOL = 5                  # a member's memberlist ProtocolMax from which on it relays
STRANGERS_PER_S, STRANGERS_MOST = 10.0, 50.0
"""Acks and answers to addresses of no member we know: there may be a few right after a join (§18.5)."""
RELAYS_PER_S, RELAYS_MOST = 500.0, 2000.0
REFUSED = "relay refused"


@dataclass(slots=True)
class Question:
    """One query to this node, until its deadline."""

    id: int                         # ours, for `Respond`
    query: QueryMessage
    to: Address | None              # where the answer goes; None: nowhere
    deadline: float                 # seconds, monotonic


@dataclass(frozen=True, slots=True)
class AnswerOver:
    """A question's deadline."""

    id: int


class Answers:
    """`ours` takes the acks and answers that we give to our own queries, `internal` the queries of the library itself,
    `passed` is told the Lamport time of every query that concerns us. `may_answer` is asked before a query is acked:
    is there anybody here who might answer it? Where nobody is, the ack says so."""

    def __init__(self, config: SerfConfig, lower: Lower, roster: Roster, clock: LamportClock, rng: Random,
                 timers: TimerQueue[Hashable], tags: Callable[[], Mapping[str, str]],
                 ours: Callable[[QueryResponse, float, list[Effect]], None],
                 internal: Callable[[Question, float, list[Effect]], None],
                 passed: Callable[[int, list[Effect]], None], restored: int | None = None) -> None:
        """`restored`: the query clock that a snapshot knew; None without a snapshot."""
        self._config, self._lower, self._roster, self._clock = config, lower, roster, clock
        self._rng, self._timers, self._tags = rng, timers, tags
        self._ours, self._internal, self._passed = ours, internal, passed
        self.may_answer: Callable[[QueryEvent], bool] = _perhaps
        self.minimum = 0 if restored is None else min(restored + 1, clock.time)
        self._ring: dict[int, tuple[int, dict[int, None]]] = {}     # slot -> Lamport time, query ids
        self._questions: dict[int, Question] = {}                   # that users may answer
        self._answered: dict[int, tuple[int, int]] = {}             # Lamport time and id, until their deadlines
        self._ids = 0
        self._strangers = Allowance(STRANGERS_PER_S, STRANGERS_MOST)
        self._relayed = Allowance(RELAYS_PER_S, RELAYS_MOST)

    def receive(self, query: QueryMessage, now: float, out: list[Effect]) -> bool:
        """True if it is to be passed on: then also if it does not concern us."""
        self._clock.witness(query.ltime)
        if not self._is_news(query):
            return False
        if Filters(query.filters).match(self._lower.config.name, self._tags()):
            self._passed(query.ltime, out)
            self._take(query, now, out)
        return not query.flags & NO_BROADCAST_FLAG

    def _is_news(self, query: QueryMessage) -> bool:
        now, size = self._clock.time, self._config.query_buffer
        if query.ltime < self.minimum or (now > size and query.ltime < now - size):
            return False
        ltime, ids = self._ring.get(query.ltime % size, (-1, {}))
        if ltime != query.ltime:
            ids = {}
            self._ring[query.ltime % size] = query.ltime, ids
        if query.id in ids or len(ids) >= IDS_IN_SLOT_MAX:
            return False
        ids[query.id] = None
        return True

    def _take(self, query: QueryMessage, now: float, out: list[Effect]) -> None:
        question = self._question(query, now)
        if query.name.startswith(INTERNAL):
            self._ack(question, False, now, out)
            self._internal(question, now, out)
            return
        self._remember(question, now)
        event = QueryEvent(question.id, query.name, query.payload, query.ltime, query.source_node, question.deadline)
        self._ack(question, bool(query.flags & ACK_FLAG) and not self.may_answer(event), now, out)
        out.append(Emit(event))

    def _ack(self, question: Question, no_answer: bool, now: float, out: list[Effect]) -> None:
        query = question.query
        if query.flags & ACK_FLAG:
            local = self._lower.config.name
            self._send(question, QueryResponse(query.ltime, query.id, local, ACK_FLAG, None, no_answer), now, out)

    def _question(self, query: QueryMessage, now: float) -> Question:
        self._ids += 1
        timeout_s = min(max(query.timeout_ns / 1e9, 0.0), TIMEOUT_MAX_S)
        try:
            to = address_of(query.addr, query.port) if query.port else None
        except WireError:
            to = None
        return Question(self._ids, query, to, now + timeout_s)

    def _remember(self, question: Question, now: float) -> None:
        if question.deadline <= now:
            return
        if len(self._questions) + len(self._answered) >= PENDING_MAX:
            oldest = next(iter(self._answered or self._questions))
            self._timers.cancel(AnswerOver(oldest))
            self.over(oldest)
        self._questions[question.id] = question
        self._timers.set(AnswerOver(question.id), question.deadline)

    def over(self, id: int) -> None:
        self._questions.pop(id, None)
        self._answered.pop(id, None)

    # answering

    def respond(self, id: int, payload: bytes | None, now: float, out: list[Effect]) -> None:
        """A user's answer. Raises CommandError if it is too large, late, or not the first."""
        if id in self._answered:
            self.check_size(self._response(*self._answered[id], payload))
            raise CommandError("response already sent")
        question = self._questions.get(id)
        if question is None:
            raise CommandError("response is past the deadline")
        self.answer(question, payload, now, out)
        self._answered[id] = question.query.ltime, question.query.id
        del self._questions[id]

    def answer(self, question: Question, payload: bytes | None, now: float, out: list[Effect]) -> None:
        response = self._response(question.query.ltime, question.query.id, payload)
        self.check_size(response)
        if now > question.deadline:
            raise CommandError("response is past the deadline")
        self._send(question, response, now, out)

    def _response(self, ltime: int, query: int, payload: bytes | None) -> QueryResponse:
        return QueryResponse(ltime, query, self._lower.config.name, 0, payload or None)

    def decline(self, id: int, now: float, out: list[Effect]) -> None:
        """Nobody here will answer, after all: another ack says so, which Serf takes for a repetition."""
        question = self._questions.get(id)
        if question is not None and now <= question.deadline:
            self._ack(question, True, now, out)

    @property
    def response_bytes(self) -> int:
        return self._config.query_response_bytes

    def check_size(self, response: QueryResponse) -> None:
        limit, size = self._config.query_response_bytes, len(encode_response(response))
        if size > limit:
            raise CommandError(f"response exceeds limit of {limit} bytes", f"{size} bytes")

    def _send(self, question: Question, response: QueryResponse, now: float, out: list[Effect]) -> None:
        """Straight to who asked, and through relays if that was asked for."""
        query, to = question.query, question.to
        local = self._lower.config
        if query.source_node == local.name and query.addr == local.addr and query.port == local.port:
            self._ours(response, now, out)
            return
        if to is None or not (self._is_member(query.source_node, to) or self._strangers.take(now)):
            out.append(Notice(DEBUG, f"no answer to query={query.name!r} of={query.source_node!r} to={to}"))
            return
        message = encode_response(response)
        self._lower.send_user(to, message, out)
        if query.relay_factor:
            self._send_relays(query, message, out)

    def _is_member(self, name: str, address: Address) -> bool:
        member = self._roster.table.get(name)
        if member is not None and member.record.address == address:
            return True
        return any(member.record.address == address for member in self._roster.table.values())

    # relays

    def _send_relays(self, query: QueryMessage, message: bytes, out: list[Effect]) -> None:
        count, table = query.relay_factor, self._roster.table
        if len(table) < count + 1:
            return
        relay = encode_relay(Relay(query.addr, query.port, query.source_node, message))
        if len(relay) > self._config.query_response_bytes:
            out.append(Notice(DEBUG, f"answer too large to be relayed: {len(relay)} bytes"))
            return
        able = [member for member in table.values() if self._can_relay(member)]
        for member in self._rng.sample(able, min(count, len(able))):
            self._lower.send_user(member.record.address, relay, out)

    def _can_relay(self, member: SerfMember) -> bool:
        record = member.record
        return member.status is ALIVE and record.protocol_max >= RELAY_PROTOCOL and record is not self._lower.local

    def relay(self, relay: Relay, now: float, out: list[Effect]) -> None:
        """Pass on an answer for somebody else. Raises WireError for what is none, or not for a member (§18.4)."""
        if not relay.message or relay.message[0] != QUERY_RESPONSE:
            raise WireError(BAD_TYPE, "a relay of something else than an answer")
        to = address_of(relay.addr, relay.port)
        if not self._is_member(relay.node, to) or not self._relayed.take(now):
            raise WireError(REFUSED, f"for {relay.node!r}")
        self._lower.send_user(to, relay.message, out)


def _perhaps(query: QueryEvent) -> bool:
    return True
