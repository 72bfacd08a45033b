"""Polling a client that asks over and over: to sleep and be woken up takes longer than it takes to ask again."""

from __future__ import annotations

import socket
from collections.abc import Callable

SOON_S = 0.0001                     # who asks again so soon after an answer asks over and over
POLL_S, POLLS_MAX = 0.00005, 100    # how long it is polled, and how often at most
PAUSE_REQUESTS = 64                 # not polled after a poll in vain: it shares our core and cannot ask before we sleep


class Poll:
    """Of one client. `clock`: seconds, monotonic."""

    def __init__(self, sock: socket.socket, clock: Callable[[], float]) -> None:
        self._sock, self._clock = sock, clock
        self._answered = 0.0        # when its last requests were
        self._worth_it = False
        self._pause = 0

    def answered(self, asked: float, alone: bool) -> None:
        """What came at `asked` was taken in. `alone`: it is answered, and nobody else asked since its last."""
        self._worth_it = alone and asked < self._answered + SOON_S
        self._answered = self._clock()

    def next_is_here(self) -> bool:
        """True if the client's next bytes, or its end, can be read; after a short look if that is worth it."""
        if not self._worth_it:
            return False
        self._worth_it = False
        if self._pause:
            self._pause -= 1
            return False
        if self._clock() > self._answered + POLL_S:
            return False
        for _ in range(POLLS_MAX):
            try:
                self._sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                if self._clock() > self._answered + POLL_S:
                    break
            except OSError:
                return True
            else:
                return True
        self._pause = PAUSE_REQUESTS
        return False
