"""Members as Serf sees them: alive, leaving, left or failed (spec serf §6.1-6.8, §12).

What a member is, memberlist says; whether it went on purpose, only the intents say. memberlist's own difference
between left and dead plays no part.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum
from random import Random

from gossipd.effects import Effect
from gossipd.events import MEMBER_FAILED, MEMBER_JOIN, MEMBER_LEAVE, MEMBER_REAP, MEMBER_UPDATE, MemberInfo
from gossipd.serf.config import SerfConfig
from gossipd.serf.intents import RecentIntents
from gossipd.serf.lamport import LamportClock
from gossipd.serf.tags import decode_tags
from gossipd.swim.members import Member, MemberState, MemberTable
from gossipd.timers import TimerQueue


class Status(IntEnum):
    """Numbers of a conflict response."""

    NONE = 0
    ALIVE = 1
    LEAVING = 2
    LEFT = 3
    FAILED = 4


NONE, ALIVE, LEAVING, LEFT, FAILED = Status
WORDS = ("none", "alive", "leaving", "left", "failed")


class SerfMember:
    """Serf's part of a member. A simulator holds a million of these."""

    __slots__ = ("record", "status", "ltime", "since", "told")

    def __init__(self, record: Member, now: float) -> None:
        self.record = record            # memberlist's, kept when memberlist has forgotten it
        self.status = ALIVE
        self.ltime = 0                  # of the last intent applied
        self.since = now                # when the status last changed: seconds, monotonic
        self.told = ""                  # the kind of the last event delivered about it

    @property
    def name(self) -> str:
        return self.record.name

    def set_status(self, status: Status, now: float) -> None:
        self.status, self.since = status, now


@dataclass(slots=True)
class Heard:
    """Something happened to a member; `status` is the one that it had right then."""

    kind: str
    member: SerfMember
    status: Status


class ReapDue:
    """Time to look who is gone for long."""


class ReconnectDue:
    """Time to try a failed member again."""


@dataclass(frozen=True, slots=True)
class PruneDue:
    name: str


@dataclass(frozen=True, slots=True)
class StillHereDue:
    """Time to look whether a leaving member really went."""

    name: str


LEAVING_MAX_S = 15.0
"""A member that is leaving for longer and still answers is not: a real leave takes two broadcasts, 10 s at most. Old
goodbyes wander about in push/pulls, with times that grow; in Serf they can make a member "leaving" for ever."""


REAP, RECONNECT = ReapDue(), ReconnectDue()


