"""The order of things on one RPC connection: who may ask, what is asked next, what is written when (spec rpc §3, §4).

Requests run one after the other. While one waits for the cluster, later ones wait unread and records keep flowing.
The shell feeds `receive`, writes what `take_output` gives whenever `wake` says there is something, and closes the
connection once `closed` is set and the output is written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from gossipd.effects import ERROR, WARNING
from gossipd.errors import CommandError
from gossipd.rpc.backend import Done, WrongKey
from gossipd.rpc.codec import (
    NOTHING,
    Malformed,
    Requests,
    Schema,
    fields,
    header_fields,
    int32,
    response,
    text,
)
from gossipd.rpc.rights import Right, denial, needed_for

IPC_VERSION = 1
OWN_VIEW = "gossipd"
"""A handshake with this as its `View` gets what only gossipd knows, in further fields; Serf's agent skips it."""
RECORDS_MAX = 512
"""Records that wait for the client of one stream; more are dropped, newest first (as Serf does)."""
UNSENT_BYTES_HIGH = 256 << 10
"""With this much unwritten no further request is begun: Serf's agent would block in its write."""
UNSENT_BYTES_MAX = 8 << 20
"""With this much unwritten the client is closed: it asks or subscribes, and does not read."""
INPUT_BYTES_HIGH = 64 << 10
"""With this much unread behind a running request the shell should stop reading (`wants_input`)."""
HELD_BYTES_MAX = 256 << 20
"""With this much unread and unwritten of all clients together, those that hold much are closed when it gets more."""
MUCH_BYTES = 64 << 10
WRITE_BYTES = 256 << 10
"""About how much one write takes, so that small records share a system call."""

HEADER_UNREADABLE = "failed to decode request header"


def nothing() -> None:
    pass


def no_notice(level: int, line: str) -> None:
    pass


def tell_at_once(attempts: int, tell: Callable[[], None]) -> bool:
    """A WrongKey that does not make anybody wait."""
    tell()
    return True


