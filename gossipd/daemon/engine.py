"""Between the core and the world: inputs go in, effects come out, and no task runs in between."""

from __future__ import annotations

import logging
import os
import platform
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import trio

from gossipd import __version__
from gossipd.addresses import Address, format_address
from gossipd.commands import Command, Decline, Leave, Respond, StartQuery
from gossipd.daemon.hints import HINT_INTERVAL_S, hint
from gossipd.daemon.life import Life
from gossipd.daemon.logs import as_serf
from gossipd.daemon.net import Port
from gossipd.daemon.throttle import Throttle, more
from gossipd.effects import (
    DEBUG,
    Effect,
    Emit,
    NameLost,
    Notice,
    OpenExchange,
    Part,
    Record,
    Rejected,
    Reply,
    SendDatagram,
)
from gossipd.errors import CommandError, WireError
from gossipd.events import Event, MemberInfo, QueryEvent
from gossipd.node import Node
from gossipd.serf.coordinates import Coordinate
from gossipd.wire.messages import Message
from gossipd.wire.stream import StreamDecoder

CORES = str(os.cpu_count() or 1)
COMMANDS_MAX = 4096                 # commands whose reply is still to come, save for queries;
QUERIES_MAX = 2048                  # those may take an hour, and must not keep anything else from being done
_NEVER_TOO_MANY = (Leave, Respond, Decline)     # there is one leave, and the others end at once

log = logging.getLogger("gossipd.node")

Done = Callable[[object, str], None]
"""(result, error): how a command ended; error is "" if it went well."""
MayAnswer = Callable[[QueryEvent], bool]
"""Is somebody there who might answer this query?"""


class Machine(Protocol):
    def next_deadline(self) -> float: ...
    def advance(self, now: float, out: list[Effect]) -> None: ...


class Alarm:
    """Sleeps until a machine's next deadline, however that moves meanwhile.

    Moving a cancel scope's deadline costs a microsecond; waking a task to let it sleep again costs thirty.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._at = machine.next_deadline()
        self._scope = trio.CancelScope()

    async def ring(self) -> None:
        self._at = self._machine.next_deadline()
        with trio.CancelScope(deadline=self._at) as self._scope:
            await trio.sleep_forever()

    def follow(self) -> None:
        """The machine's deadline may have moved."""
        deadline = self._machine.next_deadline()
        if deadline != self._at:
            self._at = self._scope.deadline = deadline


