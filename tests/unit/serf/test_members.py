"""What becomes of members: intents, prune, reaping, reconnecting."""

from __future__ import annotations

import gc
import sys

import pytest

from gossipd.errors import WireError
from gossipd.serf.intents import RecentIntents
from gossipd.serf.lamport import FIRST_MAX, JUMP_MAX, LamportClock
from gossipd.serf.members import LEAVING_MAX_S, SerfMember
from gossipd.serf.messages import JoinIntent, LeaveIntent, PushPullState, encode_join, encode_leave, encode_push_pull
from gossipd.swim.members import MemberState
from tests.support.serf import SOURCE, SerfBench


def leave(ltime: int, name: str, prune: bool = False) -> bytes:
    return encode_leave(LeaveIntent(ltime, name, prune))


def join(ltime: int, name: str) -> bytes:
    return encode_join(JoinIntent(ltime, name))


# prune (§6.7)

def test_pruning_an_alive_member_neither_stalls_nor_forgets_it_when_it_objects():
    bench = SerfBench()
    bench.joins("a")
    bench.told()
    bench.hears(leave(5, "a", prune=True))
    bench.runs_until(bench.now + 3.0)
    bench.hears(join(6, "a"))           # a's refutation
    bench.runs_until(bench.now + 60.0)
    assert bench.status("a") == "alive" and bench.told() == []


def test_pruning_an_alive_member_that_does_not_object_forgets_it_after_six_seconds():
    bench = SerfBench()
    bench.joins("a")
    bench.told()
    bench.hears(leave(5, "a", prune=True))
    bench.runs_until(bench.now + 5.9)
    assert bench.status("a") == "leaving"
    bench.runs_until(bench.now + 0.2)
    assert bench.status("a") == "" and bench.told() == ["member-reap:a/leaving"]


def test_a_pruned_member_that_left_meanwhile_is_forgotten_as_left():
    bench = SerfBench()
    bench.joins("a")
    bench.told()
    bench.hears(leave(5, "a", prune=True))
    bench.leaves("a")
    bench.runs_until(bench.now + 7.0)
    assert bench.told() == ["member-leave:a/left", "member-reap:a/left"]


def test_an_old_prune_does_not_hit_a_member_that_came_back_and_leaves_again():
    bench = SerfBench()
    bench.joins("a")
    bench.hears(leave(5, "a", prune=True))
    bench.runs_until(bench.now + 5.0)
    bench.hears(join(6, "a"))
    bench.hears(leave(7, "a"))
    bench.runs_until(bench.now + 5.0)
    assert bench.status("a") == "leaving"


def test_pruning_a_failed_member_tells_leave_then_reap():
    bench = SerfBench(member_period_s=0.0)
    bench.joins("a")
    bench.leaves("a")
    bench.told()
    bench.hears(leave(5, "a", prune=True))
    assert bench.told() == ["member-leave:a/left", "member-reap:a/left"]


# reaping and reconnecting (§12)

def test_failed_and_left_members_outlive_memberlists_record_by_a_day():
    bench = SerfBench()
    bench.joins("a", {"role": "db"})
    bench.leaves("a")
    bench.lower.members.prune(bench.now + 31.0, 30.0)
    bench.runs_until(bench.now + 24 * 3600 - 1)
    info = bench.serf.member_info("a")
    assert (info.status, info.state, info.tags, info.addr) == ("failed", "", {"role": "db"}, bytes([127, 0, 47, 2]))
    bench.told()
    bench.runs_until(bench.now + 16.0)
    assert bench.serf.member_info("a") is None and bench.told() == ["member-reap:a/failed"]


def test_a_failed_member_is_tried_again_until_it_is_reaped_and_without_a_join_intent():
    bench = SerfBench()
    bench.joins("a")
    bench.leaves("a")
    bench.runs_until(bench.now + 90.5)
    tries = [addresses for addresses, _ in bench.lower.joins]
    assert 3 <= len(tries) <= 4 and tries[0] == [("127.0.47.2", 7946)]      # one failed, one alive: every interval
    bench.lower.joins[0][1](1, [], bench.now, bench.out)
    assert bench.lower.queued == [] and bench.replies() == []


def test_all_of_a_big_cluster_together_try_each_failed_member_about_once_an_interval():
    tries = 0
    for seed in range(100):
        bench = SerfBench(seed=seed)
        for number in range(99):
            bench.joins(f"n{number}")
        bench.leaves("n0")
        bench.runs_until(bench.now + 10 * 30.0)
        tries += len(bench.lower.joins)
    assert 5 <= tries <= 17         # 100 nodes, 10 intervals, a chance of 1/99 each


def test_a_member_that_left_is_not_tried_again():
    bench = SerfBench()
    bench.joins("a")
    bench.leaves("a")
    bench.hears(leave(3, "a"))
    bench.runs_until(bench.now + 3600.0)
    assert bench.lower.joins == []


def test_coming_back_soon_after_a_failure_counts_as_a_flap():
    bench = SerfBench()
    for pause in (59.0, 61.0):
        bench.joins("a")
        bench.leaves("a")
        bench.now += pause
    bench.joins("a")
    assert bench.serf.roster.flaps == 1


# bounds (§18)

def test_lamport_times_near_the_end_are_refused_and_move_no_clock():
    bench = SerfBench()
    bench.joins("a")
    for ltime in (1 << 63, (1 << 64) - 1):
        with pytest.raises(WireError, match="LTime"):
            bench.hears(leave(ltime, "a"))
    assert bench.serf.clocks.member.time == 1 and bench.status("a") == "alive"


