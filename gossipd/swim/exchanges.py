"""TCP exchanges under way: who waits for which."""

from __future__ import annotations

from collections.abc import Callable

from gossipd.addresses import Address
from gossipd.effects import Effect, OpenExchange
from gossipd.wire.messages import Message

ExchangeDone = Callable[[Message | None, str, float, list[Effect]], None]
"""(the peer's message or None, what failed or "", now, out)"""


class Exchanges:
    def __init__(self) -> None:
        self._waiting: dict[int, ExchangeDone] = {}
        self._last = 0

    def open(self, to: Address, request: bytes, deadline: float, purpose: str, done: ExchangeDone,
             out: list[Effect]) -> None:
        self._last += 1
        self._waiting[self._last] = done
        out.append(OpenExchange(self._last, to, request, deadline, purpose))

    def finished(self, id: int, message: Message | None, failure: str, now: float, out: list[Effect]) -> None:
        """Once for each; an unknown id is ignored."""
        done = self._waiting.pop(id, None)
        if done is not None:
            done(message, failure, now, out)
