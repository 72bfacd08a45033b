"""What hostile peers can send (spec serf §18, one test for each item): the cluster works afterwards as before."""

from __future__ import annotations

import json
import math
from pathlib import Path
from time import process_time

import pytest

from gossipd.commands import QueryAnswer, SetTags
from gossipd.events import MEMBER_FAILED, MEMBER_LEAVE, MEMBER_UPDATE
from gossipd.serf.coordinates import Coordinate, encode_coordinate
from gossipd.serf.intents import INTENTS_MAX
from gossipd.serf.messages import (
    ACK_FLAG,
    EventSlot,
    JoinIntent,
    LeaveIntent,
    PushPullState,
    QueryMessage,
    QueryResponse,
    Relay,
    UserEventMessage,
    encode_join,
    encode_key_request,
    encode_leave,
    encode_query,
    encode_relay,
    encode_response,
    encode_user_event,
)
from gossipd.serf.queries import SOURCES_MIN
from gossipd.serf.queryfilters import TAG
from gossipd.wire.codec import pack
from tests.sim.checkers import CLOCKS, everyone_sees, heard
from tests.sim.hearing import ask, restart_from_disk
from tests.sim.poison import STRANGER, VICTIM, Siege

CASES = json.loads((Path(__file__).parents[1] / "vectors/serf/robustness.json").read_text())["cases"]
KEY, OTHER_KEY = bytes(range(16)), bytes(range(50, 66))
FORGED = b"evil"


def query(ltime: int = 5, id: int = 7, **fields: object) -> bytes:
    """A question of n4, as anybody can forge it."""
    message = QueryMessage(ltime, id, bytes([10, 0, 0, 4]), 7946, "n4", "load", None, 10**9)
    for name, value in fields.items():
        setattr(message, name, value)
    return encode_query(message)


def all_clocks(siege: Siege) -> list[int]:
    return [int(node.stats()[clock]) for node in siege.nodes() for clock in CLOCKS]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_no_recorded_input_harms_a_cluster(case: dict[str, str]) -> None:
    siege = Siege(used=False)
    siege.says(bytes.fromhex(case["hex"]))
    assert max(all_clocks(siege)) < 100
    siege.still_works()


def test_1_an_empty_filter_passes_nobody() -> None:
    siege = Siege()
    before = siege.mouths.asked.copy()
    siege.says(query(filters=[b""]), "n0")
    siege.world.run_for(1.0)
    assert siege.mouths.asked == before
    assert min(int(node.stats()["query_time"]) for node in siege.nodes()) == 6      # it was passed on nevertheless
    siege.still_works()


@pytest.mark.parametrize("name", ["_serf_install-key", "_serf_use-key", "_serf_remove-key"])
def test_2_a_key_query_without_a_key_changes_no_ring(name: str) -> None:
    siege = Siege(key=KEY)
    for id, payload in enumerate((None, b"\x07", b"\x07\x80", b"garbage")):
        siege.says(query(name=name, id=id, payload=payload))
    assert [node.keyring and node.keyring.keys for node in siege.nodes()] == [[KEY]] * 5
    siege.still_works()


@pytest.mark.parametrize("ltime", [(1 << 64) - 1, 1 << 63, (1 << 63) - 1, 1 << 62, 1 << 33])
def test_3_no_lamport_time_poisons_the_clocks(ltime: int) -> None:
    siege = Siege()
    for message in (encode_user_event(UserEventMessage(ltime, "evil", None, False)), query(ltime),
                    encode_join(JoinIntent(ltime, "n1")), encode_leave(LeaveIntent(ltime, "n1")),
                    encode_response(QueryResponse(ltime, 7, "n1"))):
        siege.says(message)
    siege.syncs(PushPullState(ltime, {"n1": ltime, "x": ltime}, ["n1", "x"], ltime,
                              ltime, [EventSlot(ltime, [("evil", None)])]))
    siege.syncs(PushPullState(ltime, {}, [], ltime, ltime), join=True)
    siege.world.run_for(1.0)
    assert not any(siege.ears.count(name)["evil"] for name in siege.world.hosts)
    assert max(all_clocks(siege)) < 100
    siege.still_works()


def test_3_a_cluster_that_never_sent_anything_works_on_at_whatever_time_it_believes() -> None:
    siege = Siege(used=False)
    siege.says(encode_user_event(UserEventMessage(1 << 62, "evil", None, False)), "n0")
    siege.says(query(1 << 62), "n1")
    siege.still_works()


def test_4_nobody_can_send_through_a_relay_what_is_no_answer_for_a_member() -> None:
    siege = Siege()
    answer = encode_response(QueryResponse(1, 7, "n1"))
    member, victim = bytes([10, 0, 0, 1]), bytes([10, 8, 8, 8])
    relays = [Relay(victim, 53, "n1", answer), Relay(victim, 53, "", answer), Relay(member, 7946, "n1", FORGED)]
    relays.append(Relay(member, 7946, "n1", encode_relay(relays[0])))
    for relay in relays:
        siege.says(encode_relay(relay), "n0")
    siege.world.run_for(1.0)
    assert VICTIM not in siege.sent_to
    assert not any(b"\x08" + FORGED in data for data in siege.sent_to[siege.world.hosts["n1"].address])
    siege.still_works()


