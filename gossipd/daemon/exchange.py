"""Messages over TCP: one request and at most one reply a connection (spec memberlist §7)."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable

import trio

from gossipd.addresses import format_address
from gossipd.daemon.engine import Engine
from gossipd.daemon.hints import HINT_INTERVAL_S, hint
from gossipd.daemon.net import Connect
from gossipd.daemon.throttle import Throttle, more
from gossipd.effects import OpenExchange
from gossipd.errors import WireError
from gossipd.wire.messages import Err, Message
from gossipd.wire.stream import StreamDecoder

CHUNK_BYTES = 65536     # read at a time
ERROR_MAX = 200         # characters of what a peer says about us, for the log

log = logging.getLogger("gossipd.exchange")


class Dialer:
    """Runs exchanges of one purpose in its nursery, a limited number at once."""

    def __init__(self, engine: Engine, connect: Connect, nursery: trio.Nursery, limit: int) -> None:
        self._engine, self._connect, self._nursery, self._limit = engine, connect, nursery, limit
        self._running = 0
        self._strangers = Throttle(HINT_INTERVAL_S)

    def dial(self, exchange: OpenExchange) -> bool:
        """Start it and report its end to the engine; False if too many are running."""
        if self._running >= self._limit:
            return False
        self._running += 1
        self._nursery.start_soon(self._run, exchange)
        return True

    async def _run(self, exchange: OpenExchange) -> None:
        message, failure = None, "timeout"
        with trio.CancelScope(deadline=exchange.deadline):
            message, failure = await self._outcome(exchange)
        self._running -= 1
        self._tell(exchange, f"remote error: {message.error[:ERROR_MAX]}" if isinstance(message, Err) else failure)
        self._engine.exchange_done(exchange.id, message, failure)

    def _tell(self, exchange: OpenExchange, failure: str) -> None:
        """To the log: if we and the peer do not understand each other, so that it is seen."""
        cause, to = hint(failure), format_address(exchange.to)
        if exchange.purpose == "sync" and (cause or failure.startswith("remote error")):
            held = self._strangers.admit(to, self._engine.clock())
            if held is not None:
                log.warning("exchange failed purpose=%s to=%s failure=%r%s%s", exchange.purpose, to, failure,
                            f" hint={cause!r}" if cause else "", more(held))
                return
        log.debug("exchange purpose=%s to=%s failure=%r", exchange.purpose, to, failure)

    async def _outcome(self, exchange: OpenExchange) -> tuple[Message | None, str]:
        """The reply, and "" or how it failed in the words of `Node.exchange_done`."""
        try:
            stream = await self._connect(exchange.to)
        except OSError as error:
            return None, "refused" if error.errno == errno.ECONNREFUSED else f"connect: {reason(error).lower()}"
        decoder = self._engine.stream_decoder(dialled=True)
        try:
            async with stream:
                await stream.send_all(exchange.request)
                message = await read_message(stream, decoder)
        except trio.BrokenResourceError:
            return None, "closed"
        except WireError as error:
            return None, str(error)
        except MemoryError:
            return None, "out of memory"
        return message, "" if message else "closed"


async def read_message(
    stream: trio.abc.ReceiveStream, decoder: StreamDecoder, received: Callable[[int], None] = lambda count: None
) -> Message | None:
    """One message; None if the stream ended before its first byte. Other tasks run between slices of long decoding.

    `received` hears of every chunk's size. Raises WireError, trio.BrokenResourceError.
    """
    silent = True
    try:
        while decoder.message is None:
            data = bytes(await stream.receive_some(CHUNK_BYTES))
            if not data:
                if silent:
                    return None
                decoder.eof()       # raises: the message is not complete
            silent = False
            received(len(data))
            decoder.feed(data)
            while decoder.advance():
                await trio.lowlevel.checkpoint()
        return decoder.message
    finally:
        decoder.close()


def reason(error: OSError) -> str:
    """A few words for people, whatever trio wrapped around the error."""
    return os.strerror(error.errno) if error.errno else str(error)
