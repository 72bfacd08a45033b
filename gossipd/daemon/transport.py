"""What peers send us: datagrams in batches, streams one task each."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress

import trio

from gossipd.addresses import Address
from gossipd.daemon.engine import Engine
from gossipd.daemon.exchange import read_message
from gossipd.daemon.guests import Guest, Guests
from gossipd.daemon.net import Listener
from gossipd.errors import WireError
from gossipd.wire.stream import UnwrapError

ACCEPT_PAUSE_S = 0.1        # when the process or the machine has no file descriptor left
ACCEPT_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


async def run_transport(
    engine: Engine,
    listener: Listener,
    timeout_s: float,
    *,
    task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Feed what arrives to the core until cancelled. `timeout_s` is for a whole stream, from accept to answer."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive_datagrams, engine)
        nursery.start_soon(accept_streams, engine, listener, timeout_s, nursery)
        task_status.started(nursery.cancel_scope)


async def receive_datagrams(engine: Engine) -> None:
    """One wait for each batch: it also gives the other tasks their turn."""
    while True:
        await engine.port.wait()
        engine.receive_batch()


async def accept_streams(engine: Engine, listener: Listener, timeout_s: float, nursery: trio.Nursery) -> None:
    guests = Guests()
    while True:
        try:
            stream, source = await listener.accept()
        except OSError as error:
            if error.errno not in ACCEPT_SHORTAGES:
                continue    # this one connection broke before we took it
            engine.count("accept failed")
            await trio.sleep(ACCEPT_PAUSE_S)
            continue
        nursery.start_soon(serve_stream, engine, stream, source, guests, timeout_s)


async def serve_stream(
    engine: Engine, stream: trio.abc.Stream, source: Address, guests: Guests, timeout_s: float
) -> None:
    """Read one message, answer it, close. Nothing extends the time (spec memberlist §7.3)."""
    scope = trio.CancelScope(deadline=trio.current_time() + timeout_s)
    guest = Guest(source[0], scope.cancel)
    if not guests.admit(guest):
        engine.reject("too many streams", source)
        await trio.aclose_forcefully(stream)
        return
    try:
        with scope:
            await answer(engine, stream, source, lambda count: guests.received(guest, count))
        if scope.cancelled_caught:
            engine.reject("stream too slow" if guest in guests else "stream displaced", source)
    finally:
        guests.remove(guest)
        await trio.aclose_forcefully(stream)


async def answer(
    engine: Engine, stream: trio.abc.Stream, source: Address, received: Callable[[int], None]
) -> None:
    """Only what cannot be unwrapped gets an err reply; what is wrong inside just ends the stream (§7.2)."""
    try:
        message = await read_message(stream, engine.stream_decoder(dialled=False), received)
        reply = engine.receive_stream(message, source) if message else b""
    except WireError as error:
        reply = engine.stream_failed(error, source)
        if not isinstance(error, UnwrapError):
            return
    except trio.BrokenResourceError:
        return
    except MemoryError:
        engine.reject("out of memory", source)
        return
    if reply:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(reply)
