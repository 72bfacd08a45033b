"""Serf: what rides on top of the membership layer. Routes inputs to the machines beside it and owns their timers."""

from __future__ import annotations

from collections.abc import Hashable
from random import Random

from gossipd.addresses import Address
from gossipd.commands import Command, ForceLeave, Join, Leave, SendEvent, SetTags
from gossipd.effects import WARNING, Effect, Notice, Rejected, Reply
from gossipd.errors import ConfigError, WireError
from gossipd.events import MemberInfo
from gossipd.serf.actions import Actions, Departed, Life
from gossipd.serf.coalesce import (
    MemberCoalescer,
    MembersPeriodOver,
    MembersQuiet,
    UserCoalescer,
    UsersPeriodOver,
    UsersQuiet,
)
from gossipd.serf.config import SerfConfig
from gossipd.serf.coordinates import Coordinates
from gossipd.serf.lamport import LamportClock
from gossipd.serf.members import PruneDue, ReapDue, ReconnectDue, Roster, SerfMember, Status
from gossipd.serf.messages import JoinIntent, LeaveIntent, PushPullState, UserEventMessage, decode
from gossipd.serf.queues import QueueCheckDue, Queues
from gossipd.serf.sync import Clocks, StateSync
from gossipd.serf.userevents import UserEvents
from gossipd.serf.waits import WaitOver
from gossipd.swim.broadcasts import BroadcastQueue, Done
from gossipd.swim.members import Member
from gossipd.swim.upper import Lower
from gossipd.timers import TimerQueue
from gossipd.wire.messages import Alive
from gossipd.wire.reasons import BAD_FIELD, BAD_TYPE


