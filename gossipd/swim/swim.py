"""What is believed about each member: the state machine of spec memberlist §10, and suspicions running out.

    unknown --alive--> ALIVE <--alive (newer)--> SUSPECT --countdown over--> DEAD
                         \\--dead--> DEAD, or LEFT if the member said it itself       --alive (newer)--> ALIVE
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from random import Random

from gossipd.addresses import Address
from gossipd.effects import INFO, WARNING, Effect, Notice
from gossipd.swim.awareness import Awareness
from gossipd.swim.broadcasts import BroadcastQueue, Done, retransmit_limit
from gossipd.swim.config import META_BYTES_MAX, SwimConfig
from gossipd.swim.members import ALIVE, DEAD, LEFT, SUSPECT, Member, MemberTable
from gossipd.swim.suspicion import Suspicion, suspicion_for
from gossipd.swim.upper import Upper
from gossipd.swim.versions import VERSION_BYTES, usable_versions
from gossipd.timers import TimerQueue
from gossipd.wire.codec import encode
from gossipd.wire.messages import Alive, Dead, Suspect

INCARNATION_MAX = 2**32 - 1
"""Never believed: nobody could refute it without wrapping around (§20 H5)."""
NAME_BYTES_MAX = 512
WITNESSES_MAX = 8               # named in one message
WITNESS_NAMES_MAX = 600         # characters of their names together: longer ones are not passed on
WHY_MAX = 200                   # characters of the evidence for a death


class Swim:
    """Applies alive, suspect and dead messages, refutes those about ourselves, tells the upper layer."""

    def __init__(self, config: SwimConfig, rng: Random) -> None:
        self.config = config
        self.members = MemberTable(rng)
        self.queue = BroadcastQueue(self._retransmit_limit, config.eager_delays_s if config.eager else ())
        self.awareness = Awareness(config.awareness_max)
        self.suspicions: dict[str, Suspicion] = {}
        self.countdowns: TimerQueue[str] = TimerQueue()
        self.incarnation = 0            # our own counter
        self.leaving = False
        self.version = 0                # goes up with every change to the table
        self.on_suspected: Callable[[Member, float, list[Effect]], None] = lambda member, now, out: None
        self.on_last_call: Callable[[Member, float, list[Effect]], None] = lambda member, now, out: None
        self.upper: Upper
        self.local: Member

    # our own record

    def start(self, upper: Upper, now: float, out: list[Effect]) -> None:
        config, self.upper = self.config, upper
        self.local = Member(config.name, config.addr, config.port, b"", config.versions, now)
        self.local.reason = "starting"
        self.members.insert(self.local)
        self.incarnation = 1
        self._apply_alive(self.local, self._own_alive(upper.node_meta()), now, out)

    def announce(self, now: float, out: list[Effect], done: Done | None = None) -> None:
        """Tell everybody our current metadata, with a higher incarnation (§9.3 Update)."""
        self.incarnation = min(self.incarnation + 1, INCARNATION_MAX - 1)
        self._apply_alive(self.local, self._own_alive(self.upper.node_meta()), now, out, done=done)

    def leave(self, now: float, out: list[Effect], done: Done | None = None) -> None:
        """Declare ourselves left, for good (§9.4)."""
        self.leaving = True
        local = self.local
        self._apply_dead(local, Dead(local.incarnation, local.name, local.name), now, out, done=done)

    def anyone_up(self) -> bool:
        return any(m.state <= SUSPECT and m is not self.local for m in self.members)

    # §10.1

    def on_alive(self, alive: Alive, source: Address | None, now: float, out: list[Effect], early: bool = True) -> None:
        member = self.members.get(alive.node)
        mine = member is self.local
        if member is not None and not mine and member.knows(alive.incarnation, alive.addr, alive.port):
            return      # the usual case
        if (mine and self.leaving) or not usable(alive):
            return
        if alive.port == 0 or len(alive.vsn) > VERSION_BYTES:
            alive = Alive(alive.incarnation, alive.node, alive.addr, alive.port or self.config.bind_port, alive.meta,
                          alive.vsn[:VERSION_BYTES])
        replace = False
        if member is None:
            if len(self.members) >= self.config.members_max:
                return
            member = Member(alive.node, alive.addr, alive.port, alive.meta, alive.vsn, now)
            self.members.insert(member)
            self.version += 1
        elif member.addr != alive.addr or member.port != alive.port:
            replace = self._may_move(member, now)
            if not replace:
                self.upper.on_conflict(member, alive, now, out)
                return
        if mine:
            if alive.incarnation >= member.incarnation and not self._is_our_own(alive, member):
                self._refute(alive.incarnation, "alive", now, out)
        elif replace or alive.incarnation > member.incarnation:
            self._apply_alive(member, alive, now, out, source, early)

    def _may_move(self, member: Member, now: float) -> bool:
        """May this name come back at another address?"""
        reclaim_s = self.config.dead_node_reclaim_s
        return member.state == LEFT or (member.state == DEAD and 0 < reclaim_s < now - member.changed)

    @staticmethod
    def _is_our_own(alive: Alive, local: Member) -> bool:
        return alive.incarnation == local.incarnation and alive.meta == local.meta and alive.vsn == local.vsn

    def _apply_alive(self, member: Member, alive: Alive, now: float, out: list[Effect], source: Address | None = None,
                     early: bool = True, done: Done | None = None) -> None:
        self._end_suspicion(member)
        was_gone, meta_changed = member.state >= DEAD, member.meta != alive.meta
        if member.addr != alive.addr or member.port != alive.port:
            member.move(alive.addr, alive.port)
        member.meta, member.vsn, member.incarnation = alive.meta, alive.vsn, alive.incarnation
        if member.state != ALIVE:
            member.set_state(ALIVE, now, "joined" if was_gone else "refuted the suspicion")
        self._broadcast(member, encode(alive), now, _reached(source, member.address), early, done)
        if was_gone:
            self.upper.on_join(member, now, out)
        elif meta_changed:
            self.upper.on_update(member, now, out)

    # §10.2

    def on_suspect(self, suspect: Suspect, source: Address | None, now: float, out: list[Effect],
                   reason: str = "") -> None:
        member = self.members.get(suspect.node)
        if member is None or not self._believable(suspect.incarnation, member):
            return
        suspicion = self.suspicions.get(member.name)
        if suspicion is not None:
            heard = suspicion.confirm(suspect.source)
            seen = self._note_refusals(suspicion, suspect, source, now)
            if heard or seen:
                self._set_countdown(member, suspicion)
                self._broadcast(member, _encode_suspect(suspect), now, _reached(source))
        elif member.state != ALIVE:
            pass
        elif member is self.local:
            self._refute(suspect.incarnation, f"suspect from {suspect.source}", now, out)
        else:
            self._suspect(member, suspect, source, now, out, reason)

    def _suspect(self, member: Member, suspect: Suspect, source: Address | None, now: float, out: list[Effect],
                 reason: str) -> None:
        member.incarnation = suspect.incarnation
        member.set_state(SUSPECT, now, reason or f"suspected by {suspect.source}")
        suspicion = suspicion_for(self.config, len(self.members), now, suspect.source)
        self._note_refusals(suspicion, suspect, source, now)
        self.suspicions[member.name] = suspicion
        self._set_countdown(member, suspicion)
        self._broadcast(member, _encode_suspect(suspect), now, _reached(source))
        if suspect.source != self.config.name:
            self.on_suspected(member, now, out)

    def witnesses_needed(self, member: Member) -> int:
        """Nodes that must see `member`'s port refused before it counts as crashed: three, or all others if fewer."""
        others = 0
        for other in self.members:
            if other.state == ALIVE and other is not member:
                others += 1
                if others >= self.config.refusal_witnesses:
                    break
        return others

    def _note_refusals(self, suspicion: Suspicion, suspect: Suspect, source: Address | None, now: float) -> bool:
        """True if `suspect` brings the first sufficient evidence that the process is gone. No source: it is our own."""
        if suspicion.refused_by or not suspect.refused or self.config.refusal_witnesses < 1:
            return False
        if suspicion.answered and source is not None:
            return False        # what was seen before it answered us may still be on its way
        member = self.members.get(suspect.node)
        known = tuple(dict.fromkeys(n for n in suspect.refused[:WITNESSES_MAX]
                                    if n != suspect.node and self.members.get(n) is not None))
        if member is None or not known or len(known) < self.witnesses_needed(member):
            return False
        suspicion.refused_by, suspicion.refused_at = known, now
        return True

    def on_answer(self, member: Member) -> None:
        """It answered a probe: somebody listens on its port now, so only Lifeguard's countdown stays."""
        suspicion = self.suspicions.get(member.name)
        if suspicion is None:
            return
        suspicion.answered = True
        if suspicion.refused_by:
            suspicion.refused_by, suspicion.refused_at = (), math.inf
            self._set_countdown(member, suspicion)

    def _set_countdown(self, member: Member, suspicion: Suspicion) -> None:
        end = suspicion.deadline(self.config.refusal_grace_s)
        if self._owes_call(suspicion):
            end -= self.config.probe_timeout_s
        else:
            end = max(end, suspicion.called + self.config.probe_timeout_s)
        self.countdowns.set(member.name, end)
        self.version += 1

    def _owes_call(self, suspicion: Suspicion) -> bool:
        """We accuse it ourselves, and it may never have heard: our accusation may have gone into the void while we were
        cut off. Before the end it gets one more chance to refute, at no cost in time."""
        return suspicion.called == -math.inf and not suspicion.refused_by and self.config.name in suspicion.accusers

    def _end_suspicion(self, member: Member) -> None:
        if self.suspicions.pop(member.name, None) is not None:
            self.countdowns.cancel(member.name)

    def advance(self, now: float, out: list[Effect]) -> None:
        """Declare dead whose countdown is over (§11.4)."""
        while (name := self.countdowns.pop_due(now)) is not None:
            member, suspicion = self.members.get(name), self.suspicions.get(name)
            if member is None or suspicion is None or member.state != SUSPECT:
                continue
            if self._owes_call(suspicion):
                suspicion.called = now
                self.on_last_call(member, now, out)
                self._set_countdown(member, suspicion)
            else:
                dead = Dead(member.incarnation, name, self.config.name, why=_why(member, suspicion, now))
                self._apply_dead(member, dead, now, out)

    # §10.3

    def on_dead(self, dead: Dead, source: Address | None, now: float, out: list[Effect]) -> None:
        member = self.members.get(dead.node)
        if member is None or not self._believable(dead.incarnation, member):
            return
        if member.state >= DEAD:
            return
        if member is self.local and not self.leaving:
            self._refute(dead.incarnation, f"dead from {dead.source}", now, out)
            return
        self._apply_dead(member, dead, now, out, source)

    def _apply_dead(self, member: Member, dead: Dead, now: float, out: list[Effect], source: Address | None = None,
                    done: Done | None = None) -> None:
        self._end_suspicion(member)
        self._broadcast(member, encode(dead), now, _reached(source), done=done)
        member.incarnation = dead.incarnation
        if dead.source == dead.node:
            member.set_state(LEFT, now, "left")
        else:
            member.set_state(DEAD, now, f"declared dead by {dead.source}" + (f": {dead.why}" if dead.why else ""))
        self.upper.on_leave(member, now, out)

    # shared

    def _believable(self, incarnation: int, member: Member) -> bool:
        if incarnation == member.incarnation:
            return True
        return member.incarnation < incarnation < INCARNATION_MAX - 1       # its refutation is one higher

    def _refute(self, accused: int, said: str, now: float, out: list[Effect]) -> None:
        """§10.4: an alive that beats the accusation."""
        self.incarnation = max(self.incarnation, accused) + 1
        local = self.local
        local.incarnation = self.incarnation
        self.awareness.change(+1)
        out.append(Notice(WARNING if said.startswith(("suspect", "dead")) else INFO,
                          f"refuting said={said!r} incarnation={self.incarnation}"))
        self._broadcast(local, encode(self._own_alive(local.meta)), now, ())

    def _own_alive(self, meta: bytes) -> Alive:
        local = self.local
        return Alive(self.incarnation, local.name, local.addr, local.port, meta, local.vsn)

    def _broadcast(self, member: Member, message: bytes, now: float, reached: Iterable[Address], early: bool = True,
                   done: Done | None = None) -> None:
        self.version += 1
        self.queue.add(message, now, member.name, reached=reached, on_done=done, early=early)

    def _retransmit_limit(self) -> int:
        return retransmit_limit(self.config.retransmit_mult, len(self.members))


def usable(alive: Alive) -> bool:
    """Is this a record that may be kept and passed on? (§20 H3, H4, H5)"""
    return (0 < len(alive.node) <= NAME_BYTES_MAX and len(alive.addr) in (4, 16) and len(alive.meta) <= META_BYTES_MAX
            and alive.incarnation < INCARNATION_MAX and usable_versions(alive.vsn))


def _reached(*addresses: Address | None) -> list[Address]:
    return [a for a in addresses if a is not None]


def _why(member: Member, suspicion: Suspicion, now: float) -> str:
    """The evidence for a death, in a sentence that fits a packet."""
    if suspicion.refused_by:
        return f"port refused, seen by {', '.join(suspicion.refused_by)}"[:WHY_MAX]
    return f"no answer for {now - suspicion.started:.1f} s, suspected by {', '.join(suspicion.accusers)}"[:WHY_MAX]


def _encode_suspect(suspect: Suspect) -> bytes:
    """Evidence that would not fit a packet stays here."""
    if sum(map(len, suspect.refused)) > WITNESS_NAMES_MAX:
        suspect = Suspect(suspect.incarnation, suspect.node, suspect.source)
    return encode(suspect)
