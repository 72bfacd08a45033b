"""One RPC client's session as a state machine: bytes in; commands, replies and stream records out (spec rpc §5-§7)."""

from __future__ import annotations

from collections.abc import Callable

from gossipd.commands import (
    ChangeKeys,
    Command,
    ForceLeave,
    KeyOutcome,
    QueryAnswer,
    QueryOutcome,
    Respond,
    SendEvent,
    SetTags,
    StartQuery,
)
from gossipd.effects import DEBUG, ERROR, INFO, WARNING
from gossipd.errors import CommandError
from gossipd.events import Event, QueryEvent
from gossipd.filters import EventFilter, parse_filters, wanted
from gossipd.regexparser import RegexError
from gossipd.rpc.backend import Backend, Done, Log, NoLog, WrongKey
from gossipd.rpc.codec import (
    Schema,
    boolean,
    encode,
    int64,
    payload,
    response,
    text,
    text_map,
    texts,
    uint8,
    uint64,
)
from gossipd.rpc.connection import GREETINGS, Connection, Feed, Held, no_notice, nothing, tell_at_once
from gossipd.rpc.keytext import check_size, key_bytes
from gossipd.rpc.records import (
    Encodings,
    answer_body,
    coordinate_body,
    done_body,
    full_members_body,
    keys_body,
    log_body,
    members_body,
    query_body,
)
from gossipd.rpc.rights import Right
from gossipd.rpc.selection import select_members

STREAMS_MAX = 64
"""Streams of one connection. Serf has no limit; its own clients open one or two."""
QUERIES_MAX = 256
"""Queries of one connection that may run at the same time."""
UNANSWERED_MAX = 4096
"""Queries that one client may still answer; beyond, the oldest is forgotten."""
EVERYTHING = parse_filters("*")
"""What Serf's `monitor` follows, next to the log, and never answers."""
LEVELS = {"TRACE": 0, "DEBUG": DEBUG, "INFO": INFO, "WARN": WARNING, "ERR": ERROR}


class _Stream(Feed):
    __slots__ = ("filters", "answers")

    def __init__(self, filters: tuple[EventFilter, ...], answers: bool) -> None:
        super().__init__()
        self.filters = filters
        self.answers = answers      # its client may answer queries


class _Monitor(Feed):
    __slots__ = ("seq", "dropping")

    def __init__(self, seq: int) -> None:
        super().__init__()
        self.seq = seq
        self.dropping = False       # and has said so


