"""Quiet periods for member and user events (spec serf §13).

Unlike Serf, the first event of a burst passes at once and only its followers gather: nobody waits a second to hear
of a single crash. A lone event therefore opens a quiet period in which nothing may be held at all.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from gossipd.effects import Effect, Emit
from gossipd.events import MEMBER_REAP, MEMBER_UPDATE, MemberEvent, MemberInfo, UserEvent
from gossipd.serf.members import Heard, SerfMember, Status
from gossipd.timers import TimerQueue


class MembersQuiet:
    """Nothing was heard for the quiescent period."""


class MembersPeriodOver:
    """The burst goes on, but followers have waited long enough."""


class UsersQuiet:
    """The same for user events."""


class UsersPeriodOver:
    """The same for user events."""


QUIET, PERIOD_OVER = MembersQuiet(), MembersPeriodOver()
USERS_QUIET, USERS_PERIOD_OVER = UsersQuiet(), UsersPeriodOver()
BURST_NAMES_MAX = 1024
"""Names of user events in one burst; events of further names pass at once."""


class MemberCoalescer:
    """One event for each kind of change in a burst, each member in one of them: in that of its latest change.

    What was last told about a member is noted in the member itself (`told`), so this memory ends with the member.
    """

    def __init__(self, period_s: float, quiescent_s: float, local_name: str,
                 info: Callable[[SerfMember, Status], MemberInfo], timers: TimerQueue[Hashable]) -> None:
        """Either period 0 switches coalescing off. What happens to the local member itself opens no burst."""
        self._period_s, self._quiescent_s = period_s, quiescent_s
        self._enabled = period_s > 0 and quiescent_s > 0
        self._local_name, self._info, self._timers = local_name, info, timers
        self._held: dict[str, Heard] = {}

    def hear(self, heard: Heard, now: float, out: list[Effect]) -> None:
        if not self._enabled or heard.member.name == self._local_name:
            self._deliver([heard], out)
        elif QUIET in self._timers:
            self._hold(heard)
            self._timers.set(QUIET, now + self._quiescent_s)
        elif _is_news(heard):
            self._deliver([heard], out)
            self._begin(now)

    def quiet(self, out: list[Effect]) -> None:
        """The burst is over: the next event passes at once again."""
        self._timers.cancel(PERIOD_OVER)
        self.flush(out)

    def period_over(self, now: float, out: list[Effect]) -> None:
        """Deliver what gathered; the burst goes on until it is quiet."""
        self.flush(out)
        self._begin(now)

    def flush(self, out: list[Effect]) -> None:
        """Deliver what is held, an event for each kind, and forget it."""
        held, self._held = self._held, {}
        self._deliver([heard for heard in held.values() if _is_news(heard)], out)

    def _begin(self, now: float) -> None:
        self._timers.set(QUIET, now + self._quiescent_s)
        self._timers.set(PERIOD_OVER, now + self._period_s)

    def _hold(self, heard: Heard) -> None:
        """A later change of a member replaces the earlier one."""
        name = heard.member.name
        before = self._held.get(name)
        if before is not None and before.member is not heard.member:
            heard.member.told = before.member.told      # forgotten and known anew within one burst
        self._held[name] = heard

    def _deliver(self, news: list[Heard], out: list[Effect]) -> None:
        groups: dict[str, list[MemberInfo]] = {}
        for heard in news:
            heard.member.told = heard.kind
            groups.setdefault(heard.kind, []).append(self._info(heard.member, heard.status))
        out.extend(Emit(MemberEvent(kind, members)) for kind, members in groups.items())


def _is_news(heard: Heard) -> bool:
    """Not a repetition, save for updates; nor the end of a member that nobody was told of."""
    if heard.kind == MEMBER_REAP and not heard.member.told:
        return False
    return heard.kind == MEMBER_UPDATE or heard.kind != heard.member.told


@dataclass(slots=True)
class _Burst:
    ltime: int                  # the newest that was heard
    held: list[UserEvent]       # of that time, not delivered yet


class UserCoalescer:
    """For each name the newest events of a burst. Only those whose sender allows it are held back.

    Each name has its own first event, which passes at once; the burst is over for all of them together, and then
    everything about it is forgotten.
    """

    def __init__(self, period_s: float, quiescent_s: float, timers: TimerQueue[Hashable]) -> None:
        """Either period 0 switches coalescing off."""
        self._period_s, self._quiescent_s, self._timers = period_s, quiescent_s, timers
        self._enabled = period_s > 0 and quiescent_s > 0
        self._bursts: dict[str, _Burst] = {}

    def hear(self, event: UserEvent, now: float, out: list[Effect]) -> None:
        if not event.coalesce or not self._enabled:
            out.append(Emit(event))
            return
        burst = self._bursts.get(event.name)
        if burst is not None:
            self._hold(burst, event)
        else:
            out.append(Emit(event))
            if len(self._bursts) < BURST_NAMES_MAX:
                self._bursts[event.name] = _Burst(event.ltime, [])
        self._timers.set(USERS_QUIET, now + self._quiescent_s)
        if USERS_PERIOD_OVER not in self._timers:
            self._timers.set(USERS_PERIOD_OVER, now + self._period_s)

    def quiet(self, out: list[Effect]) -> None:
        """The burst is over."""
        self._timers.cancel(USERS_PERIOD_OVER)
        self._deliver(out)
        self._bursts.clear()

    def period_over(self, now: float, out: list[Effect]) -> None:
        """Deliver what gathered; the burst goes on until it is quiet, with what was heard forgotten."""
        self._deliver(out)
        for burst in self._bursts.values():
            burst.ltime = 0
        self._timers.set(USERS_PERIOD_OVER, now + self._period_s)

    def _hold(self, burst: _Burst, event: UserEvent) -> None:
        if event.ltime > burst.ltime:
            burst.ltime, burst.held = event.ltime, [event]
        elif event.ltime == burst.ltime:
            burst.held.append(event)

    def _deliver(self, out: list[Effect]) -> None:
        for burst in self._bursts.values():
            out.extend(Emit(event) for event in burst.held)
            burst.held = []