class Serf:
    """The layer above of `swim.upper.Upper`. Raises ConfigError if the settings do not allow a start."""

    def __init__(self, config: SerfConfig, lower: Lower, rng: Random) -> None:
        config.check()
        if lower.config.versions[5] != config.protocol:
            raise ConfigError(f"Serf protocol {config.protocol} is not the one advertised")
        self._config, self._lower = config, lower
        self._timers: TimerQueue[Hashable] = TimerQueue()
        self.clocks = Clocks(LamportClock(), LamportClock(), LamportClock())
        self._coalescer = MemberCoalescer(config.member_period_s, config.member_quiescent_s, lower.config.name,
                                          self._info, self._timers)
        self.roster = Roster(config, lower.config.name, lower.members, self.clocks.member, self._timers, rng,
                             self._coalescer.hear, self._refute, self._forget)
        self._queues = Queues(config, lower, lambda: len(self.roster.table), self._timers)
        self.actions = Actions(config, lower, self.roster, self.clocks.member, self._spread_intent, self._timers)
        self._user_coalescer = UserCoalescer(config.user_period_s, config.user_quiescent_s, self._timers)
        self.events = UserEvents(config, self.clocks.event, self._user_coalescer.hear, self._spread_event)
        self._sync = StateSync(self.clocks, self.roster, self.events.slots, self._replay_events)
        self.coordinates = Coordinates(lower.config.name, rng) if config.coordinates else None

    def start(self, now: float, out: list[Effect]) -> None:
        """Nothing is to be done before the first input."""

    @property
    def version(self) -> int:
        """Moves whenever a member changes in this layer."""
        return self.roster.version

    @property
    def left(self) -> bool:
        return self.actions.life is Life.LEFT

    def member_infos(self) -> list[MemberInfo]:
        return [self._info(member) for member in self.roster.table.values()]

    def member_info(self, name: str) -> MemberInfo | None:
        member = self.roster.table.get(name)
        return None if member is None else self._info(member)

    def stats(self) -> dict[str, str]:
        """The numbers of this layer as text (§17)."""
        roster, clocks = self.roster, self.clocks
        numbers = {
            "members": len(roster.table),
            "failed": len(roster.failed),
            "left": len(roster.left),
            "member_time": clocks.member.time,
            "event_time": clocks.event.time,
            "query_time": clocks.query.time,
            **self._queues.depths(),
        }
        if self.coordinates is not None:
            numbers["coordinate_resets"] = self.coordinates.vivaldi.resets
        return {name: str(number) for name, number in numbers.items()}

    # commands and time

    def command(self, command: Command, now: float, out: list[Effect]) -> None:
        """Raises CommandError before changing anything; otherwise one Reply follows, now or later."""
        match command:
            case Join():
                self.actions.join(command, now, out)
            case Leave():
                self.actions.leave(command, now, out)
            case ForceLeave():
                self.actions.force_leave(command, now, out)
            case SetTags():
                self.actions.set_tags(command, now, out)
            case SendEvent():
                self.events.send(command.name, command.payload, command.coalesce, now, out)
                out.append(Reply(command.id))

    def next_deadline(self) -> float:
        """When `advance` has work: seconds, monotonic; inf when idle."""
        return self._timers.next_deadline()

    def advance(self, now: float, out: list[Effect]) -> None:
        while (due := self._timers.pop_due(now)) is not None:
            match due:
                case MembersQuiet():
                    self._coalescer.quiet(out)
                case MembersPeriodOver():
                    self._coalescer.period_over(now, out)
                case UsersQuiet():
                    self._user_coalescer.quiet(out)
                case UsersPeriodOver():
                    self._user_coalescer.period_over(now, out)
                case WaitOver(number):
                    self.actions.waits.over(number, now, out)
                case ReapDue():
                    self.roster.reap(now, out)
                case ReconnectDue():
                    self._reconnect(now, out)
                case PruneDue(name):
                    self.roster.prune_due(name, now, out)
                case QueueCheckDue():
                    self._queues.check(now, out)
                case Departed():
                    self.actions.departed(out)

    # Upper: what the membership layer tells and asks

    def node_meta(self) -> bytes:
        return self.actions.meta

    def queues(self) -> list[BroadcastQueue]:
        return self._queues.draining_order()

    def on_join(self, member: Member, now: float, out: list[Effect]) -> None:
        self.roster.joined(member, now, out)

    def on_leave(self, member: Member, now: float, out: list[Effect]) -> None:
        self.roster.went(member, now, out)

    def on_update(self, member: Member, now: float, out: list[Effect]) -> None:
        self.roster.updated(member, now, out)

    def on_conflict(self, existing: Member, other: Alive, now: float, out: list[Effect]) -> None:
        out.append(Notice(WARNING, f"name conflict name={existing.name!r} ours={existing.address[0]}"
                                   f" other={other.addr.hex()} port={other.port}"))

    def ack_payload(self) -> bytes:
        return b"" if self.coordinates is None else self.coordinates.ack_payload

    def on_ping_complete(self, member: Member, rtt_s: float, payload: bytes, now: float, out: list[Effect]) -> None:
        if self.coordinates is not None:
            try:
                self.coordinates.measured(member.name, payload, rtt_s)
            except WireError as error:
                out.append(Rejected(error.reason, member.address, f"coordinate: {error}"))

    def local_state(self, join: bool) -> bytes:
        return self._sync.local_state()

    def merge_remote_state(self, state: bytes, join: bool, now: float, out: list[Effect]) -> None:
        self._sync.merge(state, join, now, out)

    def on_user_message(self, payload: bytes, source: Address, now: float, out: list[Effect]) -> None:
        """Raises WireError for what cannot be used; an empty message means nothing."""
        if not payload:
            return
        message = decode(payload)
        queue = self._queues.intent
        match message:
            case UserEventMessage():
                self._check(self.clocks.event, message.ltime)
                queue, again = self._queues.event, self.events.receive(message, now, out)
            case JoinIntent():
                self._check(self.clocks.member, message.ltime)
                again = self.roster.join_intent(message.node, message.ltime, now)
            case LeaveIntent():
                self._check(self.clocks.member, message.ltime)
                again = self.roster.leave_intent(message.node, message.ltime, message.prune, now, out)
            case _:
                raise WireError(BAD_TYPE, type(message).__name__)
        if again:
            self._queues.spread(queue, payload, now, source)

    # what the machines ask of each other

    def _check(self, clock: LamportClock, ltime: int) -> None:
        if not clock.plausible(ltime):
            raise WireError(BAD_FIELD, f"LTime {ltime}, ours is {clock.time}")

    def _info(self, member: SerfMember, status: Status | None = None) -> MemberInfo:
        info = self.roster.info(member, status)
        if self.coordinates is not None:
            info.rtt_s = self.coordinates.vivaldi.rtt_s(member.name)
        return info

    def _refute(self, now: float) -> None:
        self.actions.announce_alive(now)

    def _forget(self, name: str) -> None:
        """A member was erased."""
        if self.coordinates is not None:
            self.coordinates.forget(name)

    def _spread_intent(self, message: bytes, now: float, on_done: Done | None) -> None:
        self._queues.spread(self._queues.intent, message, now, None, on_done)

    def _reconnect(self, now: float, out: list[Effect]) -> None:
        member = self.roster.reconnect(now)
        if member is not None:
            self.actions.reconnect(member.record.address, now, out)

    def _spread_event(self, message: bytes, now: float) -> None:
        self._queues.spread(self._queues.event, message, now)

    def _replay_events(self, state: PushPullState, join: bool, now: float, out: list[Effect]) -> None:
        self.events.replay(state, join and self.actions.ignoring_old > 0, now, out)
