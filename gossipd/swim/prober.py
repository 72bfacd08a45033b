"""Failure detection: one probe an interval, relayed pings, then suspicion (SWIM §3.1; Lifeguard; spec memberlist §12).

A probe is direct at first. When it is late, others are asked and TCP is tried. When the target's host answers that
nobody listens on the port, the process is gone: others are asked at once, and if enough of them see the same, the
suspicion that follows names them as witnesses and ends after a short grace.
"""

from __future__ import annotations

import zlib
from itertools import islice
from random import Random

from gossipd.addresses import Address
from gossipd.effects import WARNING, Effect, Notice, Rejected
from gossipd.swim.config import SwimConfig
from gossipd.swim.exchanges import Exchanges
from gossipd.swim.members import ALIVE, DEAD, LEFT, SUSPECT, Member, address_of
from gossipd.swim.outbox import Outbox
from gossipd.swim.relays import Relays
from gossipd.swim.swim import Swim
from gossipd.timers import TimerQueue
from gossipd.wire.codec import encode
from gossipd.wire.messages import Ack, Dead, IndirectPing, Message, Nack, Ping, Suspect

SEQ_BITS = 32
NACK_PROTOCOL = 4               # peers that speak this much send nacks
TCP_PING_PROTOCOL = 3           # ... answer TCP pings
VERIFICATIONS_MAX = 16          # probes out of turn at one time
STRAY_REFUSAL_GAP_S = 0.1       # least time between two searches for whose port was refused
TICK, LATE, OVER = "tick", "late", "over"


class Probe:
    """One probe of `member`, under way."""

    __slots__ = ("seq", "member", "incarnation", "address", "started", "until", "in_turn", "asked", "nacks_expected",
                 "nacked_by", "refused_by", "refused_here", "tcp_answered")

    def __init__(self, seq: int, member: Member, started: float, until: float, in_turn: bool) -> None:
        self.seq = seq
        self.member = member
        self.incarnation = member.incarnation
        self.address = member.address
        self.started = started
        self.until = until
        self.in_turn = in_turn                      # by the schedule, not to verify what another said
        self.asked: dict[Address, str] = {}         # helpers
        self.nacks_expected = 0
        self.nacked_by: dict[Address, None] = {}
        self.refused_by: dict[str, None] = {}       # nodes that saw the port refused
        self.refused_here = False
        self.tcp_answered = False


