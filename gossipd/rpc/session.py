"""One RPC client's session as a state machine: bytes in; commands, replies and stream records out (spec rpc).

Requests run one after the other. While one waits for the cluster, later ones wait unread and streams keep flowing.
The shell feeds `receive`, writes what `take_output` gives whenever `wake` says there is something, and closes the
connection once `closed` is set and the output is written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from gossipd.commands import Command, ForceLeave, SetTags
from gossipd.effects import ERROR, WARNING
from gossipd.errors import CommandError
from gossipd.events import Event, MemberInfo, QueryEvent
from gossipd.filters import EventFilter, parse_filters, wanted
from gossipd.regex import Regex, RegexError
from gossipd.rpc.codec import (
    NOTHING,
    Malformed,
    Requests,
    Schema,
    boolean,
    encode,
    fields,
    header_fields,
    int32,
    response,
    text,
    text_map,
    texts,
    uint64,
)
from gossipd.rpc.records import SUSPECT, Encodings, full_members_body, members_body, query_body

IPC_VERSION = 1
STREAM_RECORDS_MAX = 512
"""Records that wait for one stream's client; more are dropped, newest first (as Serf does)."""
STREAMS_MAX = 64
"""Streams of one connection. Serf has no limit; its own clients open one or two."""
UNSENT_BYTES_HIGH = 256 << 10
"""With this much unwritten no further request is begun: Serf's agent would block in its write."""
UNSENT_BYTES_MAX = 8 << 20
"""With this much unwritten the client is closed: it asks or subscribes, and does not read."""
INPUT_BYTES_HIGH = 64 << 10
"""With this much unread behind a running request the shell should stop reading (`wants_input`)."""
WRITE_BYTES = 256 << 10
"""About how much one write takes, so that small records share a system call."""

HEADER_UNREADABLE = "failed to decode request header"

Done = Callable[[object, str], None]
"""Called once with a command's result and its error, "" for none."""


class Backend(Protocol):
    """What a session needs of the daemon."""

    @property
    def name(self) -> str: ...

    @property
    def members_version(self) -> int:
        """Another number whenever `members` would answer differently."""

    def members(self) -> list[MemberInfo]: ...

    def stats(self) -> dict[str, dict[str, str]]: ...

    def discovered(self, ask: bool) -> dict[str, Any]:
        """The body that answers `discovered` (docs/json.md has its fields); with `ask` look again."""

    def wall(self, moment: float) -> float:
        """Unix time of a monotonic moment, in seconds."""

    def submit(self, make: Callable[[int], Command], done: Done) -> None:
        """Start the command that `make` builds for an id. Raises CommandError if it is refused at once."""

    def join(self, addresses: list[str], replay: bool, done: Done) -> None:
        """Look the names up and join. The result is how many answered."""

    def leave(self, done: Done) -> None:
        """Leave gracefully; after `done` the daemon ends."""


def _nothing() -> None:
    pass


def _no_notice(level: int, line: str) -> None:
    pass


class _Stream:
    __slots__ = ("filters", "queued")

    def __init__(self, filters: tuple[EventFilter, ...]) -> None:
        self.filters = filters
        self.queued = 0


