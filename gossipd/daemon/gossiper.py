"""The gossiper's subsystem: timers of gossip and of Serf's layer, push/pull exchanges, joins by name."""

from __future__ import annotations

import logging
import socket
from functools import partial
from itertools import islice

import trio

from gossipd.addresses import PORT_MAX, Address, parse_address
from gossipd.commands import Join
from gossipd.config.schema import JoinSection
from gossipd.daemon.engine import Done, Engine
from gossipd.daemon.exchange import Dialer
from gossipd.daemon.net import Connect, plain_source
from gossipd.daemon.prober import run_timers
from gossipd.errors import CommandError
from gossipd.serf.actions import FAILURES_SHOWN, lines_of_errors, list_of_errors
from gossipd.timers import Rarely

SYNCS_MAX = 64              # push/pull exchanges that we began, at once
JOINS_MAX = 64              # joins whose names are being looked up, at once
LOOKUP_TIMEOUT_S = 10.0     # for all names of one join together
FIRST_PAUSE_S = 0.25        # before a join from the configuration is tried again
ADDRESSES_OF_NAME_MAX = 32  # a name may have several A and AAAA records; each is a seed of its own

log = logging.getLogger("gossipd.gossiper")


async def run_gossiper(
    engine: Engine,
    connect: Connect,
    default_port: int,
    *,
    task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Spread news and merge states until cancelled. `default_port` is for addresses that name none."""
    async with trio.open_nursery() as nursery:
        engine.dial_with("sync", Dialer(engine, connect, nursery, SYNCS_MAX).dial)
        engine.join_with(Joiner(engine, nursery, default_port).join)
        nursery.start_soon(run_timers, engine, engine.node.gossiper)
        nursery.start_soon(run_timers, engine, engine.node.serf)
        task_status.started(nursery.cancel_scope)


Found = list[Address] | str
"""The addresses of a name, or why there are none: a sentence of Serf's."""


class Joiner:
    """Looks names up, then joins."""

    def __init__(self, engine: Engine, nursery: trio.Nursery, default_port: int) -> None:
        self._engine, self._nursery, self._default_port = engine, nursery, default_port
        self._running = 0

    def join(self, texts: list[str], replay: bool, done: Done) -> bool:
        """Begin; `done` hears of the end. False if too many are under way."""
        if self._running >= JOINS_MAX:
            return False
        self._running += 1
        self._nursery.start_soon(self._run, texts, replay, done)
        return True

    async def _run(self, texts: list[str], replay: bool, done: Done) -> None:
        try:
            found = await look_up_all(texts, self._default_port)
        finally:
            self._running -= 1
        addresses = [address for one in found if not isinstance(one, str) for address in one]
        if found and not addresses:
            done(0, list_of_errors([one for one in found if isinstance(one, str)]))
            return
        try:
            self._engine.submit(lambda id: Join(id, addresses, replay), partial(_joined, done, found))
        except CommandError as error:
            done(0, str(error))


def _joined(done: Done, found: list[Found], result: object, error: str) -> None:
    """A join that failed altogether also tells which names were not found: each in its place, as Serf does."""
    unknown = [one for one in found if isinstance(one, str)]
    if unknown and not error:
        log.warning("joined, but not through all failed=%d error=%r", len(unknown), "; ".join(unknown[:FAILURES_SHOWN]))
    elif unknown:
        failures = iter(lines_of_errors(error))
        error = list_of_errors([line for one in found
                                for line in ([one] if isinstance(one, str) else islice(failures, len(one)))])
    done(result, error)


async def look_up_all(texts: list[str], default_port: int) -> list[Found]:
    """All `texts` in their order, looked up at once."""
    answers: list[Found] = [f"Failed to resolve {text}: lookup {text}: i/o timeout" for text in texts]

    async def look_up_one(place: int, text: str) -> None:
        answers[place] = await look_up(text, default_port)

    with trio.move_on_after(LOOKUP_TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            for place, text in enumerate(texts):
                nursery.start_soon(look_up_one, place, text)
    return answers


async def look_up(text: str, default_port: int) -> Found:
    """Serf's `name/host:port` is understood; the name in front is dropped, as memberlist uses it only to check TLS."""
    failed = f"Failed to resolve {text}: "
    name, slash, address = text.partition("/")
    if not slash:
        address = text
    elif not name:
        return failed + "empty node name provided"
    try:
        host, port = parse_address(address, default_port)
    except ValueError:
        return failed + _what_go_says(address)
    try:
        answers = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        unknown = error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        return failed + f"lookup {host}: {'no such host' if unknown else error.strerror}"
    except ValueError:      # no name at all, says IDNA
        return failed + f"lookup {host}: no such host"
    except RuntimeError as error:       # no more threads for this process
        return failed + f"lookup {host}: {error}"
    return list(dict.fromkeys(plain_source(name) for _, _, _, _, name in answers[:ADDRESSES_OF_NAME_MAX]))


def _what_go_says(address: str) -> str:
    """Of one that `parse_address` does not take."""
    host, colon, port = address.partition(":")
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        if not bracket:
            return f"address {address}: missing ']' in address"
        colon, port = rest[:1], rest[1:]
        if colon not in ("", ":"):
            return f"address {address}: missing port in address"
    is_number = port.isascii() and port.isdigit()
    if not colon or (is_number and int(port.lstrip("0")[:6] or 0) <= PORT_MAX):     # int() takes no thousands of digits
        return f"lookup {host}: no such host"
    return f'strconv.ParseUint: parsing "{port}": {"value out of range" if is_number else "invalid syntax"}'


async def keep_joining(engine: Engine, join: JoinSection) -> None:
    """Join the configured seeds, again and again until one has answered.

    Machines that start together find each other by quick first attempts, with pauses that double up to the configured
    one. `retry_max` counts what comes after those.
    """
    pause_s, further = min(FIRST_PAUSE_S, join.retry_interval_s), 0
    complaint, said = Rarely(), ""      # at length about something new, else less and less often
    while not engine.life.ending.is_set():
        contacted, error = await join_once(engine, list(join.seeds), join.replay)
        if contacted:
            log.info("joined seeds=%s contacted=%d", ",".join(join.seeds), contacted)
            return
        if pause_s >= join.retry_interval_s:
            if 0 < join.retry_max <= further:
                log.error("join failed, giving up attempts=%d error=%r", further, error)
                engine.life.stop()
                return
            further += 1
        level = logging.WARNING if complaint.is_due(engine.clock()) or error != said else logging.DEBUG
        log.log(level, "join failed, trying again in_s=%.2f error=%r", pause_s, error)
        said = error
        await trio.sleep(pause_s)
        pause_s = min(2 * pause_s, join.retry_interval_s)


async def join_once(engine: Engine, seeds: list[str], replay: bool) -> tuple[int, str]:
    """How many seeds answered, and what went wrong if none did."""
    over = trio.Event()
    outcome: list[tuple[object, str]] = []

    def done(result: object, error: str) -> None:
        outcome.append((result, error))
        over.set()

    try:
        engine.join(seeds, replay, done)
    except CommandError as error:
        return 0, str(error)
    await over.wait()
    result, error_text = outcome[0]
    return (result if isinstance(result, int) and not error_text else 0), error_text
