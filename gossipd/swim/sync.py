"""Push/pull: exchanging whole member lists, on joining and now and then (spec memberlist §10.5, §15).

A long list is merged in slices, so that no probe waits for it: what is left is done by `advance`, soon after.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import partial

from gossipd.addresses import Address, format_address
from gossipd.effects import Effect, Rejected
from gossipd.errors import WireError
from gossipd.swim.config import SwimConfig
from gossipd.swim.exchanges import Exchanges
from gossipd.swim.members import ALIVE, DEAD, LEFT, SUSPECT, Member
from gossipd.swim.outbox import Outbox
from gossipd.swim.swim import Swim
from gossipd.swim.upper import JoinDone
from gossipd.swim.versions import compatible, includes_us
from gossipd.wire.messages import Alive, Dead, Err, Message, PushPull, PushPullEntry, Suspect
from gossipd.wire.stream import encode_push_pull

MERGE_SLICE = 128               # entries applied at one go
PENDING_ENTRIES_MAX = 131072    # that wait to be applied; a push/pull that comes on top is left out
JOINS_AT_ONCE = 16
Merged = Callable[[str, float, list[Effect]], None]
"""("" or why nothing was merged, now, out)"""


class _Merge:
    __slots__ = ("state", "at", "early", "source", "done")

    def __init__(self, state: PushPull, early: bool, source: Address, done: Merged) -> None:
        self.state = state
        self.at = 0             # next entry
        self.early = early      # is what we learn news to others?
        self.source = source
        self.done = done


class Sync:
    def __init__(self, config: SwimConfig, swim: Swim, outbox: Outbox, exchanges: Exchanges) -> None:
        self._config, self._swim, self._outbox, self._exchanges = config, swim, outbox, exchanges
        self._merges: deque[_Merge] = deque()

    def next_deadline(self) -> float:
        return 0.0 if self._merges else math.inf

    # exchanges

    def local_state(self, join: bool) -> bytes:
        """A push/pull message, not sealed: every record, in every state, and the upper layer's state."""
        entries = [PushPullEntry(m.name, m.addr, m.port, m.meta, m.incarnation, m.state, m.vsn)
                   for m in self._swim.members]
        return encode_push_pull(join, entries, self._swim.upper.local_state(join))

    def respond(self, request: PushPull, source: Address, now: float, out: list[Effect]) -> bytes:
        """Our state for the peer; then theirs is merged."""
        reply = self.local_state(request.join)
        self._merge(request, True, source, lambda failure, now, out: None, now, out)
        return reply

    def start(self, to: Address, join: bool, done: Merged, now: float, out: list[Effect]) -> None:
        def answered(message: Message | None, failure: str, now: float, out: list[Effect]) -> None:
            if isinstance(message, PushPull):
                self._merge(message, False, to, done, now, out)
            elif isinstance(message, Err):
                done(f"remote error: {message.error[:200]}", now, out)
            else:
                done(failure or "unexpected answer", now, out)

        request = self._outbox.stream_bytes(self.local_state(join), compress=not join)     # joins come in crowds
        self._exchanges.open(to, request, now + self._config.tcp_timeout_s, "sync", answered, out)

    def join(self, addresses: list[Address], done: JoinDone, now: float, out: list[Effect]) -> None:
        """Push/pull with all of them, a few at a time. One that is given twice is contacted once and counts twice."""
        waiting = deque(dict.fromkeys(addresses))
        outcomes: dict[Address, str] = {}       # "" or what went wrong
        running = 0

        def one_done(to: Address, failure: str, now: float, out: list[Effect]) -> None:
            nonlocal running
            running -= 1
            outcomes[to] = failure and f"Failed to join {to[0]}: {_in_serfs_words(failure, to)}"
            start_more(now, out)

        def start_more(now: float, out: list[Effect]) -> None:
            nonlocal running
            while waiting and running < JOINS_AT_ONCE:
                to = waiting.popleft()
                running += 1
                self.start(to, True, partial(one_done, to), now, out)
            if not running and not waiting:
                failures = [outcomes[to] for to in addresses if outcomes[to]]
                done(len(addresses) - len(failures), failures, now, out)

        start_more(now, out)

    # merging

    def _merge(self, state: PushPull, early: bool, source: Address, done: Merged, now: float,
               out: list[Effect]) -> None:
        state.entries = [e for e in state.entries if e.state != ALIVE or includes_us(e.vsn)]
        if not compatible(state.entries, self._swim.members):
            out.append(Rejected("incompatible versions", source))
            done("incompatible protocol versions", now, out)
            return
        if sum(len(m.state.entries) - m.at for m in self._merges) > PENDING_ENTRIES_MAX:
            out.append(Rejected("too many push/pulls", source))
            done("busy with other push/pulls", now, out)
            return
        self._merges.append(_Merge(state, early, source, done))
        if len(self._merges) == 1:
            self.advance(now, out)

    def advance(self, now: float, out: list[Effect]) -> None:
        """Apply the next slice of what came in; the upper layer's state follows the last entry."""
        if not self._merges:
            return
        merge = self._merges[0]
        entries, end = merge.state.entries, merge.at + MERGE_SLICE
        for entry in entries[merge.at:end]:
            self._apply(entry, merge, now, out)
        merge.at = end
        if end >= len(entries):
            self._merges.popleft()
            self._merge_user_state(merge, now, out)
            merge.done("", now, out)

    def _apply(self, entry: PushPullEntry, merge: _Merge, now: float, out: list[Effect]) -> None:
        swim, me = self._swim, self._config.name
        if entry.state == ALIVE:
            known = swim.members.get(entry.name)
            if (known is not None and known is not swim.local
                    and known.knows(entry.incarnation, entry.addr, entry.port)):
                return      # the usual case: it needs no message made of it
            swim.on_alive(Alive(entry.incarnation, entry.name, entry.addr, entry.port, entry.meta, entry.vsn),
                          None, now, out, merge.early)
        elif entry.state == LEFT:
            swim.on_dead(Dead(entry.incarnation, entry.name, entry.name), None, now, out)
        elif entry.state in (SUSPECT, DEAD):        # a remote death is only a suspicion
            swim.on_suspect(Suspect(entry.incarnation, entry.name, me), None, now, out, "in a peer's list")

    def _merge_user_state(self, merge: _Merge, now: float, out: list[Effect]) -> None:
        if not merge.state.user_state:
            return
        try:
            self._swim.upper.merge_remote_state(merge.state.user_state, merge.state.join, now, out)
        except WireError as error:
            out.append(Rejected(error.reason, merge.source, "push/pull user state"))


def _in_serfs_words(failure: str, to: Address) -> str:
    """Clients of Serf show these sentences, and some look at them (spec rpc §6, join)."""
    if failure == "refused":
        return f"dial tcp {format_address(to)}: connect: connection refused"
    if failure == "timeout":
        return f"dial tcp {format_address(to)}: i/o timeout"
    return f"dial tcp {format_address(to)}: {failure}" if failure.startswith("connect: ") else failure


def periodic_interval_s(interval_s: float, n: int) -> float:
    """The time between push/pulls in a cluster of `n`: longer from 33 nodes on (§15)."""
    if n <= 32:
        return interval_s
    return interval_s * (math.ceil(math.log2(n) - math.log2(32)) + 1)


def random_partner(swim: Swim) -> Member | None:
    picked = swim.members.pick(1, lambda m: m.state == ALIVE and m is not swim.local)
    return picked[0] if picked else None