class Session(Connection):
    """`peer` names the client in notices; `auth_key` is empty if none is asked for, `right` what it may do.

    `encodings` and `held` are shared by the sessions of a daemon. `wake` is called when output or `closed` came up
    outside of `receive`; `notice(level, line)` gets what Serf's agent logs about its clients.
    """

    def __init__(
        self, backend: Backend, peer: str, *, auth_key: str = "", right: Right = Right.ADMIN,
        wrong_key: WrongKey = tell_at_once, encodings: Encodings | None = None, log: Log | None = None,
        wake: Callable[[], None] = nothing, notice: Callable[[int, str], None] = no_notice, held: Held | None = None,
    ) -> None:
        super().__init__(COMMANDS, peer, auth_key, right, wrong_key, wake, notice, held)
        self.records_dropped = 0
        self._backend = backend
        self._encodings = encodings or Encodings()
        self._log: Log = log or NoLog()
        self._streams: dict[int, _Stream] = {}
        self._followers: tuple[tuple[int, _Stream], ...] = ()       # the same, for those who go through them
        self._monitor: _Monitor | None = None
        self._unanswered: dict[int, QueryEvent] = {}    # by their number on this connection
        self._query_count = 0
        self._asking = 0            # queries of this client that run

    # --- what the shell calls ---

    def on_event(self, event: Event, now: float) -> None:
        """Something happened: one record for each stream that wants it."""
        self._now = now
        for seq, stream in self._followers:
            if wanted(stream.filters, event):
                self._send_event(seq, stream, event)
        if self._output or self.closed:
            self._wake()

    def may_answer(self, query: QueryEvent) -> bool:
        """Does the client get this query, and is it one that might answer?"""
        monitors = self._monitor is not None
        return any(stream.answers and wanted(stream.filters, query)
                   and not (monitors and stream.filters == EVERYTHING) for stream in self._streams.values())

    def close(self) -> None:
        super().close()
        self._streams.clear()
        self._followers = ()
        self._unanswered.clear()
        self._end_monitor()

    # --- members ---

    def _members(self, seq: int) -> None:
        self._reply(seq, body=self._encodings.members(self._backend.members_version, self._backend.members))

    def _members_filtered(self, seq: int, tags: dict[str, str], status: str, name: str) -> None:
        own_view = self._own_view
        if not (tags or status or name or own_view):
            self._members(seq)
            return
        try:
            members = select_members(self._backend.members(), tags, status, name, own_view)
        except RegexError as error:
            # Serf gives no reply here, and its CLI would wait for a body behind any header (spec rpc T10).
            self._close(f"Failed to evaluate request: {error}")
            return
        self._reply(seq, body=full_members_body(members, self._backend.wall) if own_view else members_body(members))

    def _join(self, seq: int, existing: list[str], replay: bool) -> None:
        def finish(result: object, error: str) -> None:
            self._reply(seq, error, encode({"Num": result if isinstance(result, int) else 0}))  # even with an error

        if not existing:
            finish(0, "")
            return
        self._start(lambda done: self._backend.join(existing, replay, done), finish)

    def _leave(self, seq: int) -> None:
        def finish(result: object, error: str) -> None:
            self._reply(seq, error)
            self.close()            # the daemon ends now, whatever the error

        self._start(self._backend.leave, finish)

    def _force_leave(self, seq: int, node: str, prune: bool) -> None:
        self._submit(seq, lambda id: ForceLeave(id, node, prune))

    def _tags(self, seq: int, changes: dict[str, str], deleted: list[str]) -> None:
        self._submit(seq, lambda id: SetTags(id, changes, deleted))

    def _stats(self, seq: int) -> None:
        self._reply(seq, body=encode(self._backend.stats()))

    def _seen(self, seq: int, ask: bool) -> None:
        self._reply(seq, body=encode(self._backend.discovered(ask)))

    def _coordinate(self, seq: int, node: str) -> None:
        self._reply(seq, body=coordinate_body(self._backend.coordinate(node)))

    def _submit(self, seq: int, make: Callable[[int], Command]) -> None:
        self._start(lambda done: self._backend.submit(make, done), lambda result, error: self._reply(seq, error))

    # --- events and queries ---

    def _event(self, seq: int, name: str, payload: bytes | None, coalesce: bool) -> None:
        self._submit(seq, lambda id: SendEvent(id, name, payload, coalesce))

    def _query(self, seq: int, nodes: list[str], tags: dict[str, str], ack: bool, relay_factor: int, timeout_ns: int,
               name: str, payload: bytes | None) -> None:
        if self._asking >= QUERIES_MAX:
            raise CommandError(f"more than {QUERIES_MAX} queries on one connection")
        own_view = self._own_view
        before: list[bytes] = []            # our own node may answer before the reply is there
        tell: Callable[[bytes], object] = before.append

        def part(answer: object) -> None:
            assert isinstance(answer, QueryAnswer)
            if answer.source:               # an empty name would end the loop of Serf's CLI (spec rpc T5)
                tell(answer_body(answer))

        def done(outcome: object, error: str) -> None:
            assert isinstance(outcome, QueryOutcome)
            self._asking -= 1
            tell(done_body(outcome if own_view else None))

        # For others it is over at the deadline, never before: Serf's CLI loses answers otherwise (spec rpc T4).
        timeout_s = max(timeout_ns, 0) / 1e9
        self._backend.submit(
            lambda id: StartQuery(id, name, payload, nodes, tags, ack, relay_factor, timeout_s, own_view), done, part)
        self._asking += 1
        self._reply(seq, alone=True)

        def tell_now(body: bytes) -> None:
            self._queue(response(seq, "", body), None)
            self._wake()

        tell = tell_now
        for body in before:
            tell(body)

    def _respond(self, seq: int, number: int, payload: bytes | None, query: int) -> None:
        """`query`: the daemon's own number of it, which is good on every connection; 0 for a number of this one."""
        event = self._unanswered.get(number)
        if query == 0 and (event is None or event.deadline <= self._now):
            self._unanswered.pop(number, None)
            raise CommandError("No pending queries matching ID")
        id = event.id if query == 0 and event is not None else query

        def finish(result: object, error: str) -> None:
            self._reply(seq, f"failed to respond to key query: {error}" if error and query == 0 else error)

        self._start(lambda done: self._backend.submit(lambda command: Respond(command, id, payload), done), finish)

    # --- keys ---

    def _install_key(self, seq: int, key: str) -> None:
        self._change_keys(seq, "install", key)

    def _use_key(self, seq: int, key: str) -> None:
        self._change_keys(seq, "use", key)

    def _remove_key(self, seq: int, key: str) -> None:
        self._change_keys(seq, "remove", key)

    def _list_keys(self, seq: int) -> None:
        self._change_keys(seq, "list", "")

    def _change_keys(self, seq: int, action: str, key: str) -> None:
        def begin(done: Done) -> None:
            raw = key_bytes(key)
            if self._own_view and action != "list":
                check_size(raw)     # Serf asks all nodes, and each says so
            self._backend.submit(lambda id: ChangeKeys(id, action, raw), done)

        def finish(result: object, error: str) -> None:
            outcome = result if isinstance(result, KeyOutcome) else KeyOutcome(0)
            self._reply(seq, error, keys_body(outcome, action == "list", self._own_view))   # even with an error (T1)

        self._start(begin, finish)

    # --- streams ---

    def _stream(self, seq: int, kinds: str, watch: bool) -> None:
        """`watch`: whatever it hears, this client answers no query."""
        filters = parse_filters(kinds)
        if seq in self._streams:
            raise CommandError("Stream with given sequence exists")
        if len(self._streams) >= STREAMS_MAX:
            raise CommandError(f"More than {STREAMS_MAX} streams on one connection")
        self._reply(seq, alone=True)    # old clients take the last object of their first read for a header (T8)
        self._streams[seq] = _Stream(filters, not watch and self._right >= Right.EVENT)
        self._followers = tuple(self._streams.items())

    def _send_event(self, seq: int, stream: _Stream, event: Event) -> None:
        if self.closed:
            return
        if stream.full:
            self.records_dropped += 1
            self._notice(WARNING, f"agent.ipc: Dropping event to ipc.client: {self._peer}")
            return
        if isinstance(event, QueryEvent):
            record = response(seq, "", query_body(event, self._number_of(event), self._own_view))
        else:
            record = self._encodings.event(event, seq)
        self._queue(record, stream)

    def _number_of(self, event: QueryEvent) -> int:
        """A new one, by which the client may answer until the deadline."""
        unanswered = self._unanswered
        while unanswered:
            oldest = next(iter(unanswered))
            if unanswered[oldest].deadline > self._now and len(unanswered) < UNANSWERED_MAX:
                break
            del unanswered[oldest]
        self._query_count += 1
        unanswered[self._query_count] = event
        return self._query_count

    def _monitor_log(self, seq: int, level: str) -> None:
        word = level.upper()
        if word not in LEVELS:
            raise CommandError(f"Unknown log level: {word}")
        if self._monitor is not None:
            raise CommandError("Monitor already exists")
        self._reply(seq, alone=True)
        self._monitor = _Monitor(seq)
        for line in self._log.recent(LEVELS[word]):
            self._hear(0, line)
        self._log.listen(self._hear, LEVELS[word])

    def _hear(self, level: int, line: str) -> None:
        monitor = self._monitor
        if monitor is None or self.closed:
            return
        if not monitor.full:
            monitor.dropping = False
            self._queue(response(monitor.seq, "", log_body(line)), monitor)
            self._wake()
        elif not monitor.dropping:
            monitor.dropping = True     # first: the notice is a line of the log too
            self._notice(WARNING, f"agent.ipc: Dropping logs to {self._peer}")

    def _end_monitor(self) -> None:
        if self._monitor is not None:
            self._monitor = None
            self._log.mute(self._hear)

    def _stop(self, seq: int, stop: int) -> None:
        self._streams.pop(stop, None)
        self._followers = tuple(self._streams.items())
        if self._monitor is not None and self._monitor.seq == stop:
            self._end_monitor()
        self._reply(seq)


