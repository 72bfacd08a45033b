"""The RPC subsystem: listeners, and a reader and a writer for each client of a `rpc.session.Session`."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from gossipd.addresses import format_address
from gossipd.daemon.engine import Engine
from gossipd.daemon.net import plain_source
from gossipd.daemon.rpcsocket import RpcListener
from gossipd.daemon.throttle import Throttle, more
from gossipd.daemon.transport import ACCEPT_PAUSE_S, ACCEPT_SHORTAGES
from gossipd.events import Event, QueryEvent
from gossipd.rpc.backend import Log, NoLog
from gossipd.rpc.records import Encodings
from gossipd.rpc.session import Session

CLIENTS_MAX = 1000              # at once; more are closed as they come
CHUNK_BYTES = 8192              # read at a time: a few hundred pipelined requests, a few ms of work
WRITE_STALL_S = 30.0            # a client that takes nothing for so long is closed
LAST_WORDS_S = 1.0              # how long the end of the daemon waits for clients to take their last reply
LAST_WORDS_POLL_S = 0.01
_PEER = struct.Struct("iII")    # struct ucred: pid, uid, gid

log = logging.getLogger("gossipd.rpc")


class Client:
    """One connection. Requests are answered from the reader at once; everything else goes through the writer."""

    def __init__(self, sock: socket.socket, peer: str, auth_key: str, clients: Clients) -> None:
        engine = clients.engine
        self.session = Session(
            engine, peer, auth_key=auth_key, encodings=clients.encodings, log=clients.log, wake=self._wake,
            notice=clients.notice)
        sock.setblocking(False)
        self._sock, self._peer, self._clock = sock, peer, engine.clock
        self._rest = b""                # taken from the session and not yet written
        self._flushing = False
        self._news = trio.Event()       # for the writer: look at the session
        self._room = trio.Event()       # for the reader: the session may want input again
        self._gone = False

    async def run(self) -> None:
        """Until either side hangs up."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                await self._read()
                self.hang_up()
        finally:
            self.session.close()
            self._sock.close()

    def hang_up(self) -> None:
        """No more requests; what waits to be written still is."""
        self.session.close()
        self._wake()

    async def _read(self) -> None:
        """Until the client hangs up or the session is closed."""
        while not self.session.closed:
            if not self.session.wants_input:
                self._room = trio.Event()
                await self._room.wait()
                continue
            await trio.lowlevel.wait_readable(self._sock)
            try:
                data = self._sock.recv(CHUNK_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self._gone = True
                return
            self.session.receive(data, self._clock())
            if not self.flush():
                self._news.set()

    async def _write(self, scope: trio.CancelScope) -> None:
        """Until the session is closed and its last reply written, or nothing can be written any more."""
        while not self._gone:
            await self._news.wait()
            self._news = trio.Event()
            while not self.flush():
                with trio.move_on_after(WRITE_STALL_S) as patience:
                    await trio.lowlevel.wait_writable(self._sock)
                if patience.cancelled_caught:
                    log.warning("client closed, it does not read peer=%s", self._peer)
                    self._gone = True
            if self.session.closed:
                break
        scope.cancel()

    def _wake(self) -> None:
        self._news.set()

    def flush(self) -> bool:
        """Write until all is written or the client takes no more. True if there is nothing left to do."""
        if self._flushing:
            return True         # taking output began a request whose reply came at once: the outer call goes on
        self._flushing = True
        try:
            while not self._gone and (self._rest or self._take()):
                sent = self._sock.send(self._rest)
                self._rest = self._rest[sent:]
        except BlockingIOError:
            return False
        except OSError:
            self._gone = True
        finally:
            self._flushing = False
            self._room.set()
        return True

    def _take(self) -> bool:
        self._rest = self.session.take_output()
        return bool(self._rest)


@dataclass(slots=True)
class Clients:
    """What all connections share."""

    engine: Engine
    log: Log
    encodings: Encodings = field(default_factory=Encodings)
    connected: dict[Client, None] = field(default_factory=dict)
    notices: Throttle = field(default_factory=Throttle)

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
    clients = Clients(engine, log or NoLog())
    engine.listen(clients.on_event)
    engine.answer_with(clients.may_answer)
    async with trio.open_nursery() as serving:
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
                await trio.sleep(ACCEPT_PAUSE_S)
            continue
        if len(clients.connected) >= CLIENTS_MAX:
            clients.engine.count("rpc client refused")
            sock.close()
            continue
        client = Client(sock, peer_name(sock, name), listener.auth_key, clients)
        clients.connected[client] = None
        nursery.start_soon(serve, client, clients)


async def serve(client: Client, clients: Clients) -> None:
    try:
        await client.run()
    finally:
        del clients.connected[client]


def peer_name(sock: socket.socket, name: object) -> str:
    """For the log: address and port, or process and user of a local client."""
    if isinstance(name, tuple):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return format_address(plain_source(name))
    pid, uid, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return f"pid {pid} uid {uid}"