def test_a_clock_follows_a_leap_only_as_a_newcomer():
    clock = LamportClock()
    assert clock.plausible(FIRST_MAX) and not clock.plausible(FIRST_MAX + 1)
    clock.witness(9)
    assert clock.plausible(10 + JUMP_MAX) and not clock.plausible(11 + JUMP_MAX)


def test_poisoned_times_in_a_push_pull_are_left_out_and_the_rest_counts():
    bench = SerfBench()
    bench.joins("a")
    bench.hears(join(3, "a"))
    state = PushPullState(1 << 62, {"a": 1 << 61, "b": 8}, ["c", "a"], 1 << 62, 5)
    bench.serf.merge_remote_state(encode_push_pull(state), False, bench.now, bench.out)
    clocks = bench.serf.clocks
    assert (clocks.member.time, clocks.query.time) == (9, 5)
    assert bench.ltime("a") == 3
    assert {name for name, _ in bench.serf.roster.intents} == {"b", "c"}


def test_the_intent_buffer_takes_no_more_names_than_its_bound_and_passes_nothing_on_then():
    intents = RecentIntents(max_names=2)
    assert intents.remember("a", True, 1, 0.0) and intents.remember("b", True, 1, 0.0)
    assert not intents.remember("c", True, 9, 0.0)
    assert intents.remember("a", False, 2, 0.0) and len(intents) == 2


def test_unreadable_user_state_is_refused_before_anything_changes():
    bench = SerfBench()
    for state in (b"", b"\x03", b"\x02\x81\xa5LTime\xcb" + bytes(8)):
        with pytest.raises(WireError):
            bench.serf.merge_remote_state(state, False, bench.now, bench.out)
    assert bench.serf.clocks.member.time == 1


def test_messages_that_have_no_business_here_are_refused_and_an_empty_one_is_nothing():
    bench = SerfBench()
    bench.hears(b"")
    for message in (b"\x02\x80", b"\x06\xc0", b"\x2a\x80", b"\x00\xc1"):
        with pytest.raises(WireError):
            bench.hears(message)


def test_a_member_takes_no_more_than_a_hundred_bytes_here():
    record = SerfBench().lower.local
    gc.collect()
    assert sys.getsizeof(SerfMember(record, 0.0)) <= 100 and not hasattr(SerfMember(record, 0.0), "__dict__")


# what is told of a member

def test_a_member_shows_memberlists_view_beside_serfs():
    bench = SerfBench()
    record = bench.joins("a", {"role": "web"})
    record.incarnation, record.reason = 4, "said so"
    info = bench.serf.member_info("a")
    assert (info.status, info.state, info.incarnation, info.reason) == ("alive", "alive", 4, "said so")
    info.tags["role"] = "spoilt"
    assert bench.serf.member_info("a").tags == {"role": "web"}


def test_an_event_carries_the_status_that_the_member_had_right_then():
    bench = SerfBench(member_period_s=3.0)
    bench.joins("first")
    bench.told()
    bench.joins("a")
    bench.hears(leave(5, "a"))
    bench.runs_until(bench.now + 2.0)
    assert bench.told() == ["member-join:a/alive"]


def test_an_update_shows_the_new_tags_to_everyone():
    bench = SerfBench()
    bench.joins("a", {"v": "1"})
    bench.told()
    before = bench.serf.version
    bench.updates("a", {"v": "2"})
    assert bench.told() == ["member-update:a/alive"] and bench.serf.version > before
    assert bench.serf.member_info("a").tags == {"v": "2"}


def test_our_state_goes_out_without_empty_slots():
    bench = SerfBench()
    bench.joins("a")
    bench.leaves("a")
    bench.hears(leave(3, "a"))
    assert bench.serf.local_state(True) == encode_push_pull(PushPullState(4, {"me": 0, "a": 3}, ["a"], 1, 1))


def test_an_intent_is_passed_on_as_it_came_naming_where_it_came_from():
    bench = SerfBench()
    odd = join(4, "a") + b"trailing"
    assert bench.hears(odd)
    assert [(message, source) for _, message, source in bench.lower.queued] == [(odd, SOURCE)]


def test_a_member_that_is_leaving_for_long_and_still_there_is_alive_again():
    bench = SerfBench()
    bench.joins("a")
    bench.hears(leave(3, "a"))
    bench.runs_until(bench.now + LEAVING_MAX_S - 0.1)
    assert bench.status("a") == "leaving"
    bench.told()
    bench.runs_until(bench.now + 0.2)
    assert bench.status("a") == "alive" and bench.told() == []


def test_a_leaving_member_that_is_suspected_keeps_its_status():
    bench = SerfBench()
    bench.joins("a")
    bench.hears(leave(3, "a"))
    bench.serf.roster.table["a"].record.set_state(MemberState.SUSPECT, bench.now, "")
    bench.runs_until(bench.now + 2 * LEAVING_MAX_S)
    assert bench.status("a") == "leaving"


def test_a_goodbye_that_overtakes_its_intent_is_a_leave_and_no_failure():
    bench = SerfBench()
    bench.joins("a")
    bench.told()
    record = bench.serf.roster.table["a"].record
    record.set_state(MemberState.LEFT, bench.now, "left")
    bench.serf.on_leave(record, bench.now, bench.out)
    assert bench.told() == ["member-leave:a/left"]