class Roster:
    """The table, its transitions, and its timers: `reap`, `prune_due`, `reconnect` run when theirs are due.

    `hear` is told of every change that users may hear of; `refute` must spread a join intent about this node;
    `erased` is told the name of a member that was forgotten.
    """

    def __init__(self, config: SerfConfig, local_name: str, records: MemberTable, clock: LamportClock,
                 timers: TimerQueue[Hashable], rng: Random, hear: Callable[[Heard, float, list[Effect]], None],
                 refute: Callable[[float], None], erased: Callable[[str, list[Effect]], None]) -> None:
        self._config, self.local_name, self._records = config, local_name, records
        self._clock, self._timers, self._rng = clock, timers, rng
        self._hear, self._refute, self._erased = hear, refute, erased
        self.table: dict[str, SerfMember] = {}
        self.failed: dict[str, SerfMember] = {}
        self.left: dict[str, SerfMember] = {}
        self.intents = RecentIntents()
        self.leaving = False            # this node is on its way out: leave intents about it are true
        self.flaps = 0                  # members that came back soon after they failed
        self.version = 0                # moves with every change of the table

    def info(self, member: SerfMember, status: Status | None = None) -> MemberInfo:
        """The member as users know it now, but with this status if one is given."""
        record = member.record
        state = record.state.name.lower() if self._records.get(record.name) is record else ""
        return MemberInfo(record.name, record.addr, record.port, dict(decode_tags(record.meta)),
                          WORDS[member.status if status is None else status], record.vsn, state, record.incarnation,
                          max(member.since, record.changed), record.reason)

    def anyone_else_alive(self) -> bool:
        return any(m.status is ALIVE for m in self.table.values() if m.record.name != self.local_name)

    # what memberlist says

    def joined(self, record: Member, now: float, out: list[Effect]) -> None:
        member = self.table.get(record.name)
        if member is None:
            member = self._create(record, now)
        else:
            self._revive(member, record, now)
        self._changed(MEMBER_JOIN, member, now, out)

    def went(self, record: Member, now: float, out: list[Effect]) -> None:
        """It is not there any more: whether it left or failed, an intent has said, or will, or its own goodbye did.

        (Serf looks at intents only, and so may call a member failed for a moment whose goodbye overtook its intent.)
        """
        member = self.table.get(record.name)
        if member is None:
            return
        if member.status is LEAVING or (member.status is ALIVE and record.state == MemberState.LEFT):
            self._to_left(member, now, out)
        elif member.status is ALIVE:
            member.set_status(FAILED, now)
            self.failed[member.name] = member
            self._arm(REAP, self._config.reap_interval_s, now)
            # at a random point of the first interval, or else those who saw it fail together would all knock together
            self._arm(RECONNECT, self._config.reconnect_interval_s * self._rng.random(), now)
            self._changed(MEMBER_FAILED, member, now, out)

    def updated(self, record: Member, now: float, out: list[Effect]) -> None:
        member = self.table.get(record.name)
        if member is not None:
            member.record = record
            self._changed(MEMBER_UPDATE, member, now, out)

    # what intents say; each answers: should the intent be rebroadcast?

    def leave_intent(self, name: str, ltime: int, prune: bool, now: float, out: list[Effect]) -> bool:
        self._clock.witness(ltime)
        member = self.table.get(name)
        if member is None:
            return self._buffer(name, True, ltime, now)
        if ltime <= member.ltime:
            return False
        if name == self.local_name and not self.leaving:
            self._refute(now)
            return False
        member.ltime = ltime            # even when the status stays: else two nodes rebroadcast it forever
        if member.status is ALIVE:
            self._begin_leaving(member, now)
        elif member.status is FAILED:
            del self.failed[name]
            self._to_left(member, now, out)
        if prune and name != self.local_name:
            self._prune(member, now, out)
        return True

    def join_intent(self, name: str, ltime: int, now: float) -> bool:
        self._clock.witness(ltime)
        member = self.table.get(name)
        if member is None:
            return self._buffer(name, False, ltime, now)
        if ltime <= member.ltime:
            return False
        member.ltime = ltime
        if member.status is LEAVING:
            member.set_status(ALIVE, now)
            self._timers.cancel(PruneDue(name))
            self.version += 1
        return True

    # timers

    def reap(self, now: float, out: list[Effect]) -> None:
        """Forget who is gone for long, and old intents."""
        config = self._config
        for gone, keep_s in ((self.failed, config.reconnect_timeout_s), (self.left, config.tombstone_timeout_s)):
            for member in [m for m in gone.values() if now - m.since > keep_s]:
                self._erase(member, now, out)
        self.intents.expire(now, config.recent_intent_timeout_s)
        if self.failed or self.left or self.intents:
            self._arm(REAP, config.reap_interval_s, now)

    def prune_due(self, name: str, now: float, out: list[Effect]) -> None:
        """A pruned member had its time to object."""
        member = self.table.get(name)
        if member is not None and member.status in (LEAVING, LEFT):
            self._erase(member, now, out)

    def still_here_due(self, name: str, now: float) -> None:
        """Nobody hears of it, as nobody heard that the member was leaving."""
        member = self.table.get(name)
        if member is None or member.status is not LEAVING:
            return
        if member.record.state == MemberState.ALIVE and PruneDue(name) not in self._timers:
            member.set_status(ALIVE, now)
            self.version += 1
        else:
            self._timers.set(StillHereDue(name), now + LEAVING_MAX_S)

    def reconnect(self, now: float) -> SerfMember | None:
        """A failed member that we should try to reach now: about one try for each failed member and interval
        in the whole cluster."""
        if not self.failed:
            return None
        self._arm(RECONNECT, self._config.reconnect_interval_s, now)
        alive = max(1, len(self.table) - len(self.failed) - len(self.left))
        if self._rng.random() > len(self.failed) / alive:
            return None
        return self._rng.choice(list(self.failed.values()))

    # steps

    def _create(self, record: Member, now: float) -> SerfMember:
        member = self.table[record.name] = SerfMember(record, now)
        intent = self.intents.get(record.name)
        if intent is not None:          # it stays buffered (§20.9)
            member.ltime = intent.ltime
            if intent.leave:
                self._begin_leaving(member, now)
        return member

    def _begin_leaving(self, member: SerfMember, now: float) -> None:
        member.set_status(LEAVING, now)
        self.version += 1
        if member.name != self.local_name:
            self._timers.set(StillHereDue(member.name), now + LEAVING_MAX_S)

    def _revive(self, member: SerfMember, record: Member, now: float) -> None:
        if member.status is FAILED and now - member.since < self._config.flap_timeout_s:
            self.flaps += 1
        self.failed.pop(record.name, None)
        self.left.pop(record.name, None)
        self._timers.cancel(PruneDue(record.name))
        member.record = record
        member.set_status(ALIVE, now)   # the status time survives (§20.8)

    def _to_left(self, member: SerfMember, now: float, out: list[Effect]) -> None:
        member.set_status(LEFT, now)
        self.left[member.name] = member
        self._arm(REAP, self._config.reap_interval_s, now)
        self._changed(MEMBER_LEAVE, member, now, out)

    def _prune(self, member: SerfMember, now: float, out: list[Effect]) -> None:
        if member.status is not LEAVING:
            self._erase(member, now, out)
            return
        # It may well be alive and object: wait as long as its refutation can take (§6.7).
        config = self._config
        self._arm(PruneDue(member.name), config.broadcast_timeout_s + config.leave_propagate_delay_s, now)

    def _erase(self, member: SerfMember, now: float, out: list[Effect]) -> None:
        name = member.name
        for table in (self.table, self.failed, self.left):
            table.pop(name, None)
        self._timers.cancel(PruneDue(name))
        self._erased(name, out)
        self._changed(MEMBER_REAP, member, now, out)

    def _changed(self, kind: str, member: SerfMember, now: float, out: list[Effect]) -> None:
        self.version += 1
        self._hear(Heard(kind, member, member.status), now, out)

    def _buffer(self, name: str, leave: bool, ltime: int, now: float) -> bool:
        self._arm(REAP, self._config.reap_interval_s, now)
        return self.intents.remember(name, leave, ltime, now)

    def _arm(self, key: Hashable, delay_s: float, now: float) -> None:
        if key not in self._timers:
            self._timers.set(key, now + delay_s)
