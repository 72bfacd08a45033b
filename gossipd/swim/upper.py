"""The seam between memberlist's semantics and Serf's: what each asks of the other. Calls are synchronous."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gossipd.addresses import Address
from gossipd.effects import Effect
from gossipd.swim.broadcasts import BroadcastQueue, Done
from gossipd.swim.config import SwimConfig
from gossipd.swim.members import Member, MemberTable
from gossipd.wire.messages import Alive

JoinDone = Callable[[int, list[str], float, list[Effect]], None]
"""(how many answered, one sentence for each that did not, now, out)"""


class Upper(Protocol):
    """What the membership layer asks of the layer above. memberlist calls it the delegate."""

    def node_meta(self) -> bytes:
        """The local node's metadata, at most 512 bytes."""

    def on_user_message(self, payload: bytes, source: Address, now: float, out: list[Effect]) -> None:
        """A message of the layer above came, by packet or stream. Raises WireError if it is unusable."""

    def local_state(self, join: bool) -> bytes:
        """The user state of a push/pull."""

    def merge_remote_state(self, state: bytes, join: bool, now: float, out: list[Effect]) -> None:
        """A peer's user state, after its member list was merged. Raises WireError if it is unusable."""

    def on_join(self, member: Member, now: float, out: list[Effect]) -> None: ...

    def on_leave(self, member: Member, now: float, out: list[Effect]) -> None:
        """It is dead or left: the record's state says which."""

    def on_update(self, member: Member, now: float, out: list[Effect]) -> None: ...

    def on_conflict(self, existing: Member, other: Alive, now: float, out: list[Effect]) -> None: ...

    def ack_payload(self) -> bytes: ...

    def on_ping_complete(self, member: Member, rtt_s: float, payload: bytes, now: float, out: list[Effect]) -> None:
        """A direct ping was answered in time."""

    def queues(self) -> list[BroadcastQueue]:
        """The layer's own broadcast queues in the order in which they are drained."""


class Lower(Protocol):
    """What the layer above may ask of the membership layer."""

    @property
    def config(self) -> SwimConfig: ...

    @property
    def members(self) -> MemberTable: ...

    @property
    def local(self) -> Member: ...

    def new_queue(self, limit: Callable[[], int]) -> BroadcastQueue: ...

    def queue_user(self, queue: BroadcastQueue, message: bytes, now: float, *, source: Address | None = None,
                   on_done: Done | None = None, delay_s: float = 0.0) -> None:
        """Gossip `message` (no memberlist type byte) after `delay_s`. It came from `source`, who needs no copy."""

    def heard_user(self, queue: BroadcastQueue, message: bytes, source: Address, now: float) -> None:
        """`source` sent us a `message` that is no news: if we gossip it too, that is a copy less to send."""

    def send_user(self, to: Address, message: bytes, out: list[Effect]) -> None:
        """One packet with nothing else in it."""

    def join(self, addresses: list[Address], done: JoinDone, now: float, out: list[Effect]) -> None:
        """Push/pull with all of them."""

    def leave(self, done: Done, now: float, out: list[Effect]) -> None:
        """Say goodbye; `done` once it was gossiped in full, which is at once if nobody is there to hear it."""

    def update_meta(self, done: Done, now: float, out: list[Effect]) -> None:
        """Announce the layer's new metadata; `done` as in `leave`."""

    def anyone_up(self) -> bool:
        """Is any other member alive or suspect?"""

    def up_count(self) -> int:
        """Members alive or suspect, self included."""

    def health_score(self) -> int: ...
