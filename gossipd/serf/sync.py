"""The user state of a push/pull: clocks, status times, who left, recent user events (spec serf §6.10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gossipd.effects import Effect
from gossipd.serf.lamport import LamportClock
from gossipd.serf.members import Roster
from gossipd.serf.messages import EventSlot, PushPullState, decode_push_pull, encode_push_pull


@dataclass(slots=True)
class Clocks:
    """The three clocks of a node."""

    member: LamportClock
    event: LamportClock
    query: LamportClock


class StateSync:
    """Tells a peer our state and takes in its."""

    def __init__(self, clocks: Clocks, roster: Roster, slots: Callable[[], list[EventSlot]],
                 replay: Callable[[PushPullState, bool, float, list[Effect]], None]) -> None:
        """`slots`: the user events that we remember; `replay`: take in those of a peer (with the join flag)."""
        self._clocks, self._roster = clocks, roster
        self._slots, self._replay = slots, replay

    def local_state(self) -> bytes:
        clocks, roster = self._clocks, self._roster
        return encode_push_pull(PushPullState(
            ltime=clocks.member.time,
            status_ltimes={name: member.ltime for name, member in roster.table.items()},
            left=list(roster.left),
            event_ltime=clocks.event.time,
            query_ltime=clocks.query.time,
            events=self._slots(),
        ))

    def merge(self, raw: bytes, join: bool, now: float, out: list[Effect]) -> None:
        """Never rebroadcast any of it. Implausible times are left out. Raises WireError before changing anything."""
        state = decode_push_pull(raw)
        clocks = self._clocks
        for clock, time in ((clocks.member, state.ltime), (clocks.event, state.event_ltime),
                            (clocks.query, state.query_ltime)):
            if time > 0 and clock.plausible(time - 1):
                clock.witness(time - 1)         # the time itself is not used yet
        self._merge_intents(state, now, out)
        self._replay(state, join, now, out)

    def _merge_intents(self, state: PushPullState, now: float, out: list[Effect]) -> None:
        clock, roster, times = self._clocks.member, self._roster, state.status_ltimes
        left = dict.fromkeys(state.left)
        for name in left:
            # One more than its status time, so that it counts against the leave itself (§20.4).
            ltime = times.get(name, 0) + 1
            if clock.plausible(ltime):
                roster.leave_intent(name, ltime, False, now, out)
        for name, ltime in times.items():
            if name not in left and clock.plausible(ltime):
                roster.join_intent(name, ltime, now)
