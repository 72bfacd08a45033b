"""The RPC subsystem: listeners, a reader for each client of a `rpc.session.Session`, and one who writes to all."""

from __future__ import annotations

import logging
import resource
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import trio

from gossipd.addresses import format_address
from gossipd.daemon.engine import Engine
from gossipd.daemon.fanout import SHARED_FROM, Fanout, Send
from gossipd.daemon.logs import as_serf
from gossipd.daemon.net import plain_source
from gossipd.daemon.polling import Poll
from gossipd.daemon.rights import peer_of
from gossipd.daemon.rpcsocket import RpcListener
from gossipd.daemon.throttle import Throttle, more
from gossipd.daemon.transport import ACCEPT_PAUSE_S, ACCEPT_SHORTAGES
from gossipd.daemon.wrongkeys import WrongKeys
from gossipd.events import Event, QueryEvent
from gossipd.rpc.backend import Log, NoLog
from gossipd.rpc.connection import Held
from gossipd.rpc.records import Encodings
from gossipd.rpc.rights import Right
from gossipd.rpc.session import Session

CLIENTS_MAX = 3000              # at once; then guests are closed, or else whoever comes
ADMINS_MORE = 16                # beyond that, of those who may do anything
OTHER_FILES = 400               # descriptors that clients must leave: streams, exchanges, handlers, files
CLIENTS_A_TURN = 128            # written to before other tasks get a turn: about a millisecond
KEEPALIVE_S, KEEPALIVE_PROBES = 15, 9       # Go's
CHUNK_BYTES = 8192              # read at a time: a few hundred pipelined requests, a few ms of work
CHUNKS_A_TURN = 4               # read from one client before other tasks get a turn
WRITE_STALL_S = 30.0            # a client that takes nothing for so long is closed
LAST_WORDS_S = 1.0              # how long the end of the daemon waits for clients to take their last reply
LAST_WORDS_POLL_S = 0.01

log = logging.getLogger("gossipd.rpc")


class Client:
    """One connection: a task reads and answers at once; what comes up otherwise, `Clients.write_on` writes.

    Only while the client takes less than there is has it a second task.
    """

    def __init__(self, sock: socket.socket, peer: str, auth_key: str, right: Right, clients: Clients) -> None:
        engine = clients.engine
        self.session = Session(
            engine, peer, auth_key=auth_key, right=right, wrong_key=clients.wrong_keys.delay,
            encodings=clients.encodings, log=clients.log, wake=self._wake, notice=clients.notice,
            held=clients.held)
        sock.setblocking(False)
        self._sock, self._peer, self._clients, self._engine, self._clock = sock, peer, clients, engine, engine.clock
        self._rest = b""                # taken from the session and not yet written
        self._flushing = False
        self._room: trio.Event | None = None        # the reader waits for this before it reads on
        self._drained: trio.Event | None = None     # set at the end of the task that writes, if there is one
        self._gone = False
        self._poll = Poll(sock, self._clock)

    async def run(self) -> None:
        """Until either side hangs up."""
        try:
            await self._read()
            self.hang_up()
            while self._drained is not None and not self._gone:
                await self._drained.wait()
        finally:
            self.session.close()
            self._gone = True
            trio.lowlevel.notify_closing(self._sock)    # ends _drain
            self._sock.close()

    def hang_up(self) -> None:
        """No more requests; what waits to be written still is."""
        self.session.close()
        self.attend()

    async def _read(self) -> None:
        """Until the client hangs up or the session is closed."""
        in_a_row = 0
        while not (self.session.closed or self._gone):
            if not self.session.wants_input:
                self._room = trio.Event()
                await self._room.wait()
                continue
            if in_a_row == CHUNKS_A_TURN:
                in_a_row = 0
                await trio.lowlevel.checkpoint()
            try:
                data = self._sock.recv(CHUNK_BYTES)
            except BlockingIOError:
                if not self._poll.next_is_here():
                    in_a_row = 0
                    await trio.lowlevel.wait_readable(self._sock)
                continue
            except OSError:
                data = b""
            if not data:
                self._gone = not self.session.closed        # else it was we who hung up
                return
            in_a_row += 1       # whoever sends many requests at once has sent more: asking costs less than waiting
            self._answer(data, self._clock())

    def _answer(self, data: bytes, now: float) -> None:
        alone, self._clients.latest = self._clients.latest is self, self
        self._engine.together(partial(self.session.receive, data, now))
        replied = self.session.has_output
        self._write()
        self._poll.answered(now, replied and alone)

    def _wake(self) -> None:
        self._clients.wake(self)

    def next_write(self) -> tuple[Client, Send, bytes] | None:
        """What may be written at once, together with what others get; None if `attend` has to see to it."""
        if self._rest or self._room is not None or self._gone or self.session.closed:
            return None
        return self, self._sock.send, self.session.take_output()

    def not_written(self, rest: bytes) -> None:
        """This much of the `next_write` is still to be written."""
        self._rest = rest
        self.attend()

    def attend(self) -> None:
        """Write what there is; if there will be no more, stop reading."""
        self._write()
        if self.session.closed or self._gone:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RD)     # the reader wakes up

    def _write(self) -> None:
        if not self._flush() and self._drained is None:
            self._drained = trio.Event()
            self._clients.serving.start_soon(self._drain, self._drained)

    async def _drain(self, drained: trio.Event) -> None:
        """Until all is written, or nothing can be written any more."""
        try:
            while not self._flush():
                with trio.move_on_after(WRITE_STALL_S) as patience:
                    await trio.lowlevel.wait_writable(self._sock)
                if patience.cancelled_caught:
                    log.warning("client closed, it does not read peer=%s", self._peer)
                    self._gone = True
        except trio.ClosedResourceError:
            pass
        self._drained = None
        drained.set()
        self.attend()

    def _flush(self) -> bool:
        """Write until all is written or the client takes no more. True if there is nothing left to do."""
        if self._flushing:
            return True         # taking output began a request whose reply came at once: the outer call goes on
        self._flushing = True
        try:
            while not self._gone and (rest := self._rest or self.session.take_output()):
                self._rest = rest       # before the attempt: it may take nothing
                sent = self._sock.send(rest)
                self._rest = b"" if sent == len(rest) else rest[sent:]
        except BlockingIOError:
            return False
        except OSError:
            self._gone = True
        finally:
            self._flushing = False
            if self._room is not None:
                self._room.set()
        return True


