"""Finding those again whom the snapshot knows (spec serf §14.3)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from random import Random

from gossipd.addresses import Address, format_address
from gossipd.effects import DEBUG, INFO, WARNING, Effect, Notice
from gossipd.serf.config import SerfConfig
from gossipd.serf.members import Roster
from gossipd.swim.upper import Lower
from gossipd.timers import Rarely, TimerQueue

FIRST_PAUSE_S = 0.25            # after the first round without an answer, or the first answer; then it doubles
FORGET_SLICE = 500              # at one go: there may be tens of thousands,
FORGET_PAUSE_S = 0.05           # and others have work to do too
COMPANY_S = 600.0
"""So long after the start we look for the missing although others are there. Whoever starts later looks for us."""


class RejoinDue:
    """Time to look for those who are missing."""


REJOIN_DUE = RejoinDue()


class Rejoin:
    """Alone, it tries all known peers one after the other until one answers, again and again for as long as it takes.

    In company it tries those whom nobody there knows, one at a time: a cluster that went down as one and came back in
    two halves becomes one again. Whoever is missing after `reconnect_timeout_s` is forgotten. No join intents (§6.9).
    """

    def __init__(self, config: SerfConfig, lower: Lower, roster: Roster, timers: TimerQueue[Hashable], rng: Random,
                 forget: Callable[[str, list[Effect]], None]) -> None:
        self._config, self._lower, self._roster = config, lower, roster
        self._timers, self._rng, self._forget = timers, rng, forget
        self._missing: dict[str, Address] = {}
        self._round: list[Address] = []         # still to try, last one first
        self._started = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._complaint = Rarely()

    def start(self, peers: dict[str, Address], now: float) -> None:
        names = [name for name, address in peers.items() if address != self._lower.local.address]
        self._rng.shuffle(names)
        self._missing = {name: peers[name] for name in names}
        self._started = now
        if names:
            self._timers.set(REJOIN_DUE, now)

    def due(self, now: float, out: list[Effect]) -> None:
        if self._roster.leaving:
            return
        for name in [name for name in self._missing if name in self._roster.table]:
            del self._missing[name]
        if not self._missing:
            return
        if not self._roster.anyone_else_alive():
            self._round = list(self._missing.values())[::-1]
            self._try_next(now, out)
        elif now < self._started + min(COMPANY_S, self._config.reconnect_timeout_s):
            self._round = [self._next_missing()]
            self._try_next(now, out)
        else:
            self._wait_to_forget(now, out)

    def _next_missing(self) -> Address:
        """In turn."""
        name = next(iter(self._missing))
        self._missing[name] = address = self._missing.pop(name)
        return address

    def _try_next(self, now: float, out: list[Effect]) -> None:
        address = self._round.pop()

        def done(reached: int, failures: list[str], now: float, out: list[Effect]) -> None:
            if self._roster.leaving:
                return
            company = self._roster.anyone_else_alive()
            if reached:
                out.append(Notice(INFO, f"rejoined a previously known node address={format_address(address)}"))
            elif self._round and not company:
                self._try_next(now, out)
                return
            elif not company:
                level = WARNING if self._complaint.is_due(now) else DEBUG
                # Serf's words, and why the last one did not answer
                out.append(Notice(level, f"Failed to re-join any previously known node missing={len(self._missing)} "
                                         f"error={' '.join(failures)!r}"))
            self._pause(reached > 0 and company, now)

        self._lower.join([address], done, now, out)

    def _pause(self, afresh: bool, now: float) -> None:
        if afresh:
            self._pause_s = FIRST_PAUSE_S
        self._timers.set(REJOIN_DUE, now + self._pause_s)
        self._pause_s = min(2 * self._pause_s, max(FIRST_PAUSE_S, self._config.reconnect_interval_s))

    def _wait_to_forget(self, now: float, out: list[Effect]) -> None:
        forgotten = self._started + self._config.reconnect_timeout_s
        if now < forgotten:
            self._timers.set(REJOIN_DUE, forgotten)
            return
        for name in list(self._missing)[:FORGET_SLICE]:
            del self._missing[name]
            self._forget(name, out)
        if self._missing:
            self._timers.set(REJOIN_DUE, now + FORGET_PAUSE_S)
