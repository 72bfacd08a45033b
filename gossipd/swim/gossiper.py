"""Spreading updates: early copies at once, the rest by a slow tick, whole lists at times (spec memberlist §14, §15).

Plain memberlist sends each update to a few random nodes at every tick until its transmit limit is used up. The same
copies leave earlier here: the first ones at once, the next after the early delays, each to nodes that have not had
one, never back to where the update came from. What is left after that, or does not fit, waits for the tick.
"""

from __future__ import annotations

import math
from random import Random

from gossipd.addresses import Address
from gossipd.effects import INFO, Effect, Notice
from gossipd.swim.broadcasts import Broadcast, BroadcastQueue
from gossipd.swim.config import SwimConfig
from gossipd.swim.members import DEAD, SUSPECT, Member
from gossipd.swim.outbox import PART_BYTES, Outbox
from gossipd.swim.swim import Swim
from gossipd.swim.sync import Sync, periodic_interval_s, random_partner
from gossipd.timers import TimerQueue

BURST_BYTES_MAX = 4096          # to one peer in one burst, which ends with the message that passes it; the rest leaves
                                # with the next, so that no receiver's socket buffer overflows
GATHER_GROWTH = 8               # how fast the gap between bursts grows ...
GATHER_GROWTH_MAX = 16          # ... and how many times the usual one it becomes at most
CROWD = 3                       # updates that are new in one burst, or ...
NEWS_CLOSE_S = 0.03             # ... news so soon after the last, make it worth gathering longer
LONELY_TICK_S = 1.0             # between ticks while there is nobody to gossip to
PUSH_PULL, SECOND_SYNC = "push/pull", "second sync"


