"""A world of real nodes on one heap of events: virtual time, one seed, the same trace on every Python.

Inputs reach a node only through its public methods, and what it asks for becomes events on the heap. Everything
random is drawn from generators that are named after the seed and the node, so runs differ only where they must.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from typing import Any

from gossipd.addresses import Address
from gossipd.commands import Command, ForceLeave, Join, Leave
from gossipd.effects import (
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
from gossipd.errors import WireError
from gossipd.events import Event, MemberEvent, UserEvent
from tests.sim.host import Core, Exchange, Host, HostState, MakeCore
from tests.sim.network import Network, Quality
from tests.sim.trace import Trace

PORT = 7946
CHUNK_BYTES = 16384             # how a stream's bytes come in
BOOT = "boot"                   # among a host's events: a process began, and knows nothing
STANDSTILL_STEPS = 1000         # so many wake-ups of one node at one moment are a bug
RUNNING, STOPPED, SILENT, PAUSED = HostState.RUNNING, HostState.STOPPED, HostState.SILENT, HostState.PAUSED


class World:
    """`add` hosts, let them `join`, do things to them, and `run_until` some time (seconds, from 0)."""

    def __init__(self, seed: int, quality: Quality | None = None, *, make_core: MakeCore,
                 trace: Trace | None = None, **settings: Any) -> None:
        self.seed = seed
        self.now = 0.0
        self.network = Network(quality or Quality(), Random(f"{seed}/network"))
        self.rng = Random(f"{seed}/world")      # for scenarios
        self.hosts: dict[str, Host] = {}
        self.trace = trace or Trace()
        self.listeners: list[Callable[[Host, Event], None]] = []
        self.taps: list[Callable[[Host, bytes, Address], None]] = []    # see every datagram sent
        self.splits: list[tuple[float, list[float], dict[str, int]]] = []   # start, [end], group of each
        self.counters: Counter[str] = Counter()
        self._make_core = make_core
        self._settings = settings
        self._by_address: dict[Address, Host] = {}
        self._heap: list[tuple[float, int, Callable[..., None], Any, Any, Any]] = []
        self._numbers = count()
        self._command_ids = count(1)

    # hosts

    def add(self, name: str, /, *, start: bool = True, **settings: Any) -> Host:
        """A new host with a node on it. `settings` are fields of SwimConfig or SerfConfig, over the world's own.

        With a `name` among them the node goes by another name than its host: a rival of whoever has it.
        """
        index = len(self.hosts)
        address = (f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}", PORT)
        settings = {**self._settings, **settings}
        host = Host(name, index, address, settings, self._core(name, 0, address, settings))
        self.hosts[name] = host
        self._by_address[address] = host
        if start:
            self.start(host)
        return host

    def start(self, host: Host) -> None:
        host.started = self.now
        host.events.append((self.now, BOOT, host.name))
        self._step(host, host.core.start(self.now))

    def _core(self, name: str, boot: int, address: Address, settings: dict[str, Any]) -> Core:
        label = f"{self.seed}/{name}/{boot}" if boot else f"{self.seed}/{name}"
        entropy = Random(f"{label}/entropy").randbytes
        return self._make_core(name, address, Random(label), entropy, settings)

    def running(self) -> list[Host]:
        return [host for host in self.hosts.values() if host.state is RUNNING]

    # time

    def at(self, when: float, action: Callable[..., object], *arguments: object) -> None:
        """Call `action` at `when` (seconds)."""
        self._push(when, _call, action, arguments, None)

    def run_for(self, seconds: float) -> None:
        self.run_until(self.now + seconds)

    def run_until(self, end: float) -> None:
        heap = self._heap
        host: Any = None
        try:
            while heap and heap[0][0] <= end:
                self.now, _, action, host, first, second = heappop(heap)
                action(host, first, second)
        except Exception as error:
            error.add_note(f"simulated: seed {self.seed}, t={self.now:.6f}, at {getattr(host, 'name', host)}")
            raise
        self.now = end

    def wait_for(self, condition: Callable[[], bool], timeout_s: float, step_s: float = 0.05) -> float | None:
        """Run until `condition` holds, looking every `step_s`. How long it took in seconds, or None: it never did."""
        start = self.now
        while not condition():
            if self.now >= start + timeout_s:
                return None
            self.run_until(min(self.now + step_s, start + timeout_s))
        return self.now - start

    def _push(self, at: float, action: Callable[..., None], host: Any, first: Any, second: Any) -> None:
        heappush(self._heap, (at, next(self._numbers), action, host, first, second))

    # what people and fate do

    def command(self, name: str, make: Callable[[int], Command]) -> int:
        """Give the node a command. Its reply appears in the host's `replies` under the id returned."""
        host, id = self.hosts[name], next(self._command_ids)
        self._step(host, host.core.command(make(id), self.now))
        return id

    def join(self, name: str, *seeds: str) -> int:
        addresses = [self.hosts[seed].address for seed in seeds]
        return self.command(name, lambda id: Join(id, addresses))

    def leave(self, name: str) -> int:
        """Leave gracefully; the process ends when the node has said goodbye."""
        host = self.hosts[name]
        host.in_trouble("leave", self.now)
        host.leaving = next(self._command_ids)
        self._step(host, host.core.command(Leave(host.leaving), self.now))
        return host.leaving

    def force_leave(self, name: str, about: str, prune: bool = False) -> int:
        return self.command(name, lambda id: ForceLeave(id, about, prune))

    def crash(self, name: str) -> None:
        """The process dies, the machine lives: datagrams and connections are refused."""
        self._stop(self.hosts[name], STOPPED, "crash")

    def silence(self, name: str) -> None:
        """The machine dies: nothing answers any more."""
        self._stop(self.hosts[name], SILENT, "silence")

    def _stop(self, host: Host, state: HostState, why: str) -> None:
        if why:
            host.in_trouble(why, self.now)
        host.state = state
        host.wake_at = inf
        host.backlog.clear()
        host.queued_bytes = 0
        host.busy = False
        host.leaving = 0
        for exchange in host.exchanges.values():
            exchange.over = True
        host.exchanges.clear()

    def restart(self, name: str, **settings: Any) -> None:
        """A fresh process with empty memory on the same machine, under the same name and address."""
        host = self.hosts[name]
        self._stop(host, STOPPED, "restart")
        host.boot += 1
        host.settings.update(settings)
        host.core = self._core(name, host.boot, host.address, host.settings)
        host.state = RUNNING
        host.out_of_trouble(self.now)
        self.start(host)

    def pause(self, name: str) -> None:
        """SIGSTOP: the process stands still, its socket buffers fill."""
        host = self.hosts[name]
        if host.state is RUNNING:
            host.in_trouble("pause", self.now)
            host.state, host.wake_at = PAUSED, inf

    def resume(self, name: str) -> None:
        """SIGCONT: what waited is handled now, before or after the timers that are due, as chance has it."""
        host = self.hosts[name]
        if host.state is not PAUSED:
            return
        host.state = RUNNING
        host.out_of_trouble(self.now)
        if host.service_s:
            self._arm(host)
            self._serve_next(host)
            return
        if self.rng.random() < 0.5:
            self._step(host, host.core.advance(self.now))
        while host.backlog and host.state is RUNNING:
            action, first, second = host.backlog.popleft()
            action(host, first, second)
        self._arm(host)

    def slow(self, name: str, service_s: float) -> None:
        """From now on every input takes the process so long; 0 ends it."""
        host = self.hosts[name]
        if service_s and not host.service_s:
            host.in_trouble("slow", self.now)
        elif not service_s:
            host.out_of_trouble(self.now)
        host.service_s = service_s

    def split(self, *groups: list[str]) -> None:
        """A partition: see `Network.split`."""
        self._end_splits()
        self.network.split(list(groups))
        numbered = {name: number for number, group in enumerate(groups, 1) for name in group}
        self.splits.append((self.now, [inf], numbered))

    def heal(self) -> None:
        self._end_splits()
        self.network.heal()

    def _end_splits(self) -> None:
        for _, end, _ in self.splits:
            end[0] = min(end[0], self.now)

    # a node's wishes

    def _step(self, host: Host, effects: list[Effect]) -> None:
        if effects:
            self.carry_out(host, effects)
        self._arm(host)

    def carry_out(self, host: Host, effects: list[Effect]) -> None:
        for effect in effects:
            kind = type(effect)
            if kind is SendDatagram:
                self._send(host, effect.data, effect.to)    # type: ignore[union-attr]
                continue
            match effect:
                case OpenExchange():
                    self._open(host, effect)
                case Emit(event):
                    self._emitted(host, event)
                case Reply():
                    self._replied(host, effect)
                case Part(id, value):
                    host.parts.setdefault(id, []).append((self.now, value))
                    self.trace.note(self.now, "part", host.index, f"{id} {value}".encode("utf-8", "surrogateescape"))
                case Record(lines):
                    self.write(host, lines)
                case NameLost(text):
                    self.trace.note(self.now, "lost", host.index, text.encode("utf-8", "surrogateescape"))
                    host.in_trouble("name lost", self.now)
                    self._push(self.now, self._exit, host, host.boot, None)
                case Rejected(reason):
                    host.rejected[reason] += 1
                    self.trace.note(self.now, "garbage", host.index, reason.encode())
                case Notice(level, text):
                    host.notices.append((self.now, level, text))
                    self.trace.note(self.now, "notice", host.index, text.encode("utf-8", "surrogateescape"))

    def write(self, host: Host, lines: bytes) -> None:
        """Append to the host's snapshot."""
        host.disk.append((self.now, lines))
        self.trace.note(self.now, "record", host.index, lines)

    def _emitted(self, host: Host, event: Event) -> None:
        if isinstance(event, MemberEvent):
            for member in event.members:
                host.events.append((self.now, event.kind, member.name))
                text = f"{event.kind} {member.name}"
                self.trace.note(self.now, "event", host.index, text.encode("utf-8", "surrogateescape"))
        else:
            text = f"{'heard' if isinstance(event, UserEvent) else 'query'} {event.name} {event.ltime}"
            self.trace.note(self.now, "told", host.index, text.encode("utf-8", "surrogateescape"))
        for listener in self.listeners:
            listener(host, event)

    def _replied(self, host: Host, reply: Reply) -> None:
        assert reply.id not in host.replies, f"{host.name}: second reply to command {reply.id}"
        host.replies[reply.id] = reply
        self.trace.note(self.now, "answer", host.index, f"{reply.result} {reply.error}".encode())
        if reply.id == host.leaving:
            self._push(self.now, self._exit, host, host.boot, None)

    def _exit(self, host: Host, boot: int, _: None) -> None:
        if host.boot == boot:
            self._stop(host, STOPPED, "")

    # timers

    def _arm(self, host: Host) -> None:
        if host.state is RUNNING and (due := host.core.next_deadline()) < host.wake_at:
            host.wake_at = due
            heappush(self._heap, (due if due > self.now else self.now, next(self._numbers), self._wake, host, due, 0))

    def _wake(self, host: Host, armed_for: float, _: int) -> None:
        if armed_for != host.wake_at or host.state is not RUNNING:
            return      # an earlier one was armed since, or the process is not there
        host.wake_at = inf
        if not host.service_s:
            self._timers(host)
        elif not host.busy:
            self._serve_next(host)      # else the timers have their turn when it is done

    def _timers(self, host: Host) -> None:
        host.woken_again = host.woken_again + 1 if host.woken_at == self.now else 0
        host.woken_at = self.now
        assert host.woken_again < STANDSTILL_STEPS, f"{host.name}: next_deadline() never moves on"
        self._step(host, host.core.advance(self.now))

    # a process that is paused or slow

    def _input(self, host: Host, action: Callable[..., None], first: Any, second: Any) -> None:
        """Hand something other than a datagram to the process, when it can take it."""
        if host.state is RUNNING and not host.service_s:
            action(host, first, second)
        elif host.state in (RUNNING, PAUSED):
            self._queue(host, action, first, second)

    def _queue(self, host: Host, action: Callable[..., None], first: Any, second: Any) -> None:
        host.backlog.append((action, first, second))
        if host.state is RUNNING and not host.busy:
            self._serve_next(host)

    def _serve_next(self, host: Host) -> None:
        """A slow process begins with what is next, if there is anything."""
        if host.state is RUNNING and not host.busy and (host.backlog or host.core.next_deadline() <= self.now):
            host.busy = True
            self._push(self.now + host.service_s, self._served, host, host.boot, None)

    def _served(self, host: Host, boot: int, _: None) -> None:
        """It is done with it: only now it has its effects."""
        if host.boot != boot or not host.busy:
            return
        host.busy = False
        if host.state is not RUNNING:
            return
        if host.core.next_deadline() <= self.now and (host.timers_next or not host.backlog):
            host.timers_next = False
            self._timers(host)
        elif host.backlog:
            host.timers_next = True
            action, first, second = host.backlog.popleft()
            action(host, first, second)
        self._serve_next(host)

    # datagrams

    def inject(self, name: str, data: bytes, source: Address) -> None:
        """A datagram from outside the world arrives at once."""
        host = self.hosts[name]
        self._step(host, host.core.receive_datagram(data, source, self.now))

    def _send(self, host: Host, data: bytes, to: Address) -> None:
        host.sent_packets += 1
        host.sent_bytes += len(data)
        self.trace.sent(self.now, host.index, data)
        for tap in self.taps:
            tap(host, data, to)
        target = self._by_address.get(to)
        network = self.network
        if target is None:
            self.counters["to nowhere"] += 1
            return
        if network.restricted:
            if network.is_cut(host.name, target.name):
                return
            if network.is_rejected(host.name, target.name):
                self.counters["rejected packets"] += 1
                self._refuse(host, target)
                return
        for delay, arrived in network.copies(data):
            heappush(self._heap, (self.now + delay, next(self._numbers), self._deliver, target, arrived, host))

    def _deliver(self, host: Host, data: bytes, sender: Host) -> None:
        if host.state is RUNNING and not host.service_s:
            self._step(host, host.core.receive_datagram(data, sender.address, self.now))
        elif host.state is STOPPED:
            self._refuse(sender, host)
        elif host.state is not SILENT and host.room_for(data):
            self._queue(host, self._receive, data, sender)

    def _receive(self, host: Host, data: bytes, sender: Host) -> None:
        host.took(data)
        self._step(host, host.core.receive_datagram(data, sender.address, self.now))

    def _refuse(self, sender: Host, target: Host) -> None:
        """Port unreachable goes back to the sender of a datagram, as far as the kernel's rate limit lets it."""
        network = self.network
        lost = network.quality.loss and self.rng.random() < network.quality.loss
        if target.may_send_icmp(sender.address, self.now) and not lost and not network.is_cut(target.name, sender.name):
            self._push(self.now + network.delay_s(), self._refused, sender, target, sender.boot)

    def _refused(self, host: Host, target: Host, boot: int) -> None:
        if host.boot == boot and host.state in (RUNNING, PAUSED):
            self._input(host, self._hear_refusal, target.address, None)

    def _hear_refusal(self, host: Host, address: Address, _: None) -> None:
        self.trace.note(self.now, "unreachable", host.index, address[0].encode())
        self._step(host, host.core.port_refused(address, self.now))

    # streams: one request, at most one reply

    def inject_stream(self, name: str, data: bytes, source: Address) -> bytes:
        """Somebody from outside the world dials and writes this. Returns the reply."""
        host = self.hosts[name]
        reply, effects = self._answer(host, data, source)
        self._step(host, effects)
        return reply

    def _open(self, host: Host, effect: OpenExchange) -> None:
        self.trace.note(self.now, "open", host.index, effect.request)
        self.counters[f"stream {effect.purpose}"] += 1
        self.counters["stream bytes"] += len(effect.request)
        assert effect.id not in host.exchanges, f"{host.name}: exchange {effect.id} is open already"
        exchange = host.exchanges[effect.id] = Exchange(effect.id, host.boot, effect.to, effect.request)
        self._push(max(effect.deadline, self.now), self._out_of_time, host, exchange, None)
        self._push(self.now + self.network.connect_s(), self._connect, host, exchange, None)

    def _out_of_time(self, host: Host, exchange: Exchange, _: None) -> None:
        if not exchange.over:
            self._input(host, self._fail, exchange, "timeout")

    def _connect(self, host: Host, exchange: Exchange, _: None) -> None:
        target = self._by_address.get(exchange.to)
        if exchange.over or target is None or target.state is SILENT or self._no_stream(host, target):
            return      # the deadline ends it
        if target.state is STOPPED or self.network.is_rejected(host.name, target.name):
            self._input(host, self._fail, exchange, "refused")
            return
        arrives = self.now + self.network.transfer_s(len(exchange.request))
        self._push(arrives, self._request_arrives, target, (host, exchange), target.boot)

    def _no_stream(self, one: Host, other: Host) -> bool:
        network = self.network
        return network.restricted and (network.is_cut(one.name, other.name) or network.is_cut(other.name, one.name))

    def _request_arrives(self, target: Host, dialled: tuple[Host, Exchange], boot: int) -> None:
        host, exchange = dialled
        if target.state is SILENT or self._no_stream(host, target):
            return
        if target.boot != boot or target.state is STOPPED:
            self._reply_arrives(host, exchange, b"")
        else:
            self._input(target, self._serve, host, exchange)

    def _serve(self, target: Host, host: Host, exchange: Exchange) -> None:
        source = (host.address[0], 32768 + exchange.id % 28000)
        reply, effects = self._answer(target, exchange.request, source)
        self.trace.note(self.now, "served", target.index, reply)
        self.counters["stream bytes"] += len(reply)
        arrives = self.now + self.network.transfer_s(len(reply))
        self._push(arrives, self._reply_crosses, target, host, (exchange, reply))
        self._step(target, effects)

    def _answer(self, host: Host, request: bytes, source: Address) -> tuple[bytes, list[Effect]]:
        try:
            message = self._read(host, request, dialled=False)
            return host.core.receive_stream(message, source, self.now) if message is not None else (b"", [])
        except WireError as error:
            return host.core.stream_failed(error, source)

    def _reply_crosses(self, target: Host, host: Host, answer: tuple[Exchange, bytes]) -> None:
        if target.state is not SILENT and not self._no_stream(host, target):
            self._reply_arrives(host, *answer)

    def _reply_arrives(self, host: Host, exchange: Exchange, reply: bytes) -> None:
        if not exchange.over and host.boot == exchange.boot:
            self._input(host, self._hear_reply, exchange, reply)

    def _hear_reply(self, host: Host, exchange: Exchange, reply: bytes) -> None:
        if exchange.over:
            return
        try:
            message = self._read(host, reply, dialled=True) if reply else None
        except WireError as error:
            self._fail(host, exchange, str(error))
            return
        self._end(host, exchange, message, "" if message is not None else "closed")

    def _read(self, host: Host, data: bytes, dialled: bool) -> Any:
        """What one end makes of a stream's bytes, piece by piece, as the daemon would hand them over."""
        decoder = host.core.stream_decoder(dialled)
        for at in range(0, len(data), CHUNK_BYTES):
            decoder.feed(data[at:at + CHUNK_BYTES])
            while decoder.advance():
                pass
        if decoder.message is None:
            decoder.eof()
        return decoder.message

    def _fail(self, host: Host, exchange: Exchange, failure: str) -> None:
        if not exchange.over:
            self._end(host, exchange, None, failure)

    def _end(self, host: Host, exchange: Exchange, message: Any, failure: str) -> None:
        exchange.over = True
        del host.exchanges[exchange.id]
        self._step(host, host.core.exchange_done(exchange.id, message, failure, self.now))


def _call(action: Callable[..., object], arguments: tuple[object, ...], _: None) -> None:
    action(*arguments)
