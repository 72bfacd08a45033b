"""Join, leave, force-leave and tags, as users ask for them."""

from __future__ import annotations

import pytest

from gossipd.commands import ForceLeave, Join, Leave, SetTags
from gossipd.effects import Notice, Reply
from gossipd.errors import CommandError, ConfigError
from gossipd.serf.actions import lines_of_errors
from gossipd.serf.keeping import CHANGES_MAX
from gossipd.serf.messages import JoinIntent, LeaveIntent, decode, encode_join, encode_leave
from gossipd.swim.members import LEFT
from tests.support.serf import SerfBench, SlowDisk

SEED = ("127.0.47.77", 7946)


def with_peer(**settings: object) -> SerfBench:
    bench = SerfBench(**settings)
    bench.joins("peer")
    bench.out.clear()
    return bench


# join

def test_a_join_is_followed_by_an_intent_with_our_clock_and_tells_how_many_answered():
    bench = SerfBench()
    bench.asks(Join(7, [SEED]))
    addresses, done = bench.lower.joins[0]
    assert addresses == [SEED] and bench.replies() == []
    done(1, ["another refused"], bench.now, bench.out)
    notices = bench.takes(Notice)
    assert [notice.text for notice in notices] == ["joined, but not through all failed=1 error='another refused'"]
    assert bench.replies() == [Reply(7, 1)]
    assert bench.gossips() == [encode_join(JoinIntent(1, "me"))] and bench.ltime("me") == 1


def test_a_join_that_reaches_nobody_says_why_and_sends_nothing():
    bench = SerfBench()
    bench.asks(Join(7, [SEED, SEED]))
    bench.lower.joins[0][1](0, ["x: refused", "y: timeout"], bench.now, bench.out)
    serfs_text = "2 errors occurred:\n\t* x: refused\n\t* y: timeout\n\n"
    assert bench.replies() == [Reply(7, 0, serfs_text)] and bench.gossips() == []
    assert lines_of_errors(serfs_text) == ["x: refused", "y: timeout"]


def test_a_join_that_only_retries_what_was_known_sends_no_intent():
    bench = SerfBench()
    bench.asks(Join(7, [SEED], intent=False))
    bench.lower.joins[0][1](1, [], bench.now, bench.out)
    assert bench.gossips() == []


def test_old_events_are_ignored_while_a_join_without_replay_runs():
    bench = SerfBench()
    seen = []
    for replay in (False, True):
        bench.asks(Join(7, [SEED], replay=replay))
        seen.append(bench.serf.actions.ignoring_old)
        bench.lower.joins.pop()[1](1, [], bench.now, bench.out)
        seen.append(bench.serf.actions.ignoring_old)
    assert seen == [1, 0, 0, 0]


# leave

def test_a_graceful_leave_goes_intent_goodbye_pause():
    bench = with_peer()
    bench.asks(Leave(3))
    assert bench.status("me") == "leaving" and bench.told() == []
    bench.runs_until(bench.now + 0.5)
    assert bench.gossips() == [encode_leave(LeaveIntent(1, "me", False))]
    bench.runs_until(bench.now + 0.9)
    assert bench.told() == ["member-leave:me/left"] and bench.lower.local.state is LEFT
    assert bench.replies() == [] and not bench.serf.left
    bench.runs_until(bench.now + 0.2)
    assert bench.replies() == [Reply(3)] and bench.serf.left


def test_a_leave_nobody_can_hear_of_goes_on_after_the_broadcast_timeout():
    bench = with_peer()
    bench.asks(Leave(3))
    bench.runs_until(bench.now + 5.9)
    assert not bench.serf.left
    bench.runs_until(bench.now + 0.2)
    assert bench.serf.left and bench.replies() == [Reply(3)] and len(bench.takes(Notice)) == 1


def test_events_still_held_back_are_told_before_a_leave_is_over():
    bench = with_peer(member_period_s=30.0, member_quiescent_s=10.0, leave_propagate_delay_s=0.5)
    bench.joins("late")
    bench.told()
    bench.asks(Leave(3))
    bench.gossips()
    bench.runs_until(bench.now + 0.5)
    assert bench.told() == ["member-leave:me/left", "member-join:late/alive"] and bench.serf.left


def test_leaving_alone_takes_only_the_pause():
    bench = SerfBench()
    bench.asks(Leave(3))
    bench.runs_until(bench.now + 1.0)
    assert bench.serf.left and bench.gossips() == []