class Prober:
    def __init__(self, config: SwimConfig, swim: Swim, outbox: Outbox, exchanges: Exchanges, rng: Random) -> None:
        self._config, self._swim, self._outbox, self._exchanges, self._rng = config, swim, outbox, exchanges, rng
        self._timers: TimerQueue[tuple[str, int]] = TimerQueue()
        self._probes: dict[int, Probe] = {}         # by sequence number
        self._relays = Relays(config, swim, outbox, self._next_seq)
        self._seq = rng.getrandbits(SEQ_BITS)       # not guessable (§20 H9)
        self._at = 0                                # next place in the member list
        self._next_tick = 0.0
        self._stray_refusals_after = 0.0
        swim.on_suspected = self._maybe_verify
        swim.on_last_call = self._tell_suspect

    def start(self, now: float) -> None:
        if self._config.probe_interval_s > 0:
            self._next_tick = now + self._rng.random() * self._config.probe_interval_s
            self._timers.set((TICK, 0), self._next_tick)

    def next_deadline(self) -> float:
        """When `advance` has work: seconds, monotonic; inf when idle."""
        return min(self._timers.next_deadline(), self._relays.next_deadline(), self._swim.countdowns.next_deadline())

    def advance(self, now: float, out: list[Effect]) -> None:
        while (timer := self._timers.pop_due(now)) is not None:
            what, seq = timer
            if what == TICK:
                self._tick(now, out)
            elif what == LATE:
                self._late(self._probes[seq], now, out)
            else:
                self._over(self._probes[seq], now, out)
        self._relays.advance(now, out)
        self._swim.advance(now, out)

    # the schedule

    def _tick(self, now: float, out: list[Effect]) -> None:
        interval = self._config.probe_interval_s
        self._next_tick += interval
        if self._next_tick <= now:              # late ticks collapse into one
            self._next_tick = now + interval
        self._timers.set((TICK, 0), self._next_tick)
        if not any(p.in_turn for p in self._probes.values()):
            member = self._next_member(now)
            if member is not None:
                self._begin(member, now, out, in_turn=True)

    def _next_member(self, now: float) -> Member | None:
        """Walk the shuffled list; at its end prune, shuffle, start over (§12.1)."""
        table, checked = self._swim.members, 0
        while checked < len(table):
            checked += 1
            if self._at >= len(table):
                self._swim.version += table.prune(now, self._config.gossip_to_the_dead_s)
                table.shuffle()
                self._at = 0
                continue
            member = table.order[self._at]
            self._at += 1
            if member.state <= SUSPECT and member is not self._swim.local:
                return member
        return None

    def _begin(self, member: Member, now: float, out: list[Effect], in_turn: bool) -> None:
        until = now + self._swim.awareness.scale(self._config.probe_interval_s)
        probe = Probe(self._next_seq(), member, now, until, in_turn)
        self._probes[probe.seq] = probe
        self._timers.set((LATE, probe.seq), min(now + self._config.probe_timeout_s, until))
        self._timers.set((OVER, probe.seq), until)
        if member.state == ALIVE:
            self._outbox.send(encode(self._ping(probe.seq, member)), member.address, now, out)
        else:
            self._accuse_to_its_face(probe.seq, member, out)

    def _accuse_to_its_face(self, seq: int, suspect: Member, out: list[Effect]) -> None:
        """A ping, and what we hold against it, so that it can refute."""
        accusation = Suspect(suspect.incarnation, suspect.name, self._config.name)
        self._outbox.send_alone([encode(self._ping(seq, suspect)), encode(accusation)], suspect.address, suspect, out)

    def _tell_suspect(self, suspect: Member, now: float, out: list[Effect]) -> None:
        self._accuse_to_its_face(self._next_seq(), suspect, out)

    # (b) late: ask others, try TCP

    def _late(self, probe: Probe, now: float, out: list[Effect]) -> None:
        self._ask_others(probe, now, out)
        self._try_tcp(probe, out)

    def _ask_others(self, probe: Probe, now: float, out: list[Effect]) -> None:
        member, config = probe.member, self._config
        if probe.asked and not probe.refused_here:
            return
        count = config.indirect_checks
        if probe.refused_here:
            count = max(count, config.refusal_witnesses - 1)
        helpers = self._swim.members.pick(count, lambda m: m.state == ALIVE and m is not member
                                          and m is not self._swim.local and m.address not in probe.asked)
        for helper in helpers:
            nack = helper.protocol_max >= NACK_PROTOCOL
            request = IndirectPing(probe.seq, member.addr, member.port, member.name, nack,
                                   config.addr, config.port, config.name)
            probe.asked[helper.address] = helper.name
            probe.nacks_expected += nack
            self._outbox.send(encode(request), helper.address, now, out)

    def _try_tcp(self, probe: Probe, out: list[Effect]) -> None:
        if not self._config.tcp_pings or probe.member.protocol_max < TCP_PING_PROTOCOL:
            return
        seq = probe.seq

        def done(message: Message | None, failure: str, now: float, out: list[Effect]) -> None:
            probe = self._probes.get(seq)
            if probe is None:
                return
            if isinstance(message, Ack) and message.seq == seq:
                probe.tcp_answered = True
            elif failure == "refused":
                self._refused(probe, now, out, by_tcp=True)

        request = self._outbox.stream_bytes(encode(self._ping(seq, probe.member)))
        self._exchanges.open(probe.address, request, probe.until, "ping", done, out)

    def _ping(self, seq: int, target: Member) -> Ping:
        return Ping(seq, target.name, self._config.addr, self._config.port, self._config.name)

    # how it ends

    def on_ack(self, ack: Ack, source: Address, now: float, out: list[Effect]) -> None:
        probe = self._probes.get(ack.seq)
        if probe is None:
            self._relays.on_ack(ack, now, out)      # or late, or forged: silence is the whole answer
            return
        self._end(probe)
        self._swim.awareness.change(-1)
        self._swim.on_answer(probe.member)
        if source not in probe.asked and now <= probe.started + self._config.probe_timeout_s:
            self._swim.upper.on_ping_complete(probe.member, now - probe.started, ack.payload, now, out)

    def on_nack(self, nack: Nack, source: Address, now: float, out: list[Effect]) -> None:
        probe = self._probes.get(nack.seq)
        if probe is None:
            return
        if source in probe.asked or len(probe.nacked_by) < probe.nacks_expected:
            probe.nacked_by[source] = None
        if nack.refused and (helper := probe.asked.get(source)) is not None:
            probe.refused_by[helper] = None
            self._weigh_refusals(probe, now, out)

    def _over(self, probe: Probe, now: float, out: list[Effect]) -> None:
        self._end(probe)
        name = probe.member.name
        if probe.tcp_answered:
            self._swim.awareness.change(-1)
            self._swim.on_answer(probe.member)
            out.append(Notice(WARNING, f"answers by TCP but not by UDP name={name!r}"))
            return
        missing = max(0, probe.nacks_expected - len(probe.nacked_by))
        self._swim.awareness.change(missing if probe.nacks_expected else 1)
        asked = f", {len(probe.asked)} others neither" if probe.asked else ""
        self._accuse(probe, (), f"no answer to our ping{asked}", now, out)

    def _accuse(self, probe: Probe, refused_by: tuple[str, ...], reason: str, now: float, out: list[Effect]) -> None:
        suspect = Suspect(probe.incarnation, probe.member.name, self._config.name, refused_by)
        self._swim.on_suspect(suspect, None, now, out, reason)

    def _end(self, probe: Probe) -> None:
        del self._probes[probe.seq]
        self._timers.cancel((LATE, probe.seq), (OVER, probe.seq))

    # refused ports

    def on_refused(self, to: Address, now: float, out: list[Effect]) -> None:
        """The host at `to` says that nobody listens on the port that a packet of ours went to."""
        self._relays.on_refused(to, now, out)
        probes = [p for p in self._probes.values() if p.address == to]
        for probe in probes:
            if probe.seq in self._probes:
                self._refused(probe, now, out)
        if not probes and now >= self._stray_refusals_after:
            self._stray_refusals_after = now + STRAY_REFUSAL_GAP_S
            for member in self._swim.members:
                if member.address == to and member.state == ALIVE and member is not self._swim.local:
                    self._verify(member, now, out)

    def _refused(self, probe: Probe, now: float, out: list[Effect], by_tcp: bool = False) -> None:
        """`by_tcp`: a firewall can say so in the host's name; it takes another node that sees the same."""
        if probe.refused_here or self._config.refusal_witnesses < 1:
            return
        if by_tcp and self._swim.witnesses_needed(probe.member) < 2:
            return
        probe.refused_here = True
        probe.refused_by[self._config.name] = None
        self._ask_others(probe, now, out)
        self._weigh_refusals(probe, now, out)

    def _weigh_refusals(self, probe: Probe, now: float, out: list[Effect]) -> None:
        if probe.refused_here and len(probe.refused_by) >= self._swim.witnesses_needed(probe.member):
            self._end(probe)
            witnesses = tuple(probe.refused_by)
            self._accuse(probe, witnesses, f"port refused, seen by {', '.join(witnesses)}", now, out)

    # verifying what others suspect

    def _maybe_verify(self, suspect: Member, now: float, out: list[Effect]) -> None:
        if self._config.verify_suspicions and self._is_verifier(suspect):
            self._verify(suspect, now, out)

    def _verify(self, member: Member, now: float, out: list[Effect]) -> None:
        under_way = [p for p in self._probes.values() if not p.in_turn]
        if len(under_way) < VERIFICATIONS_MAX and all(p.member is not member for p in self._probes.values()):
            self._begin(member, now, out, in_turn=False)

    def _is_verifier(self, suspect: Member) -> bool:
        """Every node draws the same k members for a suspicion, without a word (rendezvous hashing)."""
        key = zlib.crc32(b"%d " % suspect.incarnation + _name_bytes(suspect))
        mine = _draw(self._swim.local, key)
        accuser = next(iter(self._swim.suspicions[suspect.name].accusers))
        ahead = (m for m in self._swim.members
                 if m.state == ALIVE and m is not suspect and m.name != accuser and _draw(m, key) < mine)
        verifiers = max(1, self._config.suspicion_mult - 2)
        return len(list(islice(ahead, verifiers))) < verifiers

    # answering

    def on_ping(self, ping: Ping, source: Address, now: float, out: list[Effect]) -> None:
        if ping.node and ping.node != self._config.name:
            out.append(Rejected("ping for another node", source, ping.node))
            return
        ack, to = encode(Ack(ping.seq, self._swim.upper.ack_payload())), self._reply_address(ping, source)
        sender = self._swim.members.get(ping.source_node)
        if sender is not None and sender.state >= DEAD and sender.address == to:
            self._outbox.send_alone([ack, encode(self._what_we_hold(sender))], to, sender, out)
        else:
            self._outbox.send(ack, to, now, out)

    def _what_we_hold(self, gone: Member) -> Dead:
        """For one that is back and does not know that it has to refute: its peers ignore it until it does."""
        return Dead(gone.incarnation, gone.name, gone.name if gone.state == LEFT else self._config.name)

    def on_indirect_ping(self, request: IndirectPing, source: Address, now: float, out: list[Effect]) -> None:
        self._relays.begin(request, self._reply_address(request, source), now, out)

    def _reply_address(self, message: Ping | IndirectPing, source: Address) -> Address:
        """Where the sender says it listens, if that is its host or a member's address; else where the packet came
        from: nobody can make us send to strangers (§20 H10)."""
        if not message.source_port or len(message.source_addr) not in (4, 16):
            return source
        said = address_of(message.source_addr, message.source_port)
        if said[0] == source[0]:
            return said
        member = self._swim.members.get(message.source_node)
        return said if member is not None and member.address == said else source

    def _next_seq(self) -> int:
        self._seq = (self._seq + 1) % 2**SEQ_BITS
        return self._seq


def _name_bytes(member: Member) -> bytes:
    return member.name.encode("utf-8", "surrogateescape")


def _draw(member: Member, key: int) -> tuple[int, str]:
    return zlib.crc32(_name_bytes(member), key), member.name
