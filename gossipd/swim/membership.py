"""The membership layer in one piece: builds its parts and is what the layer above talks to (`Lower`)."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from gossipd.addresses import Address
from gossipd.effects import Effect
from gossipd.swim.broadcasts import BroadcastQueue, Done
from gossipd.swim.config import SwimConfig
from gossipd.swim.exchanges import Exchanges
from gossipd.swim.gossiper import Gossiper
from gossipd.swim.members import Member, MemberTable
from gossipd.swim.outbox import Outbox
from gossipd.swim.prober import Prober
from gossipd.swim.swim import Swim
from gossipd.swim.sync import Sync
from gossipd.swim.upper import JoinDone, Upper
from gossipd.wire.messages import USER
from gossipd.wire.packet import Envelope

_USER_TYPE = bytes([USER])


class Membership:
    def __init__(self, config: SwimConfig, envelope: Envelope, rng: Random) -> None:
        self.config = config
        self.swim = Swim(config, rng)
        self.exchanges = Exchanges()
        self.outbox = Outbox(config, envelope, self.swim.members, [self.swim.queue])
        self.sync = Sync(config, self.swim, self.outbox, self.exchanges)
        self.prober = Prober(config, self.swim, self.outbox, self.exchanges, rng)
        self.gossiper = Gossiper(config, self.swim, self.outbox, self.sync, rng)

    def start(self, upper: Upper, now: float, out: list[Effect]) -> None:
        self.outbox.queues += upper.queues()
        self.gossiper.start(now)
        self.swim.start(upper, now, out)
        self.prober.start(now)

    # Lower

    @property
    def members(self) -> MemberTable:
        return self.swim.members

    @property
    def local(self) -> Member:
        return self.swim.local

    def new_queue(self, limit: Callable[[], int]) -> BroadcastQueue:
        config = self.config
        return BroadcastQueue(limit, config.eager_delays_s if config.eager else (),
                              riding=config.eager and config.probe_interval_s > 0)

    def queue_user(self, queue: BroadcastQueue, message: bytes, now: float, *, source: Address | None = None,
                   on_done: Done | None = None, delay_s: float = 0.0) -> None:
        reached = () if source is None else (source,)
        queue.add(_USER_TYPE + message, now, reached=reached, on_done=on_done, delay_s=delay_s)

    def heard_user(self, queue: BroadcastQueue, message: bytes, source: Address, now: float) -> None:
        queue.heard(_USER_TYPE + message, source, now)

    def send_user(self, to: Address, message: bytes, out: list[Effect]) -> None:
        self.outbox.send_alone([_USER_TYPE + message], to, None, out)

    def join(self, addresses: list[Address], done: JoinDone, now: float, out: list[Effect]) -> None:
        def joined(contacted: int, failures: list[str], now: float, out: list[Effect]) -> None:
            if contacted:
                self.gossiper.joined(now)
            done(contacted, failures, now, out)

        self.sync.join(addresses, joined, now, out)

    def leave(self, done: Done, now: float, out: list[Effect]) -> None:
        heard = self.anyone_up()
        self.swim.leave(now, out, done if heard else None)
        if not heard:
            done(now)

    def update_meta(self, done: Done, now: float, out: list[Effect]) -> None:
        heard = self.anyone_up()
        self.swim.announce(now, out, done if heard else None)
        if not heard:
            done(now)

    def anyone_up(self) -> bool:
        return self.swim.anyone_up()

    def up_count(self) -> int:
        return self.swim.members.up_count()

    def health_score(self) -> int:
        return self.swim.awareness.score