def test_a_second_leave_is_refused_under_way_and_succeeds_afterwards():
    bench = SerfBench()
    bench.asks(Leave(3))
    with pytest.raises(CommandError, match="Leave already in progress"):
        bench.asks(Leave(4))
    bench.runs_until(bench.now + 2.0)
    bench.asks(Leave(5))
    assert bench.replies() == [Reply(3), Reply(5)]
    with pytest.raises(CommandError, match="^Serf can't Join after Leave or Shutdown$"):
        bench.asks(Join(6, [SEED]))


def test_while_leaving_a_leave_intent_about_us_is_not_refuted():
    bench = with_peer()
    bench.asks(Leave(3))
    bench.hears(encode_leave(LeaveIntent(9, "me", False)))
    assert bench.status("me") == "leaving" and bench.ltime("me") == 9


# force-leave

def test_a_failed_member_becomes_left_and_the_reply_waits_for_the_gossip():
    bench = with_peer()
    bench.joins("a")
    bench.leaves("a")
    bench.told()
    bench.asks(ForceLeave(5, "a"))
    assert bench.told() == ["member-leave:a/left"] and bench.replies() == []
    assert bench.gossips() == [encode_leave(LeaveIntent(1, "a", False))]
    bench.runs_until(bench.now)
    assert bench.replies() == [Reply(5)]


def test_a_force_leave_that_cannot_be_gossiped_says_so():
    bench = with_peer()
    bench.asks(ForceLeave(5, "peer"))
    bench.runs_until(bench.now + 5.1)
    assert bench.replies() == [Reply(5, error="timed out broadcasting node removal")]


def test_force_leaving_the_only_other_alive_member_is_gossiped_so_that_it_can_object():
    bench = with_peer()
    bench.asks(ForceLeave(5, "peer", prune=True))
    assert bench.gossips() == [encode_leave(LeaveIntent(1, "peer", True))]


def test_force_leave_alone_replies_at_once_even_for_an_unknown_name():
    bench = SerfBench()
    bench.asks(ForceLeave(5, "nobody"))
    assert bench.replies() == [Reply(5)] and bench.gossips() == []


def test_force_leaving_oneself_is_refuted_by_oneself():
    bench = with_peer()
    bench.asks(ForceLeave(5, "me"))
    assert bench.status("me") == "alive"
    intents = [decode(message) for message in bench.gossips()]
    assert intents == [JoinIntent(2, "me"), LeaveIntent(1, "me", False)] or intents == [
        LeaveIntent(1, "me", False), JoinIntent(2, "me")]


def test_a_leave_of_our_former_self_learnt_by_push_pull_is_refuted():
    bench = with_peer()
    peer = SerfBench()
    peer.joins("me2")
    former = peer.serf.local_state(False).replace(b"\xa3me2", b"\xa2me").replace(b"\x90\xaaQ", b"\x91\xa2me\xaaQ")
    bench.serf.merge_remote_state(former, True, bench.now, bench.out)
    assert bench.status("me") == "alive"
    assert [decode(message) for message in bench.gossips()] == [JoinIntent(2, "me")]


# tags

def test_new_tags_are_announced_and_told():
    bench = with_peer(tags={"v": "1"})
    bench.asks(SetTags(4, {"v": "2"}))
    bench.runs_until(bench.now)
    assert bench.told() == ["member-update:me/alive"] and bench.replies() == [Reply(4)]
    assert bench.serf.member_info("me").tags == {"v": "2"}


def test_the_same_tags_again_announce_nothing():
    bench = with_peer(tags={"a": "1", "b": "2"})
    bench.asks(SetTags(4, {"b": "2", "a": "1"}))
    assert bench.told() == [] and bench.replies() == [Reply(4)]


def test_changes_of_tags_leave_the_others_and_what_is_deleted_and_set_is_set():
    bench = with_peer(tags={"a": "1", "b": "1", "c": "1"})
    bench.asks(SetTags(4, {"b": "2", "new": "1"}, ["b", "c", "nosuch"]))
    assert bench.serf.member_info("me").tags == {"a": "1", "b": "2", "new": "1"}


def test_tags_are_kept_before_anybody_hears_of_them():
    disk = SlowDisk()
    bench = with_peer(tags={"v": "1"}, save_tags=disk.save)
    bench.asks(SetTags(4, {"v": "2"}))
    [(tags, kept)] = disk.asked
    assert tags == {"v": "2"} and bench.serf.actions.tags == {"v": "1"}
    assert bench.told() == [] and bench.replies() == []
    kept("", bench.now, bench.out)
    bench.runs_until(bench.now)
    assert bench.told() == ["member-update:me/alive"] and bench.replies() == [Reply(4)]
    assert bench.serf.actions.tags == {"v": "2"}


