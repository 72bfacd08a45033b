from __future__ import annotations

import logging

from gossipd.daemon.announce import FAILURES_MAX, LINES_MAX, NAMES_MAX, announce
from gossipd.events import MEMBER_FAILED, MEMBER_JOIN, MemberEvent, MemberInfo, UserEvent


def a_member(name: str, reason: str = "") -> MemberInfo:
    return MemberInfo(name, bytes([192, 0, 2, 1]), 7946, {}, "alive", bytes(6), reason=reason)


def lines(caplog, *events) -> list[tuple[str, str]]:
    with caplog.at_level(logging.INFO, "gossipd"):
        for event in events:
            announce(event)
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_a_failure_is_a_warning_that_says_why(caplog):
    failed = MemberEvent(MEMBER_FAILED, [a_member("bea", "port refused, seen by ann")])
    assert lines(caplog, failed) == [
        ("WARNING", "member-failed name=bea address=192.0.2.1:7946 why='port refused, seen by ann'")]


def test_everything_else_about_members_is_information(caplog):
    assert lines(caplog, MemberEvent(MEMBER_JOIN, [a_member("bea"), a_member("cal")])) == [
        ("INFO", "member-join name=bea address=192.0.2.1:7946"),
        ("INFO", "member-join name=cal address=192.0.2.1:7946")]


def test_a_great_event_is_summed_up(caplog):
    for kind, level, shown in ((MEMBER_JOIN, "INFO", LINES_MAX), (MEMBER_FAILED, "WARNING", FAILURES_MAX)):
        caplog.clear()
        logged = lines(caplog, MemberEvent(kind, [a_member(f"n{i}") for i in range(1000)]))
        names = ",".join(f"n{i}" for i in range(shown, shown + NAMES_MAX))
        assert len(logged) == shown + 1 and logged[-1] == (level, f"{kind} of {1000 - shown} more names={names}")


def test_a_name_cannot_forge_a_log_line(caplog):
    (_, line), = lines(caplog, MemberEvent(MEMBER_JOIN, [a_member("evil\nmember-failed name=bea\udcff")]))
    assert line.startswith("member-join name='evil\\nmember-failed name=bea\\udcff' address=")


def test_user_events_are_not_about_members(caplog):
    assert lines(caplog, UserEvent("deploy", None, 1, False)) == []
