"""Serf's three broadcast queues, in the order in which they are drained, and how deep they may get (spec serf §11)."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from gossipd.addresses import Address
from gossipd.effects import WARNING, Effect, Notice
from gossipd.serf.config import SerfConfig
from gossipd.swim.broadcasts import BroadcastQueue, Done, retransmit_limit
from gossipd.swim.upper import Lower
from gossipd.timers import TimerQueue


class QueueCheckDue:
    """Time to look how deep the queues are."""


CHECK = QueueCheckDue()


class Queues:
    """No message replaces another. Dead members count for how often each is sent."""

    def __init__(self, config: SerfConfig, lower: Lower, members: Callable[[], int],
                 timers: TimerQueue[Hashable]) -> None:
        self._config, self._lower, self._members, self._timers = config, lower, members, timers
        mult = lower.config.retransmit_mult

        def limit() -> int:
            return retransmit_limit(mult, members())

        self.intent, self.query, self.event = (lower.new_queue(limit) for _ in range(3))

    def draining_order(self) -> list[BroadcastQueue]:
        return [self.intent, self.query, self.event]

    def depths(self) -> dict[str, int]:
        return {"intent_queue": len(self.intent), "event_queue": len(self.event), "query_queue": len(self.query)}

    def spread(self, queue: BroadcastQueue, message: bytes, now: float, source: Address | None = None,
               on_done: Done | None = None, delay_s: float = 0.0) -> None:
        """Gossip `message`; when it came from `source`, exactly as it came. It begins after `delay_s`."""
        if CHECK not in self._timers:
            self._timers.set(CHECK, now + self._config.queue_check_interval_s)
        self._lower.queue_user(queue, message, now, source=source, on_done=on_done, delay_s=delay_s)

    def check(self, now: float, out: list[Effect]) -> None:
        """Warn of deep queues and shorten those that are too deep."""
        config = self._config
        most = config.queue_depth_limit(self._members())
        for name, queue in (("Intent", self.intent), ("Event", self.event), ("Query", self.query)):
            depth = len(queue)
            if depth >= config.queue_depth_warning:
                out.append(Notice(WARNING, f"{name} queue depth: {depth}"))
            if depth > most:
                out.append(Notice(WARNING, f"{name} queue too deep: dropped {queue.prune(most, now)} messages"))
        if any(self.draining_order()):
            self._timers.set(CHECK, now + config.queue_check_interval_s)
