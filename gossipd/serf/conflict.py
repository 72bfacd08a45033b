"""Two nodes with one name: the cluster votes, the minority goes (spec serf §9.4)."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from gossipd.addresses import Address, format_address, plain_ip, unpack_ip
from gossipd.commands import QueryAnswer, QueryOutcome
from gossipd.effects import ERROR, INFO, WARNING, Effect, NameLost, Notice
from gossipd.errors import CommandError, WireError
from gossipd.serf.answers import Answers, Question
from gossipd.serf.config import SerfConfig
from gossipd.serf.members import Roster
from gossipd.serf.messages import ConflictAnswer, decode_conflict_answer, encode_conflict_answer
from gossipd.serf.queries import Ask, Queries
from gossipd.swim.members import Member
from gossipd.swim.upper import Lower
from gossipd.timers import TimerQueue
from gossipd.wire.messages import Alive

QUERY = "_serf_conflict"
PAUSE_S = 2.0
"""After a vote without voters. A rival that runs Serf has shut down by then, and this node is not needed to go too."""
LOST_PAUSE_S = 120.0
"""After a lost vote, for a node that stays. States are exchanged more often: a rival shows by then."""


class PauseOver:
    """A new vote may begin."""


PAUSE_OVER = PauseOver()


@dataclass(slots=True)
class _Vote:
    rival: Address | None
    responses: int = 0
    matching: int = 0


class Conflict:
    """One resolution at a time. `lost` says why this node has lost its name, "" while it has not; it does not go by
    itself. If it stays, there is another vote when the rival is met again, and without a rival the loss is forgotten.
    """

    def __init__(self, config: SerfConfig, lower: Lower, roster: Roster, queries: Queries, answers: Answers,
                 timers: TimerQueue[Hashable]) -> None:
        self._config, self._lower, self._roster = config, lower, roster
        self._queries, self._answers, self._timers = queries, answers, timers
        self._vote: _Vote | None = None
        self._unanswered = 0            # votes in a row that nobody answered, each within LOST_PAUSE_S of the last
        self._unanswered_at = 0.0       # the last of them: seconds, monotonic
        self._rival_seen = False        # since the last vote was lost
        self.lost = ""

    def noticed(self, existing: Member, other: Alive, now: float, out: list[Effect]) -> None:
        """An alive message claims a known name from another address; it was ignored."""
        rival = _address(other)
        where = "an unusable address" if rival is None else format_address(rival)
        if existing.name != self._lower.config.name:
            out.append(Notice(WARNING, f"name conflict name={existing.name!r}"
                                       f" known={format_address(existing.address)} other={where}"))
            return
        self._rival_seen = True
        if not self._config.resolve_name_conflicts or self._vote is not None or PAUSE_OVER in self._timers:
            return
        out.append(Notice(ERROR, f"node name conflicts with another node name={existing.name!r} other={where}"))
        self._begin(_Vote(rival), now, out)

    def _begin(self, vote: _Vote, now: float, out: list[Effect]) -> None:
        def answered(answer: QueryAnswer, now: float, out: list[Effect]) -> None:
            self._count(answer, vote)

        def over(_: QueryOutcome, now: float, out: list[Effect]) -> None:
            self._vote = None
            self._conclude(vote, now, out)

        self._vote = vote
        try:
            self._queries.ask(Ask(QUERY, self._lower.config.name.encode("utf-8", "surrogateescape")), answered, over,
                              now, out)
        except CommandError as error:       # an old protocol version, or a very long name
            self._vote = None
            out.append(Notice(ERROR, f"name conflict cannot be resolved: {error.full}"))

    def _count(self, answer: QueryAnswer, vote: _Vote) -> None:
        try:
            member = decode_conflict_answer(answer.payload or b"")
        except WireError:
            return
        local = self._lower.config
        vote.responses += 1
        if member is not None and plain_ip(member.addr) == plain_ip(local.addr) and member.port == local.port:
            vote.matching += 1

    def _conclude(self, vote: _Vote, now: float, out: list[Effect]) -> None:
        votes = f"{vote.matching} of {vote.responses} votes"
        if vote.responses == 0 and self._stays_without_votes(vote, now):
            out.append(Notice(WARNING, "name conflict: nobody voted, staying"))
        elif vote.responses > 0 and vote.matching >= vote.responses // 2 + 1:
            self._unanswered = 0
            self.lost = ""
            out.append(Notice(INFO, f"name conflict won: {votes}"))
        else:
            self._lose(vote, votes, now, out)

    def _lose(self, vote: _Vote, votes: str, now: float, out: list[Effect]) -> None:
        rival = "an unusable address" if vote.rival is None else format_address(vote.rival)
        self.lost = f"lost the name {self._lower.config.name!r} to {rival}: {votes}"
        self._rival_seen = False
        self._timers.set(PAUSE_OVER, now + LOST_PAUSE_S)
        out.append(NameLost(self.lost))

    def pause_over(self, out: list[Effect]) -> None:
        """A new vote may begin, when the rival is met again."""
        if self.lost and not self._rival_seen:
            self.lost = ""
            out.append(Notice(INFO, "name conflict is over: the rival is gone"))

    def _stays_without_votes(self, vote: _Vote, now: float) -> bool:
        """Two namesakes alone must not both go. The one with the lower address stays; the other goes only when the
        conflict is still there after a while, as a rival that runs Serf goes by itself."""
        local = self._lower.local.address
        if vote.rival is None or local < vote.rival:
            return True
        if now - self._unanswered_at > LOST_PAUSE_S:
            self._unanswered = 0        # that rival went
        self._unanswered += 1
        self._unanswered_at = now
        self._timers.set(PAUSE_OVER, now + PAUSE_S)
        return self._unanswered < 2

    # the other side: what we know of a disputed name

    def answer(self, question: Question, now: float, out: list[Effect]) -> None:
        """Contenders stay silent."""
        name = (question.query.payload or b"").decode("utf-8", "surrogateescape")
        if name == self._lower.config.name:
            return
        member = self._roster.table.get(name)
        known = None
        if member is not None:
            info = self._roster.info(member)
            known = ConflictAnswer(name, info.addr, info.port, info.tags, int(member.status), info.versions)
        self._answers.answer(question, encode_conflict_answer(known), now, out)


def _address(other: Alive) -> Address | None:
    try:
        return unpack_ip(other.addr), other.port
    except WireError:
        return None
