"""Keys of the whole cluster: what this node does to its ring, and what a user hears of all of them."""

from __future__ import annotations

from base64 import b64encode

import pytest

from gossipd.commands import ChangeKeys, KeyOutcome
from gossipd.effects import ERROR, INFO, Notice, Reply
from gossipd.errors import CommandError
from gossipd.serf.keeping import CHANGES_MAX
from gossipd.serf.keys import QUERY_OF
from gossipd.serf.messages import (
    KeyResponse,
    QueryMessage,
    QueryResponse,
    decode,
    decode_key_response,
    encode_key_request,
    encode_key_response,
    encode_query,
    encode_response,
)
from gossipd.wire.secure import Keyring
from tests.support.serf import SerfBench, SlowDisk
from tests.unit.serf.vectors import load

ONE, TWO, SHORT = bytes(range(32)), bytes(range(32, 64)), bytes(16)
ROBUSTNESS = {case["name"]: bytes.fromhex(case["hex"]) for case in load("robustness.json")["cases"]}


def node(*keys: bytes, **settings: object) -> SerfBench:
    bench = SerfBench(keyring=Keyring(keys) if keys else None, **settings)
    bench.joins("bea")
    bench.out.clear()
    return bench


def asked(bench: SerfBench, action: str, payload: bytes) -> KeyResponse:
    """What the node answers to a key query."""
    record = bench.lower.members.get("bea")
    ltime = bench.serf.clocks.query.time
    bench.hears(encode_query(QueryMessage(ltime, 1, record.addr, record.port, "bea", QUERY_OF[action], payload, 10**9)))
    return decode_key_response(bench.sends()[0][1].payload)


def keys(bench: SerfBench) -> list[bytes]:
    return bench.serf._key_answers._keyring.keys


# this node

def test_a_key_is_rotated_by_install_use_remove():
    bench = node(ONE)
    assert asked(bench, "install", encode_key_request(TWO)) == KeyResponse(True) and keys(bench) == [ONE, TWO]
    assert asked(bench, "install", encode_key_request(TWO)) == KeyResponse(True) and keys(bench) == [ONE, TWO]
    assert asked(bench, "use", encode_key_request(TWO)) == KeyResponse(True) and keys(bench) == [TWO, ONE]
    assert asked(bench, "remove", encode_key_request(ONE)) == KeyResponse(True) and keys(bench) == [TWO]
    assert asked(bench, "remove", encode_key_request(ONE)) == KeyResponse(True) and keys(bench) == [TWO]


@pytest.mark.parametrize(("action", "key", "message"), [
    ("install", b"short", "key size must be 16, 24 or 32 bytes"),
    ("use", TWO, "Requested key is not in the keyring"),
    ("remove", ONE, "Removing the primary key is not allowed"),
])
def test_what_cannot_be_done_to_the_ring_is_answered_so(action, key, message):
    bench = node(ONE)
    assert asked(bench, action, encode_key_request(key)) == KeyResponse(False, message) and keys(bench) == [ONE]


def test_the_refusal_of_the_reference_is_ours():
    vector = next(v for v in load("messages.json")["messages"] if v["name"] == "response_key_error_1")
    assert asked(node(ONE), "remove", encode_key_request(ONE)) == decode_key_response(
        decode(bytes.fromhex(vector["hex"])).payload)


@pytest.mark.parametrize("payload", [b"", b"\x07", b"\x07\xc1", b"\x07\x81\xa3Key\x01"])
def test_an_unreadable_request_changes_nothing(payload):
    bench = node(ONE)
    assert asked(bench, "install", payload) == KeyResponse(False) and keys(bench) == [ONE]


def test_the_query_that_crashes_the_reference_is_answered():
    bench = node(ONE)
    bench.hears(ROBUSTNESS["key_query_with_empty_payload"])
    assert [answer.is_ack for _, answer in bench.sends()] == [True, False]


@pytest.mark.parametrize("action", ["install", "use", "remove"])
def test_without_encryption_no_query_makes_a_keyring(action):
    for bench in (node(), SerfBench(keyring=Keyring())):
        bench.joins("bea")
        bench.out.clear()
        response = asked(bench, action, encode_key_request(ONE))
        assert response == KeyResponse(False, "No keyring to modify (encryption not enabled)")


