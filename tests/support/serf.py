"""A Serf layer on a membership layer of a few lines, for tests."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Generic, TypeVar

from gossipd.addresses import Address
from gossipd.commands import Command
from gossipd.effects import Effect, Emit, Reply, SendDatagram
from gossipd.events import Event, MemberEvent, UserEvent
from gossipd.serf.actions import SaveTags
from gossipd.serf.config import SerfConfig
from gossipd.serf.keeping import Kept, stays_in_memory
from gossipd.serf.keys import SaveKeys
from gossipd.serf.messages import UserMessage, decode
from gossipd.serf.serf import Serf
from gossipd.serf.snapshot import Restored
from gossipd.serf.tags import encode_tags
from gossipd.swim.broadcasts import BroadcastQueue, Done
from gossipd.swim.config import VERSIONS, SwimConfig
from gossipd.swim.members import ALIVE, DEAD, LEFT, Member, MemberTable
from gossipd.swim.upper import JoinDone, Upper
from gossipd.wire.secure import Keyring

SOURCE: Address = ("127.0.47.9", 7946)
E = TypeVar("E")


class FakeLower:
    """Knows who it is told of, queues without ever sending, and answers joins when the test says so."""

    upper: Upper

    def __init__(self, config: SwimConfig, rng: Random) -> None:
        self.config = config
        self.members = MemberTable(rng)
        self.local = Member(config.name, config.addr, config.port, b"", config.versions, 0.0)
        self.queued: list[tuple[BroadcastQueue, bytes, Address | None]] = []
        self.joins: list[tuple[list[Address], JoinDone]] = []

    def new_queue(self, limit: Callable[[], int]) -> BroadcastQueue:
        return BroadcastQueue(limit)

    def queue_user(self, queue: BroadcastQueue, message: bytes, now: float, *, source: Address | None = None,
                   on_done: Done | None = None, delay_s: float = 0.0) -> None:
        self.queued.append((queue, message, source))
        queue.add(message, now, on_done=on_done)

    def heard_user(self, queue: BroadcastQueue, message: bytes, source: Address, now: float) -> None:
        queue.heard(message, source, now)

    def send_user(self, to: Address, message: bytes, out: list[Effect]) -> None:
        out.append(SendDatagram(message, to))

    def join(self, addresses: list[Address], done: JoinDone, now: float, out: list[Effect]) -> None:
        self.joins.append((addresses, done))

    def leave(self, done: Done, now: float, out: list[Effect]) -> None:
        self.local.set_state(LEFT, now, "")
        self.upper.on_leave(self.local, now, out)
        done(now)

    def update_meta(self, done: Done, now: float, out: list[Effect]) -> None:
        self.local.meta = self.upper.node_meta()
        self.upper.on_update(self.local, now, out)
        done(now)

    def anyone_up(self) -> bool:
        return self.up_count() > 1

    def up_count(self) -> int:
        return self.members.up_count()

    def health_score(self) -> int:
        return 0


class SlowDisk(Generic[E]):
    """Keeps keys or tags when the test says so: `kept` is called with "" or why not."""

    def __init__(self) -> None:
        self.asked: list[tuple[E, Kept]] = []

    def save(self, content: E, kept: Kept, now: float, out: list[Effect]) -> None:
        self.asked.append((content, kept))


class SerfBench:
    """One started Serf layer called `me`. Settings are fields of SerfConfig; coalescing is off unless asked for."""

    def __init__(self, seed: int = 1, now: float = 100.0, name: str = "me", keyring: Keyring | None = None,
                 save_keys: SaveKeys = stays_in_memory, restored: Restored | None = None,
                 save_tags: SaveTags = stays_in_memory, **settings: object) -> None:
        quick: dict[str, object] = {"member_period_s": 0.0, "user_period_s": 0.0}
        self.config = SerfConfig(**{**quick, **settings})      # type: ignore[arg-type]
        versions = VERSIONS[:5] + bytes([self.config.protocol])
        rng = Random(seed)
        self.lower = FakeLower(SwimConfig(name=name, addr=bytes([127, 0, 47, 1]), versions=versions), rng)
        self.serf = Serf(self.config, self.lower, rng, keyring, save_keys, restored,
                         save_tags)
        self.lower.upper = self.serf
        self.now = now
        self.out: list[Effect] = []
        local = self.lower.local
        local.meta = self.serf.node_meta()
        local.set_state(ALIVE, now, "")
        self.lower.members.insert(local)
        self.serf.on_join(local, now, self.out)
        self.serf.start(now, self.out)
        self.first_out, self.out = self.out, []

    # the membership layer says

    def joins(self, name: str, tags: dict[str, str] | None = None) -> Member:
        member = self.lower.members.get(name)
        if member is None:
            number = len(self.lower.members) + 1
            member = Member(name, bytes([127, 0, 47, number]), 7946, b"", VERSIONS, self.now)
            self.lower.members.insert(member)
        member.meta = encode_tags(tags or {}, 5)
        member.set_state(ALIVE, self.now, "")
        self.serf.on_join(member, self.now, self.out)
        return member

    def leaves(self, name: str) -> None:
        member = self.lower.members.get(name)
        assert member is not None
        member.set_state(DEAD, self.now, "")
        self.serf.on_leave(member, self.now, self.out)

    def updates(self, name: str, tags: dict[str, str]) -> None:
        member = self.lower.members.get(name)
        assert member is not None
        member.meta = encode_tags(tags, 5)
        self.serf.on_update(member, self.now, self.out)

    # inputs and what comes of them

    def hears(self, message: bytes) -> bool:
        """A user message arrives. True if it was queued for rebroadcast, as it came."""
        before = len(self.lower.queued)
        self.serf.on_user_message(message, SOURCE, self.now, self.out)
        passed_on = [m for _, m, source in self.lower.queued[before:] if source == SOURCE]
        assert passed_on in ([], [message])
        return bool(passed_on)

    def asks(self, command: Command) -> None:
        self.serf.command(command, self.now, self.out)

    def runs_until(self, now: float) -> None:
        """Let timers fire, each at its time."""
        while (due := self.serf.next_deadline()) <= now:
            self.now = max(self.now, due)
            self.serf.advance(self.now, self.out)
        self.now = now

    def gossips(self) -> list[bytes]:
        """Everything in the queues is sent in full."""
        sent: list[bytes] = []
        for queue in self.serf.queues():
            while len(queue):
                sent += queue.select(3, 1398, self.now)
        return list(dict.fromkeys(sent))

    def takes(self, kind: type[E]) -> list[E]:
        """The effects of one kind so far, taken away."""
        found = [effect for effect in self.out if isinstance(effect, kind)]
        self.out = [effect for effect in self.out if not isinstance(effect, kind)]
        return found

    def events(self) -> list[Event]:
        return [emit.event for emit in self.takes(Emit)]

    def told(self) -> list[str]:
        """Events since the last time, as `kind:name/status` and `user:name:payload@ltime cc=flag`."""
        told: list[str] = []
        for event in self.events():
            if isinstance(event, MemberEvent):
                told += [f"{event.kind}:{member.name}/{member.status}" for member in event.members]
            elif isinstance(event, UserEvent):
                flag = str(event.coalesce).lower()
                told.append(f"user:{event.name}:{(event.payload or b'').decode()}@{event.ltime} cc={flag}")
            else:
                told.append(f"query:{event.name}@{event.ltime}")
        return told

    def sends(self) -> list[tuple[Address, UserMessage]]:
        """Direct messages since the last time."""
        return [(sent.to, decode(sent.data)) for sent in self.takes(SendDatagram)]

    def replies(self) -> list[Reply]:
        return self.takes(Reply)

    def status(self, name: str) -> str:
        info = self.serf.member_info(name)
        return "" if info is None else info.status

    def ltime(self, name: str) -> int:
        return self.serf.roster.table[name].ltime