@dataclass(slots=True)
class Clients:
    """What all connections share."""

    engine: Engine
    log: Log
    serving: trio.Nursery
    wrong_keys: WrongKeys
    encodings: Encodings = field(default_factory=Encodings)
    held: Held = field(default_factory=Held)
    connected: dict[Client, None] = field(default_factory=dict)
    notices: Throttle = field(default_factory=Throttle)
    latest: Client | None = None        # who asked last
    fanout: Fanout[Client] = field(default_factory=Fanout)
    room: int = CLIENTS_MAX
    _news: dict[Client, None] = field(default_factory=dict)     # to be attended to
    _awake: trio.Event = field(default_factory=trio.Event)

    def wake(self, client: Client) -> None:
        if not self._news:
            self._awake.set()
        self._news[client] = None

    async def write_on(self) -> None:
        """One task for everybody: an event for 2000 clients would mean 2000 task switches."""
        while True:
            await self._awake.wait()
            self._awake, news, self._news = trio.Event(), list(self._news), {}
            for start in range(0, len(news), CLIENTS_A_TURN):
                self._write_to(news[start:start + CLIENTS_A_TURN])
                await trio.lowlevel.checkpoint()

    def _write_to(self, clients: list[Client]) -> None:
        if len(clients) >= SHARED_FROM:
            writes = [(client, client.next_write()) for client in clients]
            for client, rest in self.fanout.write([write for _, write in writes if write is not None]):
                client.not_written(rest)
            clients = [client for client, write in writes if write is None or client.session.has_output]
        for client in clients:
            client.attend()

    def admit(self, right: Right) -> bool:
        """Is there room for one more? Guests make room, and a little is kept for those who may do anything."""
        if len(self.connected) < self.room:
            return True
        for client in self.connected:
            if client.session.is_guest and not client.session.closed:
                client.hang_up()
                self.engine.count("rpc client closed, to make room")
                return True
        return right is Right.ADMIN and len(self.connected) < self.room + ADMINS_MORE

    def notice(self, level: int, text: str) -> None:
        """What a session says of its client: `agent.ipc: KIND: DETAIL`."""
        held = self.notices.admit(": ".join(text.split(": ", 2)[:2]), self.engine.clock())
        if held is not None:
            log.log(level, "%s%s", text, more(held))

    def on_event(self, event: Event) -> None:
        """Every session queues what it wants, at most 512 records a stream; its writer does the rest."""
        now = self.engine.clock()
        for client in tuple(self.connected):
            client.session.on_event(event, now)

    def may_answer(self, query: QueryEvent) -> bool:
        return any(client.session.may_answer(query) for client in self.connected)