@pytest.mark.parametrize(("ring", "action", "key", "lines"), [
    ([ONE], "install", TWO, [(INFO, "Received install-key query")]),
    ([ONE], "list", b"", [(INFO, "Received list-keys query")]),
    ([ONE], "install", SHORT[:3], [(INFO, "Received install-key query"),
                                   (ERROR, "Failed to install key: key size must be 16, 24 or 32 bytes")]),
    ([ONE], "use", TWO, [(INFO, "Received use-key query"),
                         (ERROR, "Failed to change primary key: Requested key is not in the keyring")]),
    ([ONE], "remove", ONE, [(INFO, "Received remove-key query"),
                            (ERROR, "Failed to remove key: Removing the primary key is not allowed")]),
    ([], "use", ONE, [(ERROR, "No keyring to modify (encryption not enabled)")]),
    ([], "list", b"", [(ERROR, "Keyring is empty (encryption not enabled)")]),
])
def test_what_is_asked_of_the_ring_is_in_the_log_in_serfs_words(ring, action, key, lines):
    bench = node(*ring)
    asked(bench, action, encode_key_request(key))
    assert bench.takes(Notice) == [Notice(level, text, as_serf=True) for level, text in lines]


def sent(bench: SerfBench, action: str, key: bytes, id: int) -> None:
    record = bench.lower.members.get("bea")
    ltime = bench.serf.clocks.query.time
    bench.hears(encode_query(QueryMessage(
        ltime, id, record.addr, record.port, "bea", QUERY_OF[action], encode_key_request(key), 10**9)))


def test_a_key_is_kept_before_it_counts_and_a_failure_to_keep_it_changes_nothing():
    ring, disk = Keyring([ONE]), SlowDisk()
    bench = SerfBench(keyring=ring, save_keys=disk.save)
    bench.joins("bea")
    bench.out.clear()
    sent(bench, "install", TWO, 1)
    [(after, kept)] = disk.asked
    assert after == [ONE, TWO] and ring.keys == [ONE] and bench.sends() == []
    kept("disk full", bench.now, bench.out)
    assert decode_key_response(bench.sends()[0][1].payload) == KeyResponse(False, "disk full") and ring.keys == [ONE]
    assert Notice(ERROR, "Failed to install key: disk full", as_serf=True) in bench.out
    assert asked(bench, "install", encode_key_request(ONE)) == KeyResponse(True) and len(disk.asked) == 1


def test_changes_that_come_while_the_disk_is_slow_happen_in_their_order_and_listings_do_not_wait():
    ring, disk = Keyring([ONE]), SlowDisk()
    bench = SerfBench(keyring=ring, save_keys=disk.save)
    bench.joins("bea")
    bench.out.clear()
    for id, (action, key) in enumerate((("install", TWO), ("use", TWO), ("use", TWO), ("remove", ONE)), 1):
        sent(bench, action, key, id)
    assert asked(bench, "list", b"").keys == [b64encode(ONE).decode()]
    for ring_then in ([ONE, TWO], [TWO, ONE], [TWO]):
        after, kept = disk.asked[-1]
        assert after == ring_then
        kept("", bench.now, bench.out)
        assert ring.keys == ring_then
    assert [answer.id for _, answer in bench.sends()] == [1, 2, 3, 4] and len(disk.asked) == 3


def test_on_a_disk_that_hangs_only_so_many_changes_wait_and_answers_too_late_are_none():
    disk = SlowDisk()
    bench = SerfBench(keyring=Keyring([ONE]), save_keys=disk.save)
    bench.joins("bea")
    bench.out.clear()
    for id in range(CHANGES_MAX + 1):
        sent(bench, "install", TWO, id + 1)
    [(_, answer)] = bench.sends()
    assert answer.id == CHANGES_MAX + 1 and "too many" in decode_key_response(answer.payload).message
    bench.out.clear()
    bench.runs_until(bench.now + 60.0)
    disk.asked[0][1]("", bench.now, bench.out)
    assert bench.sends() == [] and keys(bench) == [ONE, TWO]


def test_a_listing_gives_all_keys_primary_first():
    text = [b64encode(key).decode() for key in (TWO, ONE)]
    assert asked(node(TWO, ONE), "list", encode_key_request(b"")) == KeyResponse(True, "", text, text[0])
    assert asked(node(TWO, ONE), "list", b"").keys == text
    assert asked(node(), "list", b"") == KeyResponse(False, "Keyring is empty (encryption not enabled)")


