from __future__ import annotations

import pytest

from gossipd.errors import CommandError
from gossipd.events import MemberEvent, QueryEvent, UserEvent
from gossipd.filters import FILTERS_MAX, parse_filters, wanted

JOINED = MemberEvent("member-join")
DEPLOY = UserEvent("deploy", None, 1, False)
LOAD = QueryEvent(1, "load", None, 1, "beta", 9.0)


@pytest.mark.parametrize(("words", "heard"), [
    ("*", [JOINED, DEPLOY, LOAD]),
    ("", [JOINED, DEPLOY, LOAD]),
    ("member-join", [JOINED]),
    ("member-leave,user", [DEPLOY]),
    ("user:deploy", [DEPLOY]),
    ("user:other,query:load", [LOAD]),
    ("user:", [DEPLOY]),
    ("query", [LOAD]),
    ("member-failed", []),
])
def test_a_filter_list_lets_through_what_it_names(words, heard):
    filters = parse_filters(words)
    assert [event for event in (JOINED, DEPLOY, LOAD) if wanted(filters, event)] == heard


@pytest.mark.parametrize("words", ["bogus", "user,bogus", "user, query", "member-join:alpha", ",", "*:x", "User"])
def test_anything_else_is_refused_with_serfs_words(words):
    with pytest.raises(CommandError, match="^Invalid event filter$"):
        parse_filters(words)


def test_a_list_is_bounded_and_repetitions_do_not_count():
    many = [f"user:{number}" for number in range(FILTERS_MAX)]
    assert len(parse_filters(",".join(many * 3))) == FILTERS_MAX
    with pytest.raises(CommandError, match="More than 256"):
        parse_filters(",".join([*many, "query"]))
