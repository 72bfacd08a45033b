"""Clients that presented a wrong key wait before they hear of it: guessing takes long, however many guess at once."""

from __future__ import annotations

from collections.abc import Callable

import trio

WAIT_S = 1.0            # the first time, if nobody else waits
WAIT_MAX_S = 10.0
WAITING_MAX = 64        # further ones are closed


class WrongKeys:
    """`count` is told of each. Right keys are never held up."""

    def __init__(self, nursery: trio.Nursery, count: Callable[[str], None]) -> None:
        self._nursery, self._count = nursery, count
        self._waiting = 0

    def delay(self, attempts: int, tell: Callable[[], None]) -> bool:
        """Call `tell` in a while: the later, the more often this client was wrong and the more clients wait."""
        self._count("rpc wrong key")
        if self._waiting >= WAITING_MAX:
            return False
        self._waiting += 1
        wait_s = WAIT_S * max(2 ** min(attempts - 1, 10), self._waiting)
        self._nursery.start_soon(self._wait, min(wait_s, WAIT_MAX_S), tell)
        return True

    async def _wait(self, wait_s: float, tell: Callable[[], None]) -> None:
        try:
            await trio.sleep(wait_s)
        finally:
            self._waiting -= 1
        tell()
