"""What users ask of the membership: join, leave, force-leave, new tags (spec serf §6.9, §3)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from random import Random

from gossipd.addresses import Address
from gossipd.commands import ForceLeave, Join, Leave, SetTags
from gossipd.effects import WARNING, Effect, Notice, Reply
from gossipd.errors import CommandError
from gossipd.serf.config import SerfConfig
from gossipd.serf.keeping import Save, Turns
from gossipd.serf.lamport import LamportClock
from gossipd.serf.members import Roster
from gossipd.serf.messages import JoinIntent, LeaveIntent, encode_join, encode_leave
from gossipd.serf.tags import encode_tags
from gossipd.serf.waits import Waits
from gossipd.swim.broadcasts import Done
from gossipd.swim.upper import Lower
from gossipd.timers import TimerQueue


def list_of_errors(errors: list[str]) -> str:
    """One text for several, as Serf's clients get it."""
    count = f"{len(errors)} error occurred:" if len(errors) == 1 else f"{len(errors)} errors occurred:"
    return count + "".join(f"\n\t* {error}" for error in errors) + "\n\n"


def lines_of_errors(text: str) -> list[str]:
    """The errors that `list_of_errors` joined, or the one that `text` is."""
    return text.strip().split("\n\t* ")[1:] or [text]


class Life(Enum):
    """Of this node, one way only."""

    ALIVE = "alive"
    LEAVING = "leaving"
    LEFT = "left"


class Departed:
    """The goodbye had its time to spread."""


DEPARTED = Departed()
JOIN_DELAY_S = 0.25
"""Before a join intent goes out: nobody waits for it, as the membership layer tells of the new member, and when many
nodes join at once there is enough to do."""

TAGS_UNHEARD = "timeout waiting for update broadcast"
"""In Serf's words, also where Serf would wait in vain: a node that leaves announces nothing."""

FAILURES_SHOWN = 5
"""Of the addresses of a join that others answered."""

SaveTags = Save[Mapping[str, str]]
SpreadIntent = Callable[[bytes, float, Done | None, float], None]
"""(encoded intent, now, called when it was sent in full, delay in s): queue it for gossip."""