def test_5_a_stranger_gets_few_answers_to_questions_asked_in_its_name() -> None:
    siege = Siege()
    for id in range(1000):
        siege.says(query(8 + id % 4, id, addr=bytes([10, 8, 8, 8]), port=53, flags=ACK_FLAG), "n0")
    siege.says(query(9, 2000, addr=bytes([10, 8, 8]), flags=ACK_FLAG))
    siege.says(query(9, 2001, port=0, flags=ACK_FLAG))
    siege.world.run_for(1.0)
    each = 50 + 10 * 2      # what may be at once, and in two seconds
    assert 0 < len(siege.sent_to[VICTIM]) <= 5 * each
    siege.world.run_for(10.0)
    siege.still_works()


@pytest.mark.parametrize(
    "expression", ["(a*)*b", "(a|aa)+$b", "(.*)(.*)(.*)(.*)(.*)[^a]$", "((a{1,100}){1,100}){1,100}b", "("])
def test_6_no_expression_holds_anybody_up(expression: str) -> None:
    siege = Siege(tags={"role": "a" * 400})
    filters = [TAG + pack({"Expr": expression, "Tag": "role"})] * 20
    started = process_time()
    siege.says(query(filters=filters), "n0")
    assert process_time() - started < 0.5
    siege.still_works()


def test_7_no_table_grows_without_bound() -> None:
    siege = Siege(nodes=3)
    for number in range(INTENTS_MAX + 1000):
        siege.says(encode_leave(LeaveIntent(5, f"x{number}")), "n0")
    for number in range(2000):
        siege.says(encode_user_event(UserEventMessage(6, f"e{number}", None, True)), "n0")
        siege.says(query(7, number), "n0")
    serf = siege.node("n0").serf
    assert len(serf.roster.intents) == INTENTS_MAX
    assert max(len(slot.events) for slot in serf.events.slots()) == 1024
    assert max(len(ids) for _, ids in serf.answers._ring.values()) == 1024
    siege.world.run_for(60.0)
    siege.still_works()


@pytest.mark.parametrize("poison", [
    Coordinate((1e308,) * 8), Coordinate(height=-5.0), Coordinate(error=-1.0), Coordinate(adjustment=-1e9),
    Coordinate((math.nan,) * 8), Coordinate((math.inf,) * 8), Coordinate((99.0,) * 8, error=0.0)])
def test_8_a_member_with_an_absurd_coordinate_draws_nobody_away(poison: Coordinate) -> None:
    siege = Siege(seed=2)
    setattr(siege.node("n4").serf, "ack_payload", lambda: encode_coordinate(poison))    # noqa: B010
    siege.world.run_for(60.0)
    for node in siege.nodes():
        assert node.serf.coordinates is not None
        mine = node.serf.coordinates.vivaldi.coordinate
        assert mine.is_finite() and mine.error <= 1.5 and mine.height >= 0 and max(map(abs, mine.vec)) < 100.0
    siege.still_works()


def test_9_a_name_forges_no_lines_of_a_snapshot() -> None:
    siege = Siege(snapshot=b"")
    world = siege.world
    name = "x\nalive: evil 10.8.8.8:53"
    world.add(name, tags={"a\nb": "c\rd", "\x1b[2J": "\x00"})
    world.join(name, "n0")
    siege.says(encode_leave(LeaveIntent(5, "y\r\nalive: evil 10.8.8.8:53\n")))
    world.run_for(2.0)
    siege.still_works()
    world.crash(name)
    world.run_for(20.0)
    assert b"evil" not in b"".join(lines for host in world.hosts.values() for _, lines in host.disk
                                   if host.name != name)
    world.crash("n1")
    restart_from_disk(world, "n1")
    world.run_for(5.0)
    assert VICTIM not in siege.sent_to
    siege.still_works()


def test_10_forged_answers_fill_no_memory_and_no_name_counts_twice() -> None:
    siege = Siege()
    world = siege.world
    asked = ask(world, "n0", timeout_s=2.0)
    (ltime, running), = siege.node("n0").serf.asking._running.items()
    for number in range(3000):
        siege.says(encode_response(QueryResponse(ltime, running.id, f"x{number % 1500}", 0, b"forged")), "n0")
    siege.says(encode_response(QueryResponse(ltime, running.id, "y" * 60000, 0, bytes(60000))), "n0")
    world.run_for(3.0)
    answers = [part.source for _, part in asked.host.parts[asked.id] if isinstance(part, QueryAnswer) and not part.ack]
    assert asked.outcome is not None and len(answers) == len(set(answers)) <= SOURCES_MIN
    assert max(map(len, answers)) <= 512
    siege.still_works()


