"""Pinging a member because another asked (spec memberlist §12.3): the answer, or its absence, goes back."""

from __future__ import annotations

from collections.abc import Callable

from gossipd.addresses import Address
from gossipd.effects import Effect, Rejected
from gossipd.swim.config import SwimConfig
from gossipd.swim.members import address_of
from gossipd.swim.outbox import Outbox
from gossipd.swim.swim import Swim
from gossipd.timers import TimerQueue
from gossipd.wire.codec import encode
from gossipd.wire.messages import Ack, IndirectPing, Nack, Ping

RELAYS_MAX = 256                # under way at one time; more are not answered (§20 H10)


class _Relay:
    __slots__ = ("seq", "requester", "wants_nack", "target")

    def __init__(self, seq: int, requester: Address, wants_nack: bool, target: Address) -> None:
        self.seq = seq                      # the requester's
        self.requester = requester
        self.wants_nack = wants_nack
        self.target = target


class Relays:
    def __init__(self, config: SwimConfig, swim: Swim, outbox: Outbox, next_seq: Callable[[], int]) -> None:
        self._config, self._swim, self._outbox, self._next_seq = config, swim, outbox, next_seq
        self._relays: dict[int, _Relay] = {}        # by our own sequence number
        self._timers: TimerQueue[int] = TimerQueue()

    def next_deadline(self) -> float:
        return self._timers.next_deadline()

    def begin(self, request: IndirectPing, requester: Address, now: float, out: list[Effect]) -> None:
        target = self._member_address(request)
        if target is None or len(self._relays) >= RELAYS_MAX:
            out.append(Rejected("relay refused", requester, request.node))
            return
        seq, config = self._next_seq(), self._config
        self._relays[seq] = _Relay(request.seq, requester, request.nack, target)
        self._timers.set(seq, now + config.probe_timeout_s)
        self._outbox.send(encode(Ping(seq, request.node, config.addr, config.port, config.name)), target, now, out)

    def _member_address(self, request: IndirectPing) -> Address | None:
        """The target's address if it is a member's: nobody can make us send to strangers."""
        member = self._swim.members.get(request.node)
        if member is None or len(request.target) not in (4, 16):
            return None
        target = address_of(request.target, request.port or self._config.bind_port)
        return target if target == member.address else None

    def on_ack(self, ack: Ack, now: float, out: list[Effect]) -> None:
        relay = self._take(ack.seq)
        if relay is not None:
            self._outbox.send(encode(Ack(relay.seq)), relay.requester, now, out)

    def on_refused(self, to: Address, now: float, out: list[Effect]) -> None:
        """The target's host says that nobody listens there: the requester need not wait to know."""
        for seq in [seq for seq, relay in self._relays.items() if relay.target == to]:
            self._give_up(seq, True, now, out)

    def advance(self, now: float, out: list[Effect]) -> None:
        while (seq := self._timers.pop_due(now)) is not None:
            self._give_up(seq, False, now, out)

    def _give_up(self, seq: int, refused: bool, now: float, out: list[Effect]) -> None:
        relay = self._take(seq)
        if relay is not None and relay.wants_nack:
            self._outbox.send(encode(Nack(relay.seq, refused)), relay.requester, now, out)

    def _take(self, seq: int) -> _Relay | None:
        self._timers.cancel(seq)
        return self._relays.pop(seq, None)