class Engine:
    """Feeds the node and carries out what it asks for. Reading the node needs nobody's permission."""

    def __init__(
        self, node: Node, port: Port, life: Life, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        """`clock`: seconds, monotonic, trio's. `wall`: unix time."""
        self.node, self.port, self.life, self.clock = node, port, life, clock
        self.counters: dict[str, int] = {}
        self.stays_without_name = False     # after a lost name conflict
        self.event_handlers: dict[str, str] = {}    # script by "KIND:NAME", for stats
        self._wall = wall
        self._waiting: deque[Effect] = deque()
        self._busy = False
        self._together = False
        self._alarms: list[Alarm] = []
        self._replies: dict[int, Done] = {}
        self._queries: set[int] = set()
        self._parts: dict[int, Callable[[object], None]] = {}
        self._last_id = 0
        self._listeners: list[Callable[[Event], None]] = []
        self._answerers: list[MayAnswer] = []
        self._dialers: dict[str, Callable[[OpenExchange], bool]] = {}
        self._joiner: Callable[[list[str], bool, Done], bool] | None = None
        self._recorder: Callable[[bytes], None] | None = None
        self._discovered: Callable[[bool], dict[str, Any]] | None = None
        self._notices, self._rejections = Throttle(), Throttle()
        self._strangers = Throttle(HINT_INTERVAL_S)
        self._routes: dict[type, Callable[..., None]] = {
            OpenExchange: self._open, Emit: self._emit, Reply: self._reply, Rejected: self._rejected,
            Notice: self._notice, Record: self._record, NameLost: self._lost, Part: self._part,
        }

    # --- who is there ------------------------------------------------------------------------------------------------

    def alarm(self, machine: Machine) -> Alarm:
        alarm = Alarm(machine)
        self._alarms.append(alarm)
        return alarm

    def listen(self, hear: Callable[[Event], None]) -> None:
        """`hear` gets every event at once and must not wait: it has its own bounded queue and overflow rule."""
        self._listeners.append(hear)

    def answer_with(self, may_answer: MayAnswer) -> None:
        """Whoever answers queries says beforehand which: where nobody will, who asks need not wait."""
        self._answerers.append(may_answer)

    def may_answer(self, query: QueryEvent) -> bool:
        return any(may(query) for may in self._answerers)

    def decline(self, query: QueryEvent, me: MayAnswer) -> None:
        """He who registered `me` will not answer after all; unless others might, who asks is told."""
        if not any(may(query) for may in self._answerers if may != me):
            with suppress(CommandError):
                self.submit(lambda id: Decline(id, query.id), lambda result, error: None)

    def dial_with(self, purpose: str, dial: Callable[[OpenExchange], bool]) -> None:
        """`dial` starts an exchange for `purpose`, or returns False if too many are under way."""
        self._dialers[purpose] = dial

    def join_with(self, join: Callable[[list[str], bool, Done], bool]) -> None:
        """`join` looks names up and submits a Join, or returns False if too many joins are waiting."""
        self._joiner = join

    def record_with(self, record: Callable[[bytes], None]) -> None:
        """`record` takes lines for the snapshot and must not wait."""
        self._recorder = record

    def discover_with(self, report: Callable[[bool], dict[str, Any]]) -> None:
        """`report(ask)` tells what discovery has found, and with `ask` looks again."""
        self._discovered = report

    def count(self, what: str) -> None:
        """Something worth knowing happened in a shell: `gossipctl info` shows how often."""
        self.counters[what] = self.counters.get(what, 0) + 1

    def reject(self, reason: str, source: Address) -> None:
        """A shell refused something of a peer's: counted and logged as what the core refuses."""
        self._rejected(Rejected(reason, source))

    # --- inputs ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._carry_out(self.node.start(self.clock()))
        self._follow()

    def receive(self, data: bytes, source: Address) -> None:
        """One datagram. The caller says when the batch is over, by `settle`."""
        self._carry_out(self.node.receive_datagram(data, source, self.clock()))

    def receive_batch(self) -> int:
        """All that waits in the port, up to a limit: how many datagrams."""
        count = self.port.drain(self.receive)
        if self.port.has_errors:
            for to in self.port.refusals():
                self._carry_out(self.node.port_refused(to, self.clock()))
        self._follow()
        return count

    def receive_stream(self, message: Message, source: Address) -> bytes:
        """One message by stream: the bytes to answer."""
        reply, effects = self.node.receive_stream(message, source, self.clock())
        self._carry_out(effects)
        self._follow()
        return reply

    def stream_failed(self, error: WireError, source: Address) -> bytes:
        reply, effects = self.node.stream_failed(error, source)
        self._carry_out(effects)
        return reply

    def stream_decoder(self, dialled: bool) -> StreamDecoder:
        return self.node.stream_decoder(dialled)

    def exchange_done(self, id: int, message: Message | None, failure: str) -> None:
        self._carry_out(self.node.exchange_done(id, message, failure, self.clock()))
        self._follow()

    def advance(self, machine: Machine) -> None:
        out: list[Effect] = []
        machine.advance(self.clock(), out)
        self._carry_out(out)
        self._follow()

    def together(self, work: Callable[[], None]) -> None:
        """`work` may submit many commands: only after it do the alarms follow the deadlines that it moved."""
        self._together = True
        try:
            work()
        finally:
            self._together = False
            self._follow()

    def resume(self, go_on: Callable[[float, list[Effect]], None]) -> None:
        """What the core asked for and was waiting for is there; `go_on` is (now, out)."""
        out: list[Effect] = []
        go_on(self.clock(), out)
        self._carry_out(out)
        self._follow()

    def flush(self) -> None:
        """The end is near: listeners hear of what is still held back."""
        self._carry_out(self.node.flush())

    # --- requests: the Backend of rpc sessions -----------------------------------------------------------------------

    def submit(
        self, make: Callable[[int], Command], done: Done, part: Callable[[object], None] | None = None
    ) -> None:
        """Run a command; `done` is called exactly once, perhaps before this returns, and before it `part` with each
        thing that the command tells. Raises CommandError."""
        self._last_id += 1
        id = self._last_id
        command = make(id)
        self._admit(command)
        self._replies[id] = done
        if part is not None:
            self._parts[id] = part
        try:
            effects = self.node.command(command, self.clock())
        except CommandError:
            self._forget(id)
            raise
        self._carry_out(effects)
        self._follow()

    def _admit(self, command: Command) -> None:
        if isinstance(command, StartQuery):
            if len(self._queries) >= QUERIES_MAX:
                raise CommandError(f"more than {QUERIES_MAX} queries are under way")
            self._queries.add(command.id)
        elif len(self._replies) - len(self._queries) >= COMMANDS_MAX and not isinstance(command, _NEVER_TOO_MANY):
            raise CommandError(f"more than {COMMANDS_MAX} requests are under way")

    def _forget(self, id: int) -> Done | None:
        self._parts.pop(id, None)
        self._queries.discard(id)
        return self._replies.pop(id, None)

    def join(self, addresses: list[str], replay: bool, done: Done) -> None:
        """Join by names or addresses. Raises CommandError."""
        if self.life.over.is_set():
            raise CommandError("Serf can't Join after Leave or Shutdown", "this node is stopping")
        if self._joiner is None or not self._joiner(addresses, replay, done):
            raise CommandError("too many joins are under way")

    def leave(self, done: Done) -> None:
        """Leave gracefully; the daemon ends after `done`. Raises CommandError if a leave is under way."""
        self.submit(Leave, partial(self._left, done))
        self.life.leave_begun()

    def _left(self, done: Done, result: object, error: str) -> None:
        done(result, error)
        self.life.leave_over(error)

    # --- answers -----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def members_version(self) -> int:
        return self.node.members_version

    def members(self) -> list[MemberInfo]:
        return self.node.members()

    def coordinate(self, name: str) -> Coordinate | None:
        return self.node.coordinate(name)

    def discovered(self, ask: bool) -> dict[str, Any]:
        return self._discovered(ask) if self._discovered else {"Cluster": "", "Links": [], "Seen": []}

    def wall(self, now: float) -> float:
        """Unix time of the monotonic moment `now`."""
        return self._wall() - (self.clock() - now)

    def stats(self) -> dict[str, dict[str, str]]:
        """Sections as in Serf (spec rpc, stats); `gossipd` is ours."""
        own = self.node.member(self.node.name)
        counters = {**self.port.counters, **self.counters}
        own_numbers = {name: str(count) for name, count in sorted(counters.items())}
        if self.node.name_conflict:
            own_numbers["name_conflict"] = self.node.name_conflict
        return {
            "agent": {"name": self.node.name},
            "runtime": {
                "os": "linux", "arch": platform.machine(), "version": f"gossipd {__version__}",
                "max_procs": "1", "goroutines": "1", "cpu_count": CORES,
            },
            "serf": self.node.stats(),
            "tags": dict(own.tags) if own else {},
            "event_handlers": dict(self.event_handlers),
            "gossipd": own_numbers,
        }

    # --- effects -----------------------------------------------------------------------------------------------------

    def _carry_out(self, effects: list[Effect]) -> None:
        """In order. What an effect's consumer feeds back into the node queues up behind."""
        waiting = self._waiting
        waiting.extend(effects)
        if self._busy:
            return
        self._busy = True
        try:
            while waiting:
                effect = waiting.popleft()
                if type(effect) is SendDatagram:
                    self.port.send(effect.data, effect.to)
                else:
                    self._routes[type(effect)](effect)
        finally:
            self._busy = False

    def _follow(self) -> None:
        if self._together:
            return
        for alarm in self._alarms:
            alarm.follow()

    def _open(self, exchange: OpenExchange) -> None:
        dial = self._dialers.get(exchange.purpose)
        if self.life.over.is_set() or dial is None or not dial(exchange):     # over: nobody might dial any more
            self.exchange_done(exchange.id, None, "too many connections")

    def _emit(self, effect: Emit) -> None:
        for hear in self._listeners:
            hear(effect.event)

    def _part(self, part: Part) -> None:
        hear = self._parts.get(part.id)
        if hear is not None:
            hear(part.value)

    def _reply(self, reply: Reply) -> None:
        done = self._forget(reply.id)
        if done is not None:
            done(reply.result, reply.error)

    def _rejected(self, rejected: Rejected) -> None:
        """Garbage comes in floods; a peer that is set up in another way is worth a line of its own, now and then."""
        reason, detail, source = rejected.reason, rejected.detail, rejected.source
        self.count(reason)
        cause = hint(f"{reason}: {detail}")
        held = self._held(reason, f"{cause} {source[0]}" if cause else "", self.clock())
        if held is not None:
            log.warning("refused input reason=%r source=%s%s%s%s", reason, format_address(source),
                        f" detail={detail!r}" if detail not in ("", reason) else "",
                        f" hint={cause!r}" if cause else "", more(held))

    def _held(self, reason: str, stranger: str, now: float) -> int | None:
        """None: no line for this refusal. Else how many others the line speaks for."""
        if stranger and not self._strangers.is_due(stranger, now):
            return self._strangers.admit(stranger, now)
        held = self._rejections.admit(reason, now)
        if stranger and held is not None:
            held += self._strangers.admit(stranger, now) or 0
        return held

    def _record(self, record: Record) -> None:
        if self._recorder is not None:
            self._recorder(record.lines)

    def _lost(self, lost: NameLost) -> None:
        if self.stays_without_name:
            log.error("name conflict: %s: staying, in conflict with the other node", lost.text)
            return
        log.error("name conflict: %s: stopping", lost.text)
        self.life.name_lost()

    def _notice(self, notice: Notice) -> None:
        """Packets can bring about some of them."""
        level, text = notice.level, notice.text
        held = self._notices.admit(text, self.clock()) if level > DEBUG else 0
        if held is not None:
            log.log(level, "%s%s", text, more(held), extra=as_serf(level, "serf", text) if notice.as_serf else None)