COMMANDS: dict[str, tuple[Schema | None, Callable[..., None]]] = GREETINGS | {
    # name: its body's fields in Serf's declared order, None for no body; what handles it
    "event": (((b"Name", text), (b"Payload", payload), (b"Coalesce", boolean)), Session._event),
    "force-leave": (((b"Node", text), (b"Prune", boolean)), Session._force_leave),
    "join": (((b"Existing", texts), (b"Replay", boolean)), Session._join),
    "members": (None, Session._members),
    "members-filtered": (((b"Tags", text_map), (b"Status", text), (b"Name", text)), Session._members_filtered),
    "tags": (((b"Tags", text_map), (b"DeleteTags", texts)), Session._tags),
    "stream": (((b"Type", text), (b"Watch", boolean)), Session._stream),
    "monitor": (((b"LogLevel", text),), Session._monitor_log),
    "stop": (((b"Stop", uint64),), Session._stop),
    "leave": (None, Session._leave),
    "query": (
        ((b"FilterNodes", texts), (b"FilterTags", text_map), (b"RequestAck", boolean), (b"RelayFactor", uint8),
         (b"Timeout", int64), (b"Name", text), (b"Payload", payload)), Session._query),
    "respond": (((b"ID", uint64), (b"Payload", payload), (b"Query", uint64)), Session._respond),
    "install-key": (((b"Key", text),), Session._install_key),
    "use-key": (((b"Key", text),), Session._use_key),
    "remove-key": (((b"Key", text),), Session._remove_key),
    "list-keys": (None, Session._list_keys),
    "stats": (None, Session._stats),
    "get-coordinate": (((b"Node", text),), Session._coordinate),
    "discovered": (((b"Ask", boolean),), Session._seen),      # ours, not Serf's
}
