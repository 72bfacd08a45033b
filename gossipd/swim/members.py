"""The member table: who is known, in which state, and random picks from it (spec memberlist §9.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from functools import lru_cache
from random import Random

from gossipd.addresses import Address, unpack_ip

ADDRESS_CACHE = 16384


class MemberState(IntEnum):
    """The numbers of a push/pull entry's `State`."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


ALIVE, SUSPECT, DEAD, LEFT = MemberState


@lru_cache(maxsize=ADDRESS_CACHE)
def address_of(raw: bytes, port: int) -> Address:
    """Where to send: shared between all who know the member. Raises WireError unless 4 or 16 bytes."""
    return unpack_ip(raw), port


class Member:
    """One node's record. `addr` is kept byte for byte; `address` is what socket calls take."""

    __slots__ = ("name", "addr", "port", "meta", "vsn", "address", "incarnation", "state", "changed", "reason")

    def __init__(self, name: str, addr: bytes, port: int, meta: bytes, vsn: bytes, now: float) -> None:
        self.name = name
        self.addr = addr
        self.port = port
        self.meta = meta
        self.vsn = vsn
        self.address: Address = address_of(addr, port)
        self.incarnation = 0
        self.state = DEAD           # until its first alive is applied
        self.changed = now          # when the state last changed: seconds, monotonic
        self.reason = ""            # why the state is what it is, for people

    def move(self, addr: bytes, port: int) -> None:
        self.addr, self.port = addr, port
        self.address = address_of(addr, port)

    def knows(self, incarnation: int, addr: bytes, port: int) -> bool:
        """Is it old news that the member is alive there?"""
        return incarnation <= self.incarnation and addr == self.addr and port == self.port

    def set_state(self, state: MemberState, now: float, reason: str) -> None:
        self.state, self.changed, self.reason = state, now, reason

    @property
    def is_up(self) -> bool:
        """Alive or suspect: to Serf both are alive."""
        return self.state <= SUSPECT

    @property
    def protocol_max(self) -> int:
        """The highest memberlist protocol it understands: what may be sent to it (§8)."""
        return self.vsn[1]

    def __repr__(self) -> str:
        return f"Member({self.name!r}, {self.address}, {self.state.name}, {self.incarnation})"


class MemberTable:
    """Records by name, and in the order in which they are probed. Left and dead ones count until pruned."""

    __slots__ = ("_by_name", "order", "_rng")

    def __init__(self, rng: Random) -> None:
        self._by_name: dict[str, Member] = {}
        self.order: list[Member] = []
        self._rng = rng

    def __len__(self) -> int:
        """The `n` of every formula: self, suspect, dead and left records included."""
        return len(self.order)

    def __iter__(self) -> Iterator[Member]:
        return iter(self.order)

    def get(self, name: str) -> Member | None:
        return self._by_name.get(name)

    def insert(self, member: Member) -> None:
        """Put it at a random place: append, then swap."""
        self._by_name[member.name] = member
        self.order.append(member)
        at = self._rng.randrange(len(self.order))
        self.order[at], self.order[-1] = self.order[-1], self.order[at]

    def prune(self, now: float, keep_s: float) -> int:
        """Forget dead and left records whose state is older than `keep_s`. How many."""
        gone = [m for m in self.order if m.state >= DEAD and now - m.changed > keep_s]
        for member in gone:
            del self._by_name[member.name]
        if gone:
            self.order = [m for m in self.order if m.name in self._by_name]
        return len(gone)

    def shuffle(self) -> None:
        self._rng.shuffle(self.order)

    def up_count(self) -> int:
        """Members alive or suspect, self included."""
        return sum(m.state <= SUSPECT for m in self.order)

    def pick(self, count: int, wanted: Callable[[Member], bool]) -> list[Member]:
        """Up to `count` different random members that are `wanted` (§14.4)."""
        size = len(self.order)
        if count < 1:
            return []
        if size < 3 * count:
            return [m for m in self._rng.sample(self.order, size) if wanted(m)][:count]
        picked: list[Member] = []
        for _ in range(3 * size):
            member = self.order[int(self._rng.random() * size)]
            if wanted(member) and member not in picked:
                picked.append(member)
                if len(picked) == count:
                    break
        return picked