class Held:
    """Bytes that are kept for clients, or of them, by those with MUCH_BYTES at least: shared by all of a daemon."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0


class Feed:
    """Where records come from, and how many of them wait to be written."""

    __slots__ = ("queued",)

    def __init__(self) -> None:
        self.queued = 0

    @property
    def full(self) -> bool:
        return self.queued >= RECORDS_MAX


class Connection:
    """`commands`: by name, the fields of the body in Serf's order (None for no body), and what handles it.

    A handler gets the connection, the request's number and the fields. It calls `_reply` or `_start`, or raises
    CommandError. `right` is what the client may do, once it has presented `auth_key` if there is one; `wrong_key` says
    when it hears that it presented another. `notice(level, line)` gets what Serf's agent logs about its clients.
    """

    def __init__(
        self, commands: Mapping[str, tuple[Schema | None, Callable[..., None]]], peer: str, auth_key: str,
        right: Right, wrong_key: WrongKey, wake: Callable[[], None], notice: Callable[[int, str], None],
        held: Held | None = None,
    ) -> None:
        self.closed = False
        self._commands, self._peer, self._auth_key, self._right = commands, peer, auth_key, right
        self._wrong_key, self._wrong_keys = wrong_key, 0
        self._wake, self._notice = wake, notice
        self._requests = Requests()
        self._command, self._seq = "", 0    # the last header: the next one may leave fields out
        self._awaiting_body = False
        self._skip_body = False
        self._handshaken = False
        self._own_view = False
        self._authenticated = not auth_key
        self._busy = False                  # a command runs
        self._running = False               # inside _run, which must not be entered again
        self._output: deque[tuple[bytes, Feed | None, bool]] = deque()   # bytes, where from, must go alone
        self._unsent = 0
        self._all_held, self._held = held or Held(), 0     # by all, by us
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
        if self._held or self._requests.waiting_bytes >= MUCH_BYTES:
            self._count_held()

    def take_output(self) -> bytes:
        """The bytes to write next, in one call; b"" for none. Ends after a record that must travel alone."""
        output = self._output
        if not output:
            return b""
        data, feed, alone = output.popleft()
        if feed is not None:
            feed.queued -= 1
        if output and not alone:
            data = self._join_more(data)
        self._unsent -= len(data)
        if self._held:
            self._count_held()
        if self._requests.waiting_bytes and self._unsent < UNSENT_BYTES_HIGH:
            self._run()
        return data

    def _join_more(self, first: bytes) -> bytes:
        taken, size = [first], len(first)
        while self._output and size < WRITE_BYTES:
            data, feed, alone = self._output.popleft()
            taken.append(data)
            size += len(data)
            if feed is not None:
                feed.queued -= 1
            if alone:
                break
        return b"".join(taken)

    @property
    def has_output(self) -> bool:
        return bool(self._output)

    @property
    def wants_input(self) -> bool:
        """False while reading on would only fill a buffer: a command runs or the client does not read."""
        held_back = self._busy or self._unsent >= UNSENT_BYTES_HIGH      # else what waits is one incomplete request
        return not self.closed and not (held_back and self._requests.waiting_bytes >= INPUT_BYTES_HIGH)

    @property
    def is_guest(self) -> bool:
        """True of a client that has not shown yet that it may do anything: it goes first where room is wanted."""
        return not (self._handshaken and self._authenticated and self._right > Right.NONE)

    def close(self) -> None:
        """The connection is gone, or the daemon ends. Commands that run go on; nobody hears of their outcome."""
        self.closed = True
        self._requests = Requests()     # what waits would else stay until the cycles we are part of are collected
        self._all_held.total -= self._held
        self._held = 0

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
            schema, handler = self._commands[self._command]
            assert schema is not None
            values = fields(value, schema)
            self._awaiting_body = False
            self._call(handler, values)
        else:
            self._command, self._seq = header_fields(value, self._command, self._seq)
            self._dispatch()

    def _dispatch(self) -> None:
        """The order of these refusals is what clients see (spec rpc §4)."""
        known = self._commands.get(self._command)
        if not self._handshaken and self._command != "handshake":
            self._refuse("Handshake required")
        elif not self._authenticated and self._command not in ("handshake", "auth"):
            self._notice(WARNING, "agent.ipc: Client sending commands before auth")
            self._reply(self._seq, "Authentication required")
            # Serf would read the body as the next header and refuse again; clients want one answer (spec rpc T3).
            self._skip_body = known is not None and known[0] is not None
        elif known is None:
            self._refuse("Unsupported command")
        elif self._right < (needed := needed_for(self._command)):
            self._reply(self._seq, denial(self._command, needed))
            self._skip_body = known[0] is not None
        elif known[0] is None:
            self._call(known[1], [])
        else:
            self._awaiting_body = True

    def _call(self, handler: Callable[..., None], values: list[Any]) -> None:
        try:
            handler(self, self._seq, *values)
        except CommandError as error:
            self._reply(self._seq, self._words(error))

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
            finish(None, self._words(error))

    def _words(self, error: CommandError) -> str:
        """Programs made for Serf may compare: to them its words alone."""
        return error.full if self._own_view else str(error)

    # --- output ---

    def _reply(self, seq: int, error: str = "", body: bytes = b"", alone: bool = False) -> None:
        self._queue(response(seq, error, body), None, alone)

    def _queue(self, data: bytes, feed: Feed | None, alone: bool = False) -> None:
        if self.closed:
            return
        if self._unsent >= UNSENT_BYTES_MAX:
            self._drop()
            return
        self._output.append((data, feed, alone))
        self._unsent += len(data)
        if feed is not None:
            feed.queued += 1
        if self._unsent >= MUCH_BYTES:
            self._count_held()

    def _count_held(self) -> None:
        """To be called when more or less is held; closes the client if all together hold too much."""
        held = self._unsent + self._requests.waiting_bytes
        held = held if held >= MUCH_BYTES and not self.closed else 0
        grows = held > self._held
        self._all_held.total += held - self._held
        self._held = held
        if grows and self._all_held.total > HELD_BYTES_MAX:
            self._drop()

    def _drop(self) -> None:
        self._output.clear()
        self._unsent = 0
        self.close()
        self._notice(WARNING, f"agent.ipc: Closing client that does not read: {self._peer}")

    def _close(self, why: str) -> None:
        self.close()
        self._notice(ERROR, f"agent.ipc: {why}")

    # --- who is there ---

    def _handshake(self, seq: int, version: int, view: str) -> None:
        if version != IPC_VERSION:
            raise CommandError("Unsupported IPC version")
        if self._handshaken:
            raise CommandError("Handshake already performed")
        self._handshaken = True
        self._own_view = view == OWN_VIEW
        self._reply(seq)

    def _auth(self, seq: int, key: str) -> None:
        from hmac import compare_digest  # loads OpenSSL: only where a key is given

        given, wanted_key = (text.encode("utf-8", "surrogateescape") for text in (key, self._auth_key))
        if not compare_digest(given, wanted_key):
            self._refuse_key(seq)
            return
        self._authenticated = True
        self._reply(seq)

    def _refuse_key(self, seq: int) -> None:
        """Whoever guesses has to wait before he hears that he was wrong, and may do nothing meanwhile."""
        self._wrong_keys += 1

        def begin(done: Done) -> None:
            if not self._wrong_key(self._wrong_keys, lambda: done(None, "Invalid authentication token")):
                self._close(f"Closing client with a wrong key, too many are waiting: {self._peer}")

        self._start(begin, lambda result, error: self._reply(seq, error))


GREETINGS: dict[str, tuple[Schema | None, Callable[..., None]]] = {
    "handshake": (((b"Version", int32), (b"View", text)), Connection._handshake),
    "auth": (((b"AuthKey", text),), Connection._auth),
}