def test_changes_of_tags_at_the_same_time_lose_nothing_of_each_other():
    disk = SlowDisk()
    bench = with_peer(tags={"v": "1"}, save_tags=disk.save)
    for id, (tags, deleted) in enumerate((({"a": "1"}, []), ({"b": "1"}, []), ({"big": "x" * 600}, []),
                                          ({"c": "1"}, ["a"])), 1):
        bench.asks(SetTags(id, tags, deleted))
    for failure, asked, then in (("", {"v": "1", "a": "1"}, {"v": "1", "a": "1"}),
                                 ("disk full", {"v": "1", "a": "1", "b": "1"}, {"v": "1", "a": "1"}),
                                 ("", {"v": "1", "c": "1"}, {"v": "1", "c": "1"})):
        tags, kept = disk.asked[-1]
        assert tags == asked
        kept(failure, bench.now, bench.out)
        assert bench.serf.actions.tags == then
    bench.runs_until(bench.now)
    assert len(disk.asked) == 3 and {reply.id: reply.error for reply in bench.replies()} == {
        1: "", 2: "disk full", 3: "Encoded length of tags exceeds limit of 512 bytes", 4: ""}


def test_on_a_disk_that_hangs_only_so_many_changes_of_tags_wait():
    disk = SlowDisk()
    bench = with_peer(save_tags=disk.save)
    for number in range(CHANGES_MAX):
        bench.asks(SetTags(number, {"v": str(number)}))
    with pytest.raises(CommandError, match="too many changes of tags"):
        bench.asks(SetTags(CHANGES_MAX, {"v": "one too many"}))
    for number in range(CHANGES_MAX):
        assert len(disk.asked) == number + 1
        disk.asked[number][1]("", bench.now, bench.out)
    bench.runs_until(bench.now)
    assert bench.serf.actions.tags == {"v": str(CHANGES_MAX - 1)} and len(bench.replies()) == CHANGES_MAX


def test_a_node_that_begins_to_leave_while_tags_are_written_announces_none():
    disk = SlowDisk()
    bench = with_peer(tags={"v": "1"}, save_tags=disk.save)
    bench.asks(SetTags(1, {"v": "2"}))
    bench.asks(SetTags(2, {"v": "3"}))
    bench.asks(Leave(3))
    disk.asked[0][1]("", bench.now, bench.out)
    assert len(disk.asked) == 1 and bench.serf.actions.tags == {"v": "1"}
    assert bench.replies() == [Reply(id, error="timeout waiting for update broadcast") for id in (1, 2)]
    assert "member-update" not in str(bench.told())


def test_tags_that_do_not_fit_leave_the_old_ones():
    bench = with_peer(tags={"v": "1"})
    with pytest.raises(CommandError, match="512"):
        bench.asks(SetTags(4, {"v": "x" * 600}))
    assert bench.serf.actions.tags == {"v": "1"} and bench.replies() == []


def test_protocol_2_sends_the_bare_role():
    assert SerfBench(protocol=2, tags={"role": "lb", "dc": "x"}).serf.node_meta() == b"lb"


# start

IMPOSSIBLE = [{"protocol": 1}, {"protocol": 6}, {"user_event_bytes": 9217}, {"event_buffer": 0}]


@pytest.mark.parametrize("settings", IMPOSSIBLE, ids=str)
def test_settings_that_no_node_may_start_with(settings):
    with pytest.raises(ConfigError):
        SerfBench(**settings)


def test_stats_count_members_and_clocks():
    bench = with_peer()
    bench.leaves("peer")
    stats = bench.serf.stats()
    assert stats == {"members": "2", "failed": "1", "left": "0", "member_time": "1", "event_time": "1",
                     "query_time": "1", "intent_queue": "0", "event_queue": "0", "query_queue": "0",
                     "coordinate_resets": "0"}


def test_a_node_that_leaves_takes_no_new_tags():
    bench = SerfBench()
    bench.asks(Leave(1))
    with pytest.raises(CommandError, match="^timeout waiting for update broadcast$") as refused:
        bench.asks(SetTags(2, {"role": "web"}))
    assert refused.value.full == f"{refused.value}: this node is leaving or has left"
