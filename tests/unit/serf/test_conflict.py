"""Two nodes with one name."""

from __future__ import annotations

import pytest

from gossipd.effects import NameLost, Notice
from gossipd.serf.messages import (
    ConflictAnswer,
    QueryMessage,
    QueryResponse,
    decode,
    decode_conflict_answer,
    encode_conflict_answer,
    encode_query,
    encode_response,
)
from gossipd.swim.config import VERSIONS
from gossipd.wire.messages import Alive
from tests.support.serf import SerfBench
from tests.unit.serf.vectors import load

OURS, LOWER, HIGHER = bytes([127, 0, 47, 1]), bytes([127, 0, 46, 1]), bytes([127, 0, 48, 1])
ROBUSTNESS = {case["name"]: bytes.fromhex(case["hex"]) for case in load("robustness.json")["cases"]}


def rival(bench: SerfBench, addr: bytes = HIGHER, name: str = "me") -> None:
    existing = bench.lower.members.get(name)
    bench.serf.on_conflict(existing, Alive(9, name, addr, 7946, b"", VERSIONS), bench.now, bench.out)


def votes(bench: SerfBench, *addresses: bytes | None) -> None:
    """One answer for each, with the address under which its sender knows the name; then the vote ends."""
    query = decode(bench.gossips()[0])
    assert isinstance(query, QueryMessage) and (query.name, query.payload) == ("_serf_conflict", b"me")
    for number, addr in enumerate(addresses):
        known = addr and ConflictAnswer("me", addr, 7946, {}, 1, VERSIONS)
        payload = encode_conflict_answer(known)
        bench.hears(encode_response(QueryResponse(query.ltime, query.id, f"n{number}", 0, payload)))
    bench.runs_until(bench.now + 3.3)


@pytest.mark.parametrize(("known", "stays"), [
    ([OURS], True),
    ([HIGHER], False),
    ([OURS, OURS, HIGHER], True),
    ([OURS, HIGHER], False),            # no majority
    ([OURS, OURS, None, None], False),  # who does not know us does not vote for us
    ([bytes(10) + b"\xff\xff" + OURS], True),
], ids=str)
def test_the_majority_decides(known, stays):
    bench = SerfBench()
    rival(bench)
    votes(bench, *known)
    assert (bench.takes(NameLost) == []) is stays and (bench.serf.conflict.lost == "") is stays


def test_the_loser_says_why():
    bench = SerfBench()
    rival(bench)
    votes(bench, HIGHER, HIGHER, OURS)
    assert bench.takes(NameLost) == [NameLost("lost the name 'me' to 127.0.48.1:7946: 1 of 3 votes")]


def test_a_loser_that_stays_has_another_vote_when_it_meets_the_rival_again():
    bench = SerfBench()
    rival(bench)
    votes(bench, HIGHER)
    rival(bench)
    assert len(bench.takes(NameLost)) == 1 and bench.gossips() == []
    bench.runs_until(bench.now + 121.0)
    assert bench.serf.conflict.lost != ""
    rival(bench)
    votes(bench, OURS)
    assert bench.serf.conflict.lost == ""


def test_a_loser_that_stays_has_its_name_again_when_the_rival_is_gone():
    bench = SerfBench()
    rival(bench)
    votes(bench, HIGHER)
    bench.runs_until(bench.now + 121.0)
    assert bench.serf.conflict.lost == "" and "the rival is gone" in bench.takes(Notice)[-1].text


def test_unreadable_answers_are_no_votes():
    bench = SerfBench()
    rival(bench)
    query = decode(bench.gossips()[0])
    bench.hears(encode_response(QueryResponse(query.ltime, query.id, "n", 0, b"garbage")))
    bench.runs_until(bench.now + 3.3)
    assert bench.takes(NameLost) == []


def test_of_two_alone_the_one_with_the_lower_address_stays():
    for addr, stays in ((HIGHER, True), (LOWER, False)):
        bench = SerfBench()
        for _ in range(3):
            rival(bench, addr)
            bench.runs_until(bench.now + 10.0)
        assert (bench.takes(NameLost) == []) is stays


def test_alone_with_a_rival_that_goes_by_itself_nobody_else_goes():
    bench = SerfBench()
    for _ in range(4):
        rival(bench, LOWER)
        bench.runs_until(bench.now + 1.2)       # such a rival is gone once its vote of 3.2 s has ended
    bench.runs_until(bench.now + 3600.0)
    assert bench.takes(NameLost) == []


def test_votes_without_voters_that_are_far_apart_do_not_add_up():
    bench = SerfBench()
    for _ in range(4):
        rival(bench, LOWER)
        bench.runs_until(bench.now + 3600.0)
    assert bench.takes(NameLost) == []


def test_one_vote_at_a_time():
    bench = SerfBench()
    for _ in range(5):
        rival(bench)
    assert len(bench.gossips()) == 1
    votes_before = bench.serf.clocks.query.time
    bench.runs_until(bench.now + 3.3)
    rival(bench)
    assert bench.serf.clocks.query.time == votes_before + 1


def test_the_conflicts_of_others_are_only_logged():
    bench = SerfBench()
    bench.joins("bea")
    rival(bench, name="bea")
    assert "name='bea'" in bench.takes(Notice)[0].text and bench.gossips() == []


def test_resolution_can_be_switched_off():
    bench = SerfBench(resolve_name_conflicts=False)
    rival(bench)
    assert bench.gossips() == []


# the voters

def asked_about(bench: SerfBench, name: bytes) -> list[bytes]:
    record = bench.lower.members.get("bea")
    bench.hears(encode_query(QueryMessage(1, 1, record.addr, 7946, "bea", "_serf_conflict", name, 10**9)))
    return [response.payload for _, response in bench.sends()]


def test_a_voter_tells_the_member_that_it_knows():
    bench = SerfBench()
    bench.joins("bea")
    bench.joins("cal", {"role": "db"})
    bench.out.clear()
    (payload,) = asked_about(bench, b"cal")
    known = ConflictAnswer("cal", bytes([127, 0, 47, 3]), 7946, {"role": "db"}, 1, VERSIONS)
    assert decode_conflict_answer(payload) == known


def test_a_voter_that_knows_nobody_of_that_name_says_so():
    bench = SerfBench()
    bench.hears(ROBUSTNESS["conflict_query_unknown_node"])
    assert [response.payload for _, response in bench.sends() if not response.is_ack] == [b"\x06\xc0"]


def test_a_contender_stays_silent():
    bench = SerfBench()
    bench.joins("bea")
    bench.out.clear()
    assert asked_about(bench, b"me") == []
