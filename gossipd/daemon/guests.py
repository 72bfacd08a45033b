"""Which incoming streams may stay: an attacker who opens many must not keep the others out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

STREAMS_MAX = 128               # at once; memberlist serves 127 push/pulls (spec memberlist §19)
STREAMS_PER_SOURCE_MAX = 64     # of one host: half, as a whole test cluster may live behind one address
STREAM_BYTES_MAX = 128 << 20    # received and not yet answered, all streams together


@dataclass(slots=True, eq=False)
class Guest:
    """A stream that somebody opened."""

    host: str
    dismiss: Callable[[], None]     # end it without an answer: another needs the room
    received: int = 0               # bytes


class Guests:
    """All incoming streams, oldest first.

    Where a limit is reached a stream that has sent nothing yet makes room for a new one: honest peers send their
    request with the connection, so a thousand silent connections only push each other out.
    """

    def __init__(self) -> None:
        self._guests: dict[Guest, None] = {}
        self._received = 0

    def __len__(self) -> int:
        return len(self._guests)

    def __contains__(self, guest: Guest) -> bool:
        return guest in self._guests

    def admit(self, guest: Guest) -> bool:
        """Let `guest` in, if need be in place of another. False if nobody can go."""
        if self._is_full_for(guest.host):
            silent = self._longest_silent(guest.host)
            if silent is None:
                return False
            self._dismiss(silent)
        self._guests[guest] = None
        return True

    def _is_full_for(self, host: str) -> bool:
        if len(self._guests) >= STREAMS_MAX:
            return True
        return sum(guest.host == host for guest in self._guests) >= STREAMS_PER_SOURCE_MAX

    def _longest_silent(self, host: str) -> Guest | None:
        """Of the host that is at its limit, else of the host with most streams."""
        streams: dict[str, list[Guest]] = {}
        for guest in self._guests:
            streams.setdefault(guest.host, []).append(guest)
        if len(streams.get(host, ())) < STREAMS_PER_SOURCE_MAX:
            host = max(streams, key=lambda one: len(streams[one]))
        return next((guest for guest in streams[host] if not guest.received), None)

    def received(self, guest: Guest, count: int) -> None:
        """`count` more bytes came from `guest`. Past the limit the one that sent most goes."""
        if guest not in self._guests:
            return          # dismissed, but this had been read already
        guest.received += count
        self._received += count
        if self._received > STREAM_BYTES_MAX:
            self._dismiss(max(self._guests, key=lambda one: one.received))

    def _dismiss(self, guest: Guest) -> None:
        guest.dismiss()
        self.remove(guest)

    def remove(self, guest: Guest) -> None:
        """It is over; no harm if it was dismissed before."""
        if guest in self._guests:
            del self._guests[guest]
            self._received -= guest.received
