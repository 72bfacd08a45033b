"""User events: sent by anyone, heard once by everyone, in no promised order (spec serf §7)."""

from __future__ import annotations

from collections.abc import Callable

from gossipd.effects import Effect
from gossipd.errors import CommandError
from gossipd.events import UserEvent
from gossipd.serf.config import USER_EVENT_BYTES_MAX, SerfConfig
from gossipd.serf.lamport import LamportClock
from gossipd.serf.messages import EVENTS_BYTES_MAX, EventSlot, PushPullState, UserEventMessage, encode_user_event

EVENTS_IN_SLOT_MAX = 1024
"""Different events with one Lamport time; further ones are dropped (§18.7)."""
HISTORY_BYTES_MAX = EVENTS_BYTES_MAX * 3 // 4   # of the events that we tell in a push/pull; 512 of the largest fit
EVENT_OVERHEAD_BYTES = 32                       # of each, encoded
EVENT_MEMORY_BYTES = 256                        # of each that is remembered, besides name and payload
RING_BYTES_MAX = 16 * 1024 * 1024               # of all that is remembered; beyond, the oldest times are forgotten


class _Slot:
    """Events of one Lamport time: payload by name and payload, where no payload equals an empty one."""

    __slots__ = ("ltime", "events", "bytes")

    def __init__(self, ltime: int) -> None:
        self.ltime = ltime
        self.events: dict[tuple[str, bytes], bytes | None] = {}
        self.bytes = 0          # of names and payloads

    @property
    def memory(self) -> int:
        return self.bytes + EVENT_MEMORY_BYTES * len(self.events)


class UserEvents:
    """The ring of recent events. It tells duplicates, and is what peers get in a push/pull.

    `hear` is told of each event once; `spread` gossips a message of ours.
    """

    def __init__(self, config: SerfConfig, clock: LamportClock, hear: Callable[[UserEvent, float, list[Effect]], None],
                 spread: Callable[[bytes, float], None], restored: int | None = None) -> None:
        """`restored`: the event clock that a snapshot knew; None without a snapshot."""
        self._config, self._clock, self._hear, self._spread = config, clock, hear, spread
        self._ring: dict[int, _Slot] = {}
        self._memory = 0        # of all slots
        # older events are none of our business
        self.minimum = 0 if restored is None else min(restored + 1, clock.time)

    def send(self, name: str, payload: bytes | None, coalesce: bool, now: float, out: list[Effect]) -> None:
        """Raises CommandError, naming limit and size, if it is too large. We hear it like everyone else."""
        limit = self._config.user_event_bytes
        size = _size(name, payload)
        if size > min(limit, USER_EVENT_BYTES_MAX):
            raise CommandError(f"user event exceeds configured limit of {limit} bytes before encoding",
                               f"{size} bytes")
        event = UserEventMessage(self._clock.time, name, payload or None, coalesce)
        message = encode_user_event(event)
        if len(message) > min(limit, USER_EVENT_BYTES_MAX):
            raise CommandError(f"encoded user event exceeds configured limit of {limit} bytes after encoding",
                               f"{len(message)} bytes")
        self._clock.increment()
        self.receive(event, now, out)
        self._spread(message, now)

    def receive(self, event: UserEventMessage, now: float, out: list[Effect]) -> bool:
        """True if it is news, and so to be passed on."""
        clock, size = self._clock, self._config.event_buffer
        clock.witness(event.ltime)
        if event.ltime < self.minimum or (clock.time > size and event.ltime < clock.time - size):
            return False
        slot = self._ring.get(event.ltime % size)
        if slot is None or slot.ltime != event.ltime:
            self._memory -= slot.memory if slot is not None else 0
            slot = self._ring[event.ltime % size] = _Slot(event.ltime)
        identity = event.name, event.payload or b""
        if identity in slot.events or len(slot.events) >= EVENTS_IN_SLOT_MAX:
            return False
        self._remember(slot, event)
        self._hear(UserEvent(event.name, event.payload, event.ltime, event.coalesce), now, out)
        return True

    def _remember(self, slot: _Slot, event: UserEventMessage) -> None:
        before = slot.memory
        slot.events[event.name, event.payload or b""] = event.payload
        slot.bytes += _size(event.name, event.payload)
        self._memory += slot.memory - before
        while self._memory > RING_BYTES_MAX:
            oldest = min(self._ring.values(), key=lambda slot: slot.ltime)
            del self._ring[oldest.ltime % self._config.event_buffer]
            self._memory -= oldest.memory
            self.minimum = max(self.minimum, oldest.ltime + 1)      # we could not tell repetitions

    def slots(self) -> list[EventSlot]:
        """All that we remember, oldest first; of very much the newest, as peers take no more at once."""
        slots: list[EventSlot] = []
        room = HISTORY_BYTES_MAX
        for slot in sorted(self._ring.values(), key=lambda slot: slot.ltime, reverse=True):
            room -= slot.bytes + EVENT_OVERHEAD_BYTES * len(slot.events)
            if room < 0:
                break
            slots.append(EventSlot(slot.ltime, [(name, payload) for (name, _), payload in slot.events.items()]))
        return slots[::-1]

    def replay(self, state: PushPullState, ignore_old: bool, now: float, out: list[Effect]) -> None:
        """Take in a peer's ring, after its clocks were witnessed; nothing of it is passed on.

        `ignore_old`: we join, and what happened before is none of our business.
        """
        if ignore_old and state.event_ltime <= self._clock.time:        # else it was implausible
            self.minimum = max(self.minimum, state.event_ltime)
        for slot in state.events:
            if self._clock.plausible(slot.ltime):
                for name, payload in slot.events:
                    if _size(name, payload) <= USER_EVENT_BYTES_MAX:
                        self.receive(UserEventMessage(slot.ltime, name, payload, False), now, out)


def _size(name: str, payload: bytes | None) -> int:
    """As limits count it: bytes before encoding."""
    return len(name.encode("utf-8", "surrogateescape")) + len(payload or b"")
