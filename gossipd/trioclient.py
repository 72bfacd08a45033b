"""The client of `gossipd.client` for programs that use trio: the same calls, each to be awaited.

    from gossipd.trioclient import Client

    async with Client() as client:
        for member in await client.members(status="alive"):
            print(member.name, member.address)
        async for event in await client.events("member-failed"):
            print(event.kind, [member.name for member in event.members])

One client is one connection. Any number of tasks may use it at once: nothing runs in the background, whoever waits
reads for all. A call that is cancelled or times out leaves the connection as it is.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

import trio

from gossipd import clientcalls as calls
from gossipd.clientcalls import (
    DEFAULT_TIMEOUT_S,
    QUERY_TIMEOUT_MAX_S,
    RETRY_S,
    ClientError,
    ConnectionLost,
    JoinFailed,
    TimedOut,
    Unreachable,
)
from gossipd.clientrecords import Answer, Coordinate, Discovered, Event, KeyResult, Member, Outcome
from gossipd.clientwire import Conversation, Records
from gossipd.paths import default_socket

__all__ = ["Client", "ClientError", "ConnectionLost", "JoinFailed", "Query", "Stream", "TimedOut", "Unreachable"]

READ_BYTES = 1 << 16
T = TypeVar("T")


class Stream(Generic[T]):
    """Events or lines of the log as they come; iterating ends with ConnectionLost."""

    def __init__(self, client: Client, make: Callable[[dict[str, Any]], T], records: Records) -> None:
        self._client, self._make, self._records = client, make, records

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        return self._make(await self._client._next(self._records))

    async def aclose(self) -> None:
        """No more of it."""
        self._records.ignore()
        await self._client._do(calls.stop(self._records.seq))


class Query(Outcome):
    """A query that runs: iterating gives each Answer as it comes, until it is over, or TimedOut."""

    def __init__(self, client: Client, deadline: float, records: Records) -> None:
        super().__init__()
        self._client, self._deadline, self._records = client, deadline, records

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Answer:
        while not self.over:
            record = None
            with trio.move_on_at(self._deadline):
                record = await self._client._next(self._records)
            if record is None:
                self._records.ignore()
                raise TimedOut(self._client._too_late())
            if (answer := self.take(record)) is not None:
                return answer
        raise StopAsyncIteration


class Client:
    """A connection while it is entered. What is not said here is as in `gossipd.client.Client`."""

    def __init__(self, address: str | None = None, *, auth_key: str = "", timeout_s: float = DEFAULT_TIMEOUT_S,
                 own_view: bool = True) -> None:
        self.address = default_socket() if address is None else address
        self.timeout_s = timeout_s
        self._greetings = [calls.handshake(own_view), *([calls.auth(auth_key)] if auth_key else [])]
        self._stream: trio.SocketStream | None = None
        self._lost = f"{self.address}: not connected"     # why nothing more can be read, "" while it can
        self._talk = Conversation()
        self._sending, self._reading, self._news = trio.Lock(), False, trio.Event()

    async def __aenter__(self) -> Self:
        """Connect, and hear whether the daemon lets us in."""
        with trio.move_on_after(self.timeout_s) as scope:
            try:
                self._stream = await self._connect()
            except OSError as error:
                raise Unreachable(f"{self.address}: {error.strerror or error}") from None
            except UnicodeError:
                raise Unreachable(f"{self.address}: {calls.NO_ADDRESS}") from None
        if self._stream is None or scope.cancelled_caught:
            raise TimedOut(self._too_late())
        self._lost = ""
        try:
            for greeting in self._greetings:
                await self._do(greeting)
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Whoever waits for something gets ConnectionLost."""
        if self._stream is not None:
            self._stream.socket.close()
        self._lose("this connection was closed")

    # --- calls ---

    async def members(self, *, status: str = "", name: str = "", tags: dict[str, str] | None = None) -> list[Member]:
        return await self._do(calls.members(status, name, tags))

    async def join(self, addresses: list[str], *, replay: bool = False) -> int:
        return await self._do(calls.join(addresses, replay))

    async def leave(self) -> None:
        await self._do(calls.leave())

    async def force_leave(self, name: str, *, prune: bool = False) -> None:
        await self._do(calls.force_leave(name, prune))

    async def change_tags(self, changes: dict[str, str] | None = None, delete: list[str] | None = None) -> None:
        await self._do(calls.change_tags(changes, delete))

    async def stats(self) -> dict[str, dict[str, str]]:
        return await self._do(calls.stats())

    async def discovered(self, *, ask: bool = False) -> Discovered:
        return await self._do(calls.discovered(ask))

    async def events(self, *kinds: str, watch: bool = False) -> Stream[Event]:
        """Follows from this call on; iterating ends with ConnectionLost."""
        records = Records()
        await self._do(calls.events(kinds, watch), records)
        return Stream(self, calls.event_of, records)

    async def logs(self, level: str = "info") -> Stream[str]:
        records = Records()
        await self._do(calls.logs(level), records)
        return Stream(self, calls.line_of, records)

    async def send_event(self, name: str, payload: bytes | None = None, *, coalesce: bool = True) -> None:
        await self._do(calls.send_event(name, payload, coalesce))

    async def query(
        self, name: str, payload: bytes | None = None, *, nodes: list[str] | None = None,
        tags: dict[str, str] | None = None, ack: bool = True, relay_factor: int = 0, timeout_s: float = 0.0,
    ) -> Query:
        records = Records()
        await self._do(calls.query(name, payload, nodes, tags, ack, relay_factor, timeout_s), records)
        return Query(self, trio.current_time() + (timeout_s or QUERY_TIMEOUT_MAX_S) + self.timeout_s, records)

    async def respond(self, event: Event, payload: bytes | None = None) -> None:
        await self._do(calls.respond(event.id, payload))

    async def answer_query(self, query: int, payload: bytes | None = None) -> None:
        await self._do(calls.answer_query(query, payload))

    async def install_key(self, key: str) -> KeyResult:
        return await self._do(calls.change_keys("install-key", key))

    async def use_key(self, key: str) -> KeyResult:
        return await self._do(calls.change_keys("use-key", key))

    async def remove_key(self, key: str) -> KeyResult:
        return await self._do(calls.change_keys("remove-key", key))

    async def list_keys(self) -> KeyResult:
        return await self._do(calls.list_keys())

    async def coordinate(self, name: str) -> Coordinate | None:
        return await self._do(calls.coordinate(name))

    # --- the connection ---

    async def _connect(self) -> trio.SocketStream:
        if "/" not in self.address:
            return await trio.open_tcp_stream(*calls.host_and_port(self.address))
        if calls.is_strangers(self.address):
            raise Unreachable(f"{self.address}: no such directory, or not this user's own")
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        try:
            while True:
                try:
                    connection.connect(self.address)    # at once, or not at all
                    return trio.SocketStream(trio.socket.from_stdlib_socket(connection))
                except BlockingIOError:     # more clients wait than its queue takes; trio would think it connected
                    await trio.sleep(RETRY_S)
        except BaseException:
            connection.close()
            raise

    async def _do(self, call: calls.Call[T], records: Records | None = None) -> T:
        data, reply = self._talk.request(call, records)
        try:
            with trio.move_on_after(self.timeout_s):
                await self._send(data)
                await self._wait(lambda: reply.done)
        finally:
            if records is not None and not reply.done:
                records.ignore()
        if not reply.done:
            raise TimedOut(self._too_late())
        try:
            return call[3](reply.error, reply.body)
        except calls.NONSENSE:
            raise ClientError(f"{self.address}: {calls.NO_DAEMON}") from None

    async def _next(self, records: Records) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        await self._wait(lambda: bool(records.waiting))
        return records.waiting.popleft()

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            self._check_open()
            assert self._stream is not None
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                await self._stream.send_all(data)
            except trio.BrokenResourceError:
                pass            # what it said before it closed can still be read
            except trio.ClosedResourceError:
                self._check_open()
            except trio.Cancelled:
                self.close()    # half a request is out
                raise

    async def _wait(self, ready: Callable[[], bool]) -> None:
        while not ready():
            self._check_open()
            if self._reading:
                await self._news.wait()
            else:
                await self._receive()

    async def _receive(self) -> None:
        assert self._stream is not None
        self._reading = True
        try:
            data = bytes(await self._stream.receive_some(READ_BYTES))
            self._talk.feed(data)
            if not data:
                self._lose("the daemon closed the connection")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._lose("the daemon closed the connection")
        except calls.NONSENSE:
            self._lose(calls.NO_DAEMON)
        finally:
            self._reading = False
            self._tell()

    def _lose(self, why: str) -> None:
        self._lost = self._lost or f"{self.address}: {why}"
        self._tell()

    def _tell(self) -> None:
        """Those who wait look again."""
        self._news.set()
        self._news = trio.Event()

    def _check_open(self) -> None:
        if self._lost:
            raise ConnectionLost(self._lost)

    def _too_late(self) -> str:
        return f"no answer from {self.address} within {self.timeout_s:g} s"