class Actions:
    def __init__(self, config: SerfConfig, lower: Lower, roster: Roster, clock: LamportClock, spread: SpreadIntent,
                 save_tags: SaveTags, timers: TimerQueue[Hashable], rng: Random) -> None:
        self._config, self._lower, self._roster, self._clock = config, lower, roster, clock
        self._spread, self._timers, self._rng = spread, timers, rng
        self._tag_changes = Turns("tags", save_tags)
        self.waits = Waits(timers)
        self.life = Life.ALIVE
        self.ignoring_old = 0       # joins under way after which older user events are none of our business
        self._leave_ids: list[int] = []
        self.tags: Mapping[str, str] = dict(config.tags)
        self.meta = encode_tags(config.tags, config.protocol)

    # join

    def join(self, command: Join, now: float, out: list[Effect]) -> None:
        if self.life is not Life.ALIVE:
            raise CommandError("Serf can't Join after Leave or Shutdown", "this node is leaving or has left")
        if not command.replay:
            self.ignoring_old += 1

        def done(reached: int, failures: list[str], now: float, out: list[Effect]) -> None:
            if not command.replay:
                self.ignoring_old -= 1
            if reached and command.intent and self.life is Life.ALIVE:
                self.announce_alive(now, JOIN_DELAY_S)
            if reached and failures:
                shown = "; ".join(failures[:FAILURES_SHOWN])
                out.append(Notice(WARNING, f"joined, but not through all failed={len(failures)} error={shown!r}"))
            out.append(Reply(command.id, reached) if reached else Reply(command.id, 0, list_of_errors(failures)))

        self._lower.join(command.addresses, done, now, out)

    def announce_alive(self, now: float, delay_s: float = 0.0) -> None:
        """A join intent about this node: after a join, or against a leave intent that is not true."""
        ltime = self._clock.time
        local = self._lower.config.name
        self._roster.join_intent(local, ltime, now)
        self._spread(encode_join(JoinIntent(ltime, local)), now, None, delay_s)

    def reconnect(self, address: Address, now: float, out: list[Effect]) -> None:
        """Try a failed member once more. Success shows in the membership layer; no join intent (§6.9)."""
        if self.life is Life.ALIVE:
            self._lower.join([address], _ignore, now, out)

    # leave: intent, then memberlist's goodbye, then a while of answering probes

    def leave(self, command: Leave, now: float, out: list[Effect]) -> None:
        if self.life is Life.LEAVING:
            raise CommandError("Leave already in progress")
        if self.life is Life.LEFT:
            out.append(Reply(command.id))
            return
        self.life = Life.LEAVING
        self._leave_ids.append(command.id)
        self._roster.leaving = True
        message, others = self._apply_leave(self._lower.config.name, False, now, out)
        if others:
            self._spread(message, now, self.waits.start(self._config.broadcast_timeout_s, self._goodbye, now), 0.0)
        else:
            self._goodbye(True, now, out)

    def _goodbye(self, sent: bool, now: float, out: list[Effect]) -> None:
        if not sent:
            out.append(Notice(WARNING, "leave intent was not sent in full in time"))
        self._lower.leave(self.waits.start(self._config.broadcast_timeout_s, self._linger, now), now, out)

    def _linger(self, sent: bool, now: float, out: list[Effect]) -> None:
        if not sent:
            out.append(Notice(WARNING, "goodbye was not sent in full in time"))
        self._timers.set(DEPARTED, now + self._config.leave_propagate_delay_s)

    def departed(self, out: list[Effect]) -> None:
        self.life = Life.LEFT
        out.extend(Reply(id) for id in self._leave_ids)
        self._leave_ids.clear()

    # force-leave

    def force_leave(self, command: ForceLeave, now: float, out: list[Effect]) -> None:
        message, others = self._apply_leave(command.name, command.prune, now, out)
        if not others:
            out.append(Reply(command.id))
            return

        def over(sent: bool, now: float, out: list[Effect]) -> None:
            out.append(Reply(command.id, error="" if sent else "timed out broadcasting node removal"))

        self._spread(message, now, self.waits.start(self._config.broadcast_timeout_s, over, now), 0.0)

    def _apply_leave(self, name: str, prune: bool, now: float, out: list[Effect]) -> tuple[bytes, bool]:
        """A leave intent applied here. Returns it encoded, and whether anybody else is there to be told.

        That is asked before applying it: after, the last other member would be leaving and never hear of it (§6.9).
        """
        others = self._roster.anyone_else_alive()
        ltime = self._clock.increment()
        self._roster.leave_intent(name, ltime, prune, now, out)
        return encode_leave(LeaveIntent(ltime, name, prune)), others

    # tags

    def set_tags(self, command: SetTags, now: float, out: list[Effect]) -> None:
        """If they do not fit, cannot be kept, or it is too late, the old ones stay. Raises CommandError if that is
        known at once."""
        def over(failure: str, now: float, out: list[Effect]) -> None:
            if not failure and self.life is not Life.ALIVE:
                failure = TAGS_UNHEARD         # it began to leave meanwhile
            if failure:
                out.append(Reply(command.id, error=failure))
            else:
                self._announce_tags(command, now, out)

        self._tag_changes.change(lambda: self._tags_after(command), over, now, out)

    def _tags_after(self, command: SetTags) -> Mapping[str, str]:
        """Raises CommandError for what must not be kept."""
        if self.life is not Life.ALIVE:
            raise CommandError(TAGS_UNHEARD, "this node is leaving or has left")
        tags = {key: value for key, value in self.tags.items() if key not in command.deleted} | command.tags
        encode_tags(tags, self._config.protocol)
        return tags

    def _announce_tags(self, command: SetTags, now: float, out: list[Effect]) -> None:
        before = self.meta
        self.tags = self._tags_after(command)
        self.meta = encode_tags(self.tags, self._config.protocol)
        if self.meta == before:
            out.append(Reply(command.id))
            return

        def over(sent: bool, now: float, out: list[Effect]) -> None:
            out.append(Reply(command.id, error="" if sent else TAGS_UNHEARD))

        self._lower.update_meta(self.waits.start(self._config.broadcast_timeout_s, over, now), now, out)


def _ignore(reached: int, failures: list[str], now: float, out: list[Effect]) -> None:
    pass
