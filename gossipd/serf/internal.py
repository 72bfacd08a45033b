"""Queries that the library asks itself; users never see them (spec serf §9)."""

from __future__ import annotations

from gossipd.effects import DEBUG, WARNING, Effect, Notice
from gossipd.errors import CommandError
from gossipd.serf.answers import Question
from gossipd.serf.conflict import QUERY as CONFLICT
from gossipd.serf.conflict import Conflict
from gossipd.serf.keys import ACTION_OF, KeyAnswers
from gossipd.serf.queries import PING


def answer_internal(question: Question, keys: KeyAnswers, conflict: Conflict, now: float, out: list[Effect]) -> None:
    """The ack, if one was wanted, has gone already. Never raises."""
    name = question.query.name
    try:
        if name in ACTION_OF:
            keys.answer(question, now, out)
        elif name == CONFLICT:
            conflict.answer(question, now, out)
        elif name != PING:      # whose answer is the ack
            out.append(Notice(WARNING, f"unknown internal query name={name!r}"))
    except CommandError as error:
        out.append(Notice(DEBUG, f"internal query not answered name={name!r}: {error.full}"))