class Session:
    """One connection. `peer` names the client in notices; `auth_key` is empty if none is asked for.

    `encodings` is shared by the sessions of a daemon. `wake` is called when output or `closed` came up outside of
    `receive`; `notice(level, line)` gets what Serf's agent logs about its clients.
    """

    def __init__(
        self, backend: Backend, peer: str, *, auth_key: str = "", encodings: Encodings | None = None,
        wake: Callable[[], None] = _nothing, notice: Callable[[int, str], None] = _no_notice,
    ) -> None:
        self.closed = False
        self.records_dropped = 0
        self._backend, self._peer, self._auth_key = backend, peer, auth_key
        self._encodings = encodings or Encodings()
        self._wake, self._notice = wake, notice
        self._requests = Requests()
        self._command, self._seq = "", 0    # the last header: the next one may leave fields out
        self._awaiting_body = False
        self._skip_body = False
        self._handshaken = False
        self._authenticated = not auth_key
        self._busy = False                  # a command runs
        self._running = False               # inside _run, which must not be entered again
        self._streams: dict[int, _Stream] = {}
        self._queries: dict[int, QueryEvent] = {}
        self._query_count = 0
        self._output: deque[tuple[bytes, _Stream | None, bool]] = deque()   # bytes, their stream, must go alone
        self._unsent = 0
        self._now = 0.0

    # --- what the shell calls ---

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the client. Whatever they are, this does not raise."""
        if self.closed:
            return
        self._now = now
        try:
            self._requests.feed(data)
        except Malformed as error:
            self._close(f"{HEADER_UNREADABLE}: {error}")
            return
        self._run()

    def take_output(self) -> bytes:
        """The bytes to write next, in one call; b"" for none. Ends after a record that must travel alone."""
        taken, size = [], 0
        while self._output and size < WRITE_BYTES:
            data, stream, alone = self._output.popleft()
            taken.append(data)
            size += len(data)
            if stream is not None:
                stream.queued -= 1
            if alone:
                break
        self._unsent -= size
        if taken and self._unsent < UNSENT_BYTES_HIGH:
            self._run()
        return taken[0] if len(taken) == 1 else b"".join(taken)

    @property
    def wants_input(self) -> bool:
        """False while reading on would only fill a buffer: a command runs or the client does not read."""
        return not self.closed and self._requests.waiting_bytes < INPUT_BYTES_HIGH

    def on_event(self, event: Event, now: float) -> None:
        """Something happened: one record for each stream that wants it."""
        if not self._streams or self.closed:
            return
        self._now = now
        for seq, stream in tuple(self._streams.items()):     # one may close the client
            if wanted(stream.filters, event):
                self._send_record(seq, stream, event)
        if self._output or self.closed:
            self._wake()

    def close(self) -> None:
        """The connection is gone, or the daemon ends. Commands that run go on; nobody hears of their outcome."""
        self.closed = True
        self._streams.clear()
        self._queries.clear()

    # --- requests ---

    def _run(self) -> None:
        """Handle requests until one runs, the client does not read, or none is complete."""
        if self._running:
            return
        self._running = True
        try:
            while not (self.closed or self._busy or self._unsent >= UNSENT_BYTES_HIGH):
                value = self._requests.next()
                if value is NOTHING:
                    break
                self._handle(value)
        except Malformed as error:
            where = "Failed to evaluate request: decode failed" if self._awaiting_body else HEADER_UNREADABLE
            self._close(f"{where}: {error}")
        finally:
            self._running = False

    def _handle(self, value: object) -> None:
        if self._skip_body:
            self._skip_body = False
        elif self._awaiting_body:
            schema, handler = COMMANDS[self._command]
            assert schema is not None
            values = fields(value, schema)
            self._awaiting_body = False
            self._call(handler, values)
        else:
            self._command, self._seq = header_fields(value, self._command, self._seq)
            self._dispatch()

    def _dispatch(self) -> None:
        """The order of these refusals is what clients see (spec rpc §4)."""
        known = COMMANDS.get(self._command)
        if not self._handshaken and self._command != "handshake":
            self._refuse("Handshake required")
        elif not self._authenticated and self._command not in ("handshake", "auth"):
            self._reply(self._seq, "Authentication required")
            # Serf would read the body as the next header and refuse again; clients want one answer (spec rpc T3).
            self._skip_body = known is not None and known[0] is not None
        elif known is None:
            self._refuse("Unsupported command")
        elif known[0] is None:
            self._call(known[1], [])
        else:
            self._awaiting_body = True

    def _call(self, handler: Callable[..., None], values: list[Any]) -> None:
        try:
            handler(self, self._seq, *values)
        except CommandError as error:
            self._reply(self._seq, str(error))

    def _refuse(self, error: str) -> None:
        self._reply(self._seq, error)
        self._close(f"Failed to evaluate request: {error}")

    def _start(self, begin: Callable[[Done], None], finish: Callable[[object, str], None]) -> None:
        """Hold later requests back until the command that `begin` starts is done, then reply by `finish`."""
        self._busy = True

        def done(result: object, error: str) -> None:
            if self.closed:
                return
            self._busy = False
            finish(result, error)
            self._run()
            self._wake()

        try:
            begin(done)
        except CommandError as error:
            self._busy = False
            finish(None, str(error))

    def _submit(self, seq: int, make: Callable[[int], Command]) -> None:
        self._start(lambda done: self._backend.submit(make, done), lambda result, error: self._reply(seq, error))

    # --- output ---

    def _reply(self, seq: int, error: str = "", body: bytes = b"", alone: bool = False) -> None:
        self._queue(response(seq, error, body), None, alone)

    def _queue(self, data: bytes, stream: _Stream | None, alone: bool = False) -> None:
        if self._unsent >= UNSENT_BYTES_MAX:
            self._notice(WARNING, f"agent.ipc: Closing client that does not read: {self._peer}")
            self._output.clear()
            self._unsent = 0
            self.close()
            return
        self._output.append((data, stream, alone))
        self._unsent += len(data)

    def _send_record(self, seq: int, stream: _Stream, event: Event) -> None:
        if self.closed:
            return
        if stream.queued >= STREAM_RECORDS_MAX:
            self.records_dropped += 1
            self._notice(WARNING, f"agent.ipc: Dropping event to ipc.client: {self._peer}")
            return
        if isinstance(event, QueryEvent):
            self._query_count += 1
            self._queries[self._query_count] = event
            body = query_body(event, self._query_count)
        else:
            body = self._encodings.event(event)
        stream.queued += 1
        self._queue(response(seq, "", body), stream)

    def _close(self, why: str) -> None:
        self._notice(ERROR, f"agent.ipc: {why}")
        self.close()

    # --- commands ---

    def _handshake(self, seq: int, version: int) -> None:
        if version != IPC_VERSION:
            raise CommandError("Unsupported IPC version")
        if self._handshaken:
            raise CommandError("Handshake already performed")
        self._handshaken = True
        self._reply(seq)

    def _auth(self, seq: int, key: str) -> None:
        from hmac import compare_digest  # loads OpenSSL: only where a key is given

        given, wanted_key = (text.encode("utf-8", "surrogateescape") for text in (key, self._auth_key))
        if not compare_digest(given, wanted_key):
            raise CommandError("Invalid authentication token")
        self._authenticated = True
        self._reply(seq)

    def _members(self, seq: int) -> None:
        self._reply(seq, body=self._encodings.members(self._backend.members_version, self._backend.members))

    def _members_filtered(self, seq: int, tags: dict[str, str], status: str, name: str, view: str) -> None:
        own_view = view == "gossipd"
        if not (tags or status or name or own_view):
            self._members(seq)
            return
        try:
            members = _select(self._backend.members(), tags, status, name, own_view)
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
        current = next((member.tags for member in self._backend.members() if member.name == self._backend.name), {})
        kept = {key: value for key, value in current.items() if key not in deleted}
        self._submit(seq, lambda id: SetTags(id, kept | changes))

    def _stats(self, seq: int) -> None:
        self._reply(seq, body=encode(self._backend.stats()))

    def _seen(self, seq: int, ask: bool) -> None:
        self._reply(seq, body=encode(self._backend.discovered(ask)))

    def _stream(self, seq: int, kinds: str) -> None:
        filters = parse_filters(kinds)
        if seq in self._streams:
            raise CommandError("Stream with given sequence exists")
        if len(self._streams) >= STREAMS_MAX:
            raise CommandError(f"More than {STREAMS_MAX} streams on one connection")
        self._reply(seq, alone=True)    # old clients take the last object of their first read for a header (T8)
        self._streams[seq] = _Stream(filters)

    def _stop(self, seq: int, stop: int) -> None:
        self._streams.pop(stop, None)
        self._reply(seq)


def _select(
    members: list[MemberInfo], tags: dict[str, str], status: str, name: str, own_view: bool,
) -> list[MemberInfo]:
    """The members that match every expression, `^E$` searched for (spec rpc §6). Raises RegexError.

    In gossipd's own view a member under suspicion is both "alive" and "suspect".
    """
    by_tag = [(tag, Regex(f"^{expression}$")) for tag, expression in tags.items()]
    by_status = Regex(f"^{status}$") if status else None
    by_name = Regex(f"^{name}$") if name else None

    def selected(member: MemberInfo) -> bool:
        if by_name is not None and not by_name.search(member.name):
            return False
        if by_status is not None and not by_status.search(member.status):
            if not (own_view and member.state == SUSPECT and member.status == "alive" and by_status.search(SUSPECT)):
                return False
        return all(expression.search(member.tags.get(tag, "")) for tag, expression in by_tag)

    return [member for member in members if selected(member)]


COMMANDS: dict[str, tuple[Schema | None, Callable[..., None]]] = {
    # name: its body's fields in Serf's declared order, None for no body; what handles it
    "handshake": (((b"Version", int32),), Session._handshake),
    "auth": (((b"AuthKey", text),), Session._auth),
    "members": (None, Session._members),
    "members-filtered": (
        ((b"Tags", text_map), (b"Status", text), (b"Name", text), (b"View", text)), Session._members_filtered),
    "join": (((b"Existing", texts), (b"Replay", boolean)), Session._join),
    "leave": (None, Session._leave),
    "force-leave": (((b"Node", text), (b"Prune", boolean)), Session._force_leave),
    "tags": (((b"Tags", text_map), (b"DeleteTags", texts)), Session._tags),
    "stats": (None, Session._stats),
    "discovered": (((b"Ask", boolean),), Session._seen),      # ours, not Serf's
    "stream": (((b"Type", text),), Session._stream),
    "stop": (((b"Stop", uint64),), Session._stop),
}