class RpcServer:
    """The handle by which `app` ends this subsystem: first no new clients, then the last replies, then nothing."""

    def __init__(self, clients: dict[Client, None], accepting: trio.CancelScope, serving: trio.CancelScope) -> None:
        self.clients, self._accepting, self._serving = clients, accepting, serving

    def stop_accepting(self) -> None:
        self._accepting.cancel()

    async def close(self) -> None:
        """Let every client take what waits for it, for a moment at most; then hang up."""
        for client in tuple(self.clients):
            client.hang_up()
        with trio.move_on_after(LAST_WORDS_S):
            while self.clients:
                await trio.sleep(LAST_WORDS_POLL_S)
        self._serving.cancel()


async def run_rpc(
    engine: Engine,
    listeners: Sequence[RpcListener],
    log: Log | None = None,
    *,
    task_status: trio.TaskStatus[RpcServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve clients until told to stop; `log` is what they may follow."""
    async with trio.open_nursery() as serving:
        clients = Clients(engine, log or NoLog(), serving, WrongKeys(serving, engine.count), room=room_for_clients())
        engine.listen(clients.on_event)
        engine.answer_with(clients.may_answer)
        serving.start_soon(clients.write_on)
        accepting = trio.CancelScope()
        task_status.started(RpcServer(clients.connected, accepting, serving.cancel_scope))
        with accepting:
            async with trio.open_nursery() as nursery:
                for listener in listeners:
                    nursery.start_soon(accept, listener, clients, serving)
        await trio.sleep_forever()


async def accept(listener: RpcListener, clients: Clients, nursery: trio.Nursery) -> None:
    while True:
        await trio.lowlevel.wait_readable(listener.sock)
        try:
            sock, name = listener.sock.accept()
        except OSError as error:
            if error.errno in ACCEPT_SHORTAGES:
                clients.engine.count("rpc accept failed")
                clients.notice(logging.WARNING, f"agent.ipc: Cannot accept clients: {error.strerror}")
                await trio.sleep(ACCEPT_PAUSE_S)
            continue
        try:
            peer, right = who(sock, name, listener)
        except OSError:
            sock.close()        # gone again
            continue
        if not clients.admit(right):
            clients.engine.count("rpc client refused")
            clients.notice(logging.WARNING, f"agent.ipc: Refusing client, there are {len(clients.connected)}: {peer}")
            sock.close()
            continue
        log.debug("client connected peer=%s", peer, extra=as_serf(
            logging.INFO, "agent.ipc", f"Accepted client: {peer}"))
        client = Client(sock, peer, listener.auth_key, right, clients)
        clients.connected[client] = None
        nursery.start_soon(serve, client, clients)


async def serve(client: Client, clients: Clients) -> None:
    try:
        await client.run()
    except MemoryError:
        clients.engine.count("rpc client closed, out of memory")
    finally:
        del clients.connected[client]
        if clients.latest is client:
            clients.latest = None


def who(sock: socket.socket, name: object, listener: RpcListener) -> tuple[str, Right]:
    """For the log: address and port, or process and user of a local client; and what it may do. Raises OSError."""
    if isinstance(name, tuple):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(sock)
        return format_address(plain_source(name)), Right.ADMIN
    peer = peer_of(sock)
    return f"pid {peer.pid} uid {peer.uid}", listener.rights.of(peer)


def keep_alive(sock: socket.socket) -> None:
    """Clients whose machine is gone are noticed after about two minutes, as Serf's agent notices them."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def room_for_clients() -> int:
    """Each client takes a file descriptor, and the rest of the daemon needs some too."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CLIENTS_MAX if limit == resource.RLIM_INFINITY else max(1, min(CLIENTS_MAX, limit - OTHER_FILES))