class Gossiper:
    def __init__(self, config: SwimConfig, swim: Swim, outbox: Outbox, sync: Sync, rng: Random) -> None:
        self._config, self._swim, self._outbox, self._sync, self._rng = config, swim, outbox, sync, rng
        self._timers: TimerQueue[str] = TimerQueue()
        self._phase = 0.0               # when tick 0 is
        self._last_tick = -1
        self._lonely_until = -math.inf
        self._next_burst = -math.inf    # not before this, so that packets fill
        self._last_news = -math.inf     # the last burst with something new in it
        self._gap = config.eager_gather_s   # between the last burst and the next

    def start(self, now: float) -> None:
        self._phase = now + self._rng.random() * max(self._config.gossip_interval_s, 0.0)
        if self._config.push_pull_interval_s > 0:
            stagger = 1 + self._rng.random()        # so that nodes that started together do not all sync at once
            self._timers.set(PUSH_PULL, now + stagger * self._config.push_pull_interval_s)

    def next_deadline(self) -> float:
        """When `advance` has work: seconds, monotonic; inf when nothing is queued."""
        return min(self._sync.next_deadline(), self._burst_deadline(), self._tick_deadline(),
                   self._timers.next_deadline())

    def advance(self, now: float, out: list[Effect]) -> None:
        self._sync.advance(now, out)
        if self._burst_deadline() <= now:
            self._burst(now, out)
        if self._tick_deadline() <= now:
            self._tick(now, out)
        while (timer := self._timers.pop_due(now)) is not None:
            self._sync_with_somebody(timer, now, out)

    # early copies

    def _burst_deadline(self) -> float:
        earliest = min([queue.early_deadline() for queue in self._outbox.queues])
        return max(earliest, self._next_burst)

    def _burst(self, now: float, out: list[Effect]) -> None:
        """Send what is due to a few peers, a packet or some to each."""
        due = self._due_early(now)
        self._plan_next_burst(due, now)
        if not due:
            return
        copies: list[list[Address]] = [[] for _ in due]
        for peer in self._peers(now, _reached_by_all(due)):
            parts = []
            for (queue, entry), sent_to in zip(due, copies, strict=True):
                if peer.address not in entry.reached and len(sent_to) < queue.copies_left(entry):
                    parts.append(entry.message)
                    sent_to.append(peer.address)
            self._outbox.send_many(parts, peer, out)
        for (queue, entry), sent_to in zip(due, copies, strict=True):
            enough = queue.crowded and entry.heard > 0 and self._all_in(entry.reached + sent_to)
            queue.sent_early(entry, now, sent_to, enough)

    def _all_in(self, reached: list[Address]) -> bool:
        """Has every member that is up news that reached these? Others send it too, should a copy be lost."""
        local = self._swim.local
        return all(m.address in reached for m in self._swim.members if m.state <= SUSPECT and m is not local)

    def _plan_next_burst(self, due: list[tuple[BroadcastQueue, Broadcast]], now: float) -> None:
        """While news comes thick and fast, bursts move apart until they fill packets; then closer again."""
        gather, fresh = self._config.eager_gather_s, sum(entry.stage == 0 for _, entry in due)
        if fresh:
            crowded = fresh >= CROWD or now < self._last_news + NEWS_CLOSE_S
            self._last_news = now
            size = sum(PART_BYTES + len(entry.message) for _, entry in due)
            if not crowded:
                self._gap = gather
            elif size < self._outbox.packet_room:
                self._gap = min(GATHER_GROWTH * self._gap, GATHER_GROWTH_MAX * gather)
            else:
                self._gap = max(self._gap / 2, gather)
        self._next_burst = now + self._gap

    def _due_early(self, now: float) -> list[tuple[BroadcastQueue, Broadcast]]:
        room = BURST_BYTES_MAX
        due: list[tuple[BroadcastQueue, Broadcast]] = []
        for queue in self._outbox.queues:
            taken = queue.take_early(now, PART_BYTES, room)
            room -= sum(PART_BYTES + len(entry.message) for entry in taken)
            due += [(queue, entry) for entry in taken]
        return due

    def _peers(self, now: float, reached: list[Address]) -> list[Member]:
        local, oldest = self._swim.local, now - self._config.gossip_to_the_dead_s
        return self._swim.members.pick(
            self._config.gossip_nodes,
            lambda m: (m.state <= SUSPECT or (m.state == DEAD and m.changed >= oldest)) and m is not local
            and m.address not in reached)

    # the tick

    def _tick_deadline(self) -> float:
        """The first tick of our phase after something began to wait; inf if nothing waits or gossip is off."""
        interval = self._config.gossip_interval_s
        since = min([queue.waiting_since for queue in self._outbox.queues])
        if since == math.inf or interval <= 0 or self._config.gossip_nodes < 1:
            return math.inf
        tick = max(math.ceil((since - self._phase) / interval), self._last_tick + 1)
        return max(self._phase + tick * interval, self._lonely_until)

    def _tick(self, now: float, out: list[Effect]) -> None:
        self._last_tick = max(self._last_tick + 1, math.floor((now - self._phase) / self._config.gossip_interval_s))
        peers = self._peers(now, [])
        if not peers:
            self._lonely_until = now + LONELY_TICK_S
        for peer in peers:
            if not self._outbox.send_updates(peer, now, out):
                break

    # push/pull

    def joined(self, now: float) -> None:
        """Once more soon: what was learned elsewhere while we joined is not on its way to us."""
        low, high = self._config.second_sync_s
        if high > 0:
            self._timers.set(SECOND_SYNC, now + self._rng.uniform(low, high))

    def _sync_with_somebody(self, timer: str, now: float, out: list[Effect]) -> None:
        partner = random_partner(self._swim)
        if partner is None:
            self._finished(timer, now)
            return

        def done(failure: str, now: float, out: list[Effect]) -> None:
            if failure:
                out.append(Notice(INFO, f"push/pull failed with={partner.name!r} why={failure!r}"))
            self._finished(timer, now)

        self._sync.start(partner.address, False, done, now, out)

    def _finished(self, timer: str, now: float) -> None:
        if timer == PUSH_PULL:
            interval = periodic_interval_s(self._config.push_pull_interval_s, len(self._swim.members))
            self._timers.set(PUSH_PULL, now + interval)


def _reached_by_all(due: list[tuple[BroadcastQueue, Broadcast]]) -> list[Address]:
    """Who needs none of these any more."""
    first, *others = [entry.reached for _, entry in due]
    return [address for address in first if all(address in reached for reached in others)]
