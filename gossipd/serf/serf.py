"""Serf: what rides on top of the membership layer. Routes inputs to the machines beside it and owns their timers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from random import Random

from gossipd.addresses import Address
from gossipd.commands import (
    ChangeKeys,
    Command,
    Decline,
    ForceLeave,
    Join,
    Leave,
    Respond,
    SendEvent,
    SetTags,
    StartQuery,
)
from gossipd.effects import Effect, Record, Rejected, Reply
from gossipd.errors import ConfigError, WireError
from gossipd.events import MemberInfo, UserEvent
from gossipd.serf.actions import Actions, Departed, Life, SaveTags
from gossipd.serf.answers import AnswerOver, Answers, Question
from gossipd.serf.coalesce import (
    MemberCoalescer,
    MembersPeriodOver,
    MembersQuiet,
    UserCoalescer,
    UsersPeriodOver,
    UsersQuiet,
)
from gossipd.serf.config import SerfConfig
from gossipd.serf.conflict import Conflict, PauseOver
from gossipd.serf.coordinates import Coordinates
from gossipd.serf.internal import answer_internal
from gossipd.serf.keeping import stays_in_memory
from gossipd.serf.keys import KeyAnswers, KeyManager, SaveKeys
from gossipd.serf.lamport import LamportClock
from gossipd.serf.members import Heard, PruneDue, ReapDue, ReconnectDue, Roster, SerfMember, Status, StillHereDue
from gossipd.serf.messages import (
    JoinIntent,
    LeaveIntent,
    PushPullState,
    QueryMessage,
    QueryResponse,
    Relay,
    UserEventMessage,
    decode,
)
from gossipd.serf.queries import Queries, QueryOver
from gossipd.serf.queues import QueueCheckDue, Queues
from gossipd.serf.rejoin import Rejoin, RejoinDue
from gossipd.serf.snapshot import Restored, Snapshot
from gossipd.serf.sync import Clocks, StateSync
from gossipd.serf.userevents import UserEvents
from gossipd.serf.waits import WaitOver
from gossipd.swim.broadcasts import BroadcastQueue, Done
from gossipd.swim.members import Member
from gossipd.swim.upper import Lower
from gossipd.timers import TimerQueue
from gossipd.wire.messages import Alive
from gossipd.wire.reasons import BAD_FIELD
from gossipd.wire.secure import Keyring


class Serf:
    """The layer above of `swim.upper.Upper`. Raises ConfigError if the settings do not allow a start.

    `restored` is what a snapshot told, None for a node that keeps none. `save_keys` keeps changed keys,
    `save_tags` changed tags.
    """

    def __init__(self, config: SerfConfig, lower: Lower, rng: Random, keyring: Keyring | None = None,
                 save_keys: SaveKeys = stays_in_memory, restored: Restored | None = None,
                 save_tags: SaveTags = stays_in_memory) -> None:
        config.check()
        if restored is not None:
            restored = restored.plausible()
        if lower.config.versions[5] != config.protocol:
            raise ConfigError(f"Serf protocol {config.protocol} is not the one advertised")
        self._config, self._lower = config, lower
        self._timers: TimerQueue[Hashable] = TimerQueue()
        self._build_membership(config, lower, rng, restored, save_tags)
        self._build_events(config, lower, rng, restored)
        self._build_queries(config, lower, rng, restored)
        self._key_answers = KeyAnswers(keyring, save_keys, self.answers, lower.config.name)
        self.keys = KeyManager(lower, self.asking)
        self.conflict = Conflict(config, lower, self.roster, self.asking, self.answers, self._timers)

    def _build_membership(self, config: SerfConfig, lower: Lower, rng: Random, restored: Restored | None,
                          save_tags: SaveTags) -> None:
        name, known = lower.config.name, restored or Restored()
        self._restored = restored
        self.snapshot = None if restored is None else Snapshot(
            restored, config.snapshot_compact_bytes, config.rejoin_after_leave)
        self.clocks = Clocks(*map(LamportClock, (known.clock, known.event_clock, known.query_clock)))
        self._coalescer = MemberCoalescer(config.member_period_s, config.member_quiescent_s, name, self._info,
                                          self._timers)
        self.roster = Roster(config, name, lower.members, self.clocks.member, self._timers, rng, self._hear_member,
                             self._refute, self._forget)
        self._queues = Queues(config, lower, lambda: len(self.roster.table), self._timers)
        self.actions = Actions(config, lower, self.roster, self.clocks.member, self._spread_intent, save_tags,
                               self._timers, rng)
        self._rejoin = Rejoin(config, lower, self.roster, self._timers, rng, self._forget)

    def _build_events(self, config: SerfConfig, lower: Lower, rng: Random, restored: Restored | None) -> None:
        self._user_coalescer = UserCoalescer(config.user_period_s, config.user_quiescent_s, self._timers)
        self.events = UserEvents(config, self.clocks.event, self._hear_event, self._spread_event,
                                 None if restored is None else restored.event_clock)
        self._sync = StateSync(self.clocks, self.roster, self.events.slots, self._replay_events)
        self.coordinates = Coordinates(lower.config.name, rng) if config.coordinates else None

    def _build_queries(self, config: SerfConfig, lower: Lower, rng: Random, restored: Restored | None) -> None:
        self.answers = Answers(config, lower, self.roster, self.clocks.query, rng, self._timers, self._tags,
                               self._on_response, self._on_internal, self._on_query_passed,
                               None if restored is None else restored.query_clock)
        self.asking = Queries(config, lower, self.roster, self.clocks.query, rng, self._timers, self._tags,
                                self.answers.receive, self._spread_query)

    def start(self, now: float, out: list[Effect]) -> None:
        """Look for those whom the snapshot knows."""
        if self._restored is not None:
            self._rejoin.start(self._restored.peers(self._lower.config.name), now)

    # what is known

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

    def clock_lines(self) -> bytes:
        """For the snapshot, every half second and at the end: the member clock if it moved."""
        return b"" if self.snapshot is None else self.snapshot.clock(self.clocks.member.time)

    # commands and time

    def command(self, command: Command, now: float, out: list[Effect]) -> None:
        """Raises CommandError before changing anything; otherwise one Reply follows, now or later."""
        match command:
            case SendEvent():
                self.events.send(command.name, command.payload, command.coalesce, now, out)
                out.append(Reply(command.id))
            case StartQuery():
                self.asking.start(command, now, out)
            case Respond():
                self.answers.respond(command.query, command.payload, now, out)
                out.append(Reply(command.id))
            case Decline():
                self.answers.decline(command.query, now, out)
                out.append(Reply(command.id))
            case Join():
                self.actions.join(command, now, out)
            case Leave():
                if self.snapshot is not None and self.actions.life is Life.ALIVE:
                    out.append(Record(self.snapshot.leave()))
                self.actions.leave(command, now, out)
            case ForceLeave():
                self.actions.force_leave(command, now, out)
            case SetTags():
                self.actions.set_tags(command, now, out)
            case ChangeKeys():
                self.keys.change(command, now, out)

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
                case QueryOver(ltime):
                    self.asking.over(ltime, now, out)
                case AnswerOver(id):
                    self.answers.over(id)
                case ReapDue():
                    self.roster.reap(now, out)
                case ReconnectDue():
                    self._reconnect(now, out)
                case RejoinDue():
                    self._rejoin.due(now, out)
                case StillHereDue(name):
                    self.roster.still_here_due(name, now)
                case PruneDue(name):
                    self.roster.prune_due(name, now, out)
                case QueueCheckDue():
                    self._queues.check(now, out)
                case Departed():
                    self.flush(out)
                    self.actions.departed(out)
                case PauseOver():
                    self.conflict.pause_over(out)

    def flush(self, out: list[Effect]) -> None:
        """Tell the events that are held back: nothing comes after this."""
        self._coalescer.quiet(out)
        self._user_coalescer.quiet(out)

    # Upper: what the membership layer tells and asks

    def node_meta(self) -> bytes:
        return self.actions.meta

    def queues(self) -> list[BroadcastQueue]:
        return self._queues.draining_order()

    def on_join(self, member: Member, now: float, out: list[Effect]) -> None:
        self.roster.joined(member, now, out)

    def on_leave(self, member: Member, now: float, out: list[Effect]) -> None:
        self.roster.went(member, now, out)
        self.asking.member_gone(member.name, now)

    def on_update(self, member: Member, now: float, out: list[Effect]) -> None:
        self.roster.updated(member, now, out)

    def on_conflict(self, existing: Member, other: Alive, now: float, out: list[Effect]) -> None:
        self.conflict.noticed(existing, other, now, out)

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
        message, queue, again = decode(payload), self._queues.intent, False
        match message:
            case UserEventMessage():
                _check(self.clocks.event, message.ltime)
                queue, again = self._queues.event, self.events.receive(message, now, out)
            case QueryMessage():
                _check(self.clocks.query, message.ltime)
                queue, again = self._queues.query, self.answers.receive(message, now, out)
            case QueryResponse():
                self._on_response(message, now, out)
                return
            case JoinIntent():
                _check(self.clocks.member, message.ltime)
                again = self.roster.join_intent(message.node, message.ltime, now)
            case LeaveIntent():
                _check(self.clocks.member, message.ltime)
                again = self.roster.leave_intent(message.node, message.ltime, message.prune, now, out)
            case Relay():
                self.answers.relay(message, now, out)
                return
        if again:
            self._queues.spread(queue, payload, now, source)
        else:
            self._lower.heard_user(queue, payload, source, now)

    # what the machines ask of each other

    def _tags(self) -> Mapping[str, str]:
        return self.actions.tags

    def _info(self, member: SerfMember, status: Status | None = None) -> MemberInfo:
        info = self.roster.info(member, status)
        if self.coordinates is not None:
            info.rtt_s = self.coordinates.vivaldi.rtt_s(member.name)
        return info

    def _hear_member(self, heard: Heard, now: float, out: list[Effect]) -> None:
        if self.snapshot is not None:
            member = heard.member
            self._record(self.snapshot.member(heard.kind, member.name, member.record.address) + self.clock_lines(), out)
        self._coalescer.hear(heard, now, out)

    def _hear_event(self, event: UserEvent, now: float, out: list[Effect]) -> None:
        if self.snapshot is not None:
            self._record(self.snapshot.user_event(event.ltime), out)
        self._user_coalescer.hear(event, now, out)

    def _on_query_passed(self, ltime: int, out: list[Effect]) -> None:
        if self.snapshot is not None:
            self._record(self.snapshot.query(ltime), out)

    def _record(self, lines: bytes, out: list[Effect]) -> None:
        if lines:
            out.append(Record(lines))

    def _on_response(self, response: QueryResponse, now: float, out: list[Effect]) -> None:
        self.asking.on_response(response, now, out)

    def _on_internal(self, question: Question, now: float, out: list[Effect]) -> None:
        answer_internal(question, self._key_answers, self.conflict, now, out)

    def _refute(self, now: float) -> None:
        self.actions.announce_alive(now)

    def _forget(self, name: str, out: list[Effect]) -> None:
        """A member was erased."""
        if self.coordinates is not None:
            self.coordinates.forget(name)
        if self.snapshot is not None:
            self._record(self.snapshot.forget(name), out)

    def _spread_intent(self, message: bytes, now: float, on_done: Done | None, delay_s: float) -> None:
        self._queues.spread(self._queues.intent, message, now, None, on_done, delay_s)

    def _spread_event(self, message: bytes, now: float) -> None:
        self._queues.spread(self._queues.event, message, now)

    def _spread_query(self, message: bytes, now: float) -> None:
        self._queues.spread(self._queues.query, message, now)

    def _reconnect(self, now: float, out: list[Effect]) -> None:
        member = self.roster.reconnect(now)
        if member is not None:
            self.actions.reconnect(member.record.address, now, out)

    def _replay_events(self, state: PushPullState, join: bool, now: float, out: list[Effect]) -> None:
        self.events.replay(state, join and self.actions.ignoring_old > 0, now, out)


def _check(clock: LamportClock, ltime: int) -> None:
    if not clock.plausible(ltime):
        raise WireError(BAD_FIELD, f"LTime {ltime}, ours is {clock.time}")