def test_11_events_too_large_to_be_sent_do_not_come_by_push_pull_either() -> None:
    siege = Siege()
    slots = [EventSlot(5, [("evil", bytes(9300)), ("e" * 9300, None), ("good", bytes(9000))])]
    siege.syncs(PushPullState(1, {}, [], 6, 1, slots))
    siege.world.run_for(1.0)
    for name in siege.world.hosts:
        assert siege.ears.count(name) == {"before": 1, "good": 1}
    siege.still_works()


def test_12_pruning_a_living_member_neither_stalls_nor_erases_anybody() -> None:
    siege = Siege()
    siege.says(encode_leave(LeaveIntent(50, "n3", prune=True)))
    siege.world.run_for(15.0)
    assert everyone_sees(siege.world, "n3", "alive")
    assert not heard(siege.world, "n3", MEMBER_LEAVE) and not heard(siege.world, "n3", MEMBER_FAILED)
    siege.still_works()


@pytest.mark.parametrize("body", [
    b"\x91" * 60000, b"\x81\xa1a" * 20000, b"\x81\xa5LTime" + b"\x91" * 1000,
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff\xa1a", b"\xdb\xff\xff\xff\xff",
    b"\x81\xa7Filters\xdd\x7f\xff\xff\xff", b"\x81\xa6Events\xdd\x00\x40\x00\x00"])
def test_13_deep_and_huge_messages_are_refused(body: bytes) -> None:
    siege = Siege(nodes=3)
    for kind in range(10):
        siege.says(bytes([kind]) + body)
    siege.syncs(b"\x02" + body)
    assert siege.rejected() >= 3 * 7
    siege.still_works()


@pytest.mark.parametrize("timeout_ns", [0, -5, -(1 << 63), (1 << 63) - 1])
def test_14_a_query_without_or_with_endless_time_is_acked_and_forgotten(timeout_ns: int) -> None:
    siege = Siege()
    acks = len(siege.sent_to.get(siege.world.hosts["n4"].address, []))
    siege.says(query(timeout_ns=timeout_ns, flags=ACK_FLAG), "n0")
    siege.world.run_for(0.5)
    assert len(siege.sent_to[siege.world.hosts["n4"].address]) > acks
    for node in siege.nodes():
        deadlines = [question.deadline for question in node.serf.answers._questions.values()
                     if question.query.id == 7]
        assert all(deadline <= siege.world.now + 3600.0 for deadline in deadlines)
        assert timeout_ns > 0 or not deadlines
    siege.still_works()


@pytest.mark.parametrize("name", ["_serf_install-key", "_serf_use-key", "_serf_remove-key", "_serf_list-keys"])
def test_15_without_encryption_no_query_makes_a_keyring(name: str) -> None:
    siege = Siege()
    siege.says(query(name=name, payload=encode_key_request(OTHER_KEY)))
    siege.world.run_for(1.0)
    assert {node.stats()["encrypted"] for node in siege.nodes()} == {"false"}
    siege.still_works()


# 16: what a cluster does to itself; of two namesakes that both go see `namesakes-alone`


def test_16_the_last_other_member_objects_to_being_forced_out() -> None:
    siege = Siege(nodes=2)
    siege.world.force_leave("n0", "n1")
    siege.world.run_for(10.0)
    siege.still_works()


def test_16_lines_appended_to_an_unfinished_snapshot_line_are_not_glued_to_it() -> None:
    siege = Siege(snapshot=b"")
    world = siege.world
    for _ in range(2):
        world.crash("n1")
        world.hosts["n1"].disk.append((world.now, b"alive: n3 10.0."))
        world.run_for(0.2)
        restart_from_disk(world, "n1")
        siege.still_works()
    assert b"alive: n3 10.0.\n" in b"".join(lines for _, lines in world.hosts["n1"].disk)


def test_16_an_update_is_told_once() -> None:
    siege = Siege(member_period_s=3.0, member_quiescent_s=1.0)
    siege.world.command("n1", lambda id: SetTags(id, {"role": "web"}))
    siege.world.run_for(2.0)
    siege.world.command("n2", lambda id: SetTags(id, {"role": "web"}))
    siege.world.run_for(20.0)
    for host in siege.world.hosts.values():
        assert [kind for _, kind, name in host.events if name == "n1" and kind == MEMBER_UPDATE] == [MEMBER_UPDATE]
    siege.still_works()


def test_a_stranger_who_is_no_member_stays_none() -> None:
    siege = Siege()
    siege.says(encode_join(JoinIntent(9, "evil")), source=STRANGER)
    siege.syncs(PushPullState(9, {"evil": 9}, [], 1, 1))
    siege.still_works()
    assert all(node.member("evil") is None for node in siege.nodes())