def test_a_listing_too_long_for_an_answer_is_cut():
    ring = [bytes([number]) * 32 for number in range(25)]
    response = asked(node(*ring), "list", b"")
    shown = len(response.keys)
    assert response.result and 17 <= shown <= 19
    assert response.message == f"truncated key list response, showing first {shown} of 25 keys"
    size = len(encode_response(QueryResponse(1, 1, "me", 0, encode_key_response(response))))
    assert 1024 - 46 < size <= 1024


# all nodes

def answers(bench: SerfBench, source: str, response: KeyResponse | bytes) -> None:
    query = next(q for q in map(decode, bench.gossips()) if isinstance(q, QueryMessage))
    payload = response if isinstance(response, bytes) else encode_key_response(response)
    bench.hears(encode_response(QueryResponse(query.ltime, query.id, source, 0, payload)))
    bench.runs_until(bench.now)


def test_a_change_is_over_when_everybody_did_it():
    bench = node(ONE)
    bench.asks(ChangeKeys(5, "install", TWO))
    answers(bench, "bea", KeyResponse(True))
    assert bench.replies() == [Reply(5, KeyOutcome(2, 2, done=["me", "bea"]))] and keys(bench) == [ONE, TWO]


def test_the_answer_of_a_stranger_takes_nobodys_place():
    bench = node(ONE)
    bench.asks(ChangeKeys(5, "install", TWO))
    answers(bench, "stranger", KeyResponse(True))
    assert bench.replies() == []
    bench.runs_until(bench.now + 10.0)
    reply = bench.replies()[0]
    assert reply.error == "1/2 nodes reported success" and reply.result.silent == ["bea"]


def test_a_listing_counts_on_how_many_nodes_a_key_is():
    bench = node(ONE)
    bench.asks(ChangeKeys(5, "list"))
    one, two = (b64encode(key).decode() for key in (ONE, TWO))
    answers(bench, "bea", KeyResponse(True, "note", [two, one], two))
    assert bench.replies() == [Reply(5, KeyOutcome(2, 2, 0, {"bea": "note"}, {one: 2, two: 1}, {one: 1, two: 1},
                                                    ["me", "bea"]))]


def test_failures_are_counted_with_their_reasons():
    bench = node(ONE)
    bench.joins("cal")
    bench.asks(ChangeKeys(5, "remove", TWO))
    query = decode(bench.gossips()[0])
    for source, payload in (("bea", encode_key_response(KeyResponse(False, "no"))), ("cal", b"garbage")):
        bench.hears(encode_response(QueryResponse(query.ltime, query.id, source, 0, payload)))
    bench.runs_until(bench.now)
    (reply,) = bench.replies()
    assert reply.error == "2/3 nodes reported failure" and reply.result.messages["bea"] == "no"


def test_nodes_that_say_nothing_are_missed_at_the_deadline():
    bench = node(ONE)
    bench.asks(ChangeKeys(5, "use", ONE))
    bench.runs_until(bench.now + 3.3)
    (reply,) = bench.replies()
    assert reply.error == "1/2 nodes reported success" and reply.result.responses == 1


def test_changes_take_turns():
    bench = node(ONE)
    bench.asks(ChangeKeys(5, "install", TWO))
    bench.asks(ChangeKeys(6, "use", TWO))
    assert keys(bench) == [ONE, TWO]
    answers(bench, "bea", KeyResponse(True))
    assert [reply.id for reply in bench.replies()] == [5] and keys(bench) == [TWO, ONE]
    bench.runs_until(bench.now + 3.3)
    assert [reply.id for reply in bench.replies()] == [6]


@pytest.mark.parametrize("command", [ChangeKeys(1, "install", bytes(1024)), ChangeKeys(1, "melt", ONE)],
                         ids=["more than a query takes", "unknown"])
def test_what_cannot_be_asked_is_not_asked(command):
    bench = node(ONE)
    with pytest.raises(CommandError):
        bench.asks(command)
    assert bench.gossips() == []


@pytest.mark.parametrize(("action", "complaint"), [
    ("install", "key size must be 16, 24 or 32 bytes"), ("use", "Requested key is not in the keyring"), ("remove", ""),
])
def test_a_key_of_no_size_is_asked_of_all_and_each_says_what_serf_says(action, complaint):
    bench = node(ONE)
    bench.asks(ChangeKeys(5, action, b"short"))
    bench.runs_until(bench.now + 3.3)
    outcome = bench.replies()[0].result
    assert outcome.messages == ({"me": complaint} if complaint else {})
    assert keys(bench) == [ONE]
