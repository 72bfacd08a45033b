"""Queries: asking, answering, relaying, collecting."""

from __future__ import annotations

from random import Random

import pytest

from gossipd.commands import Decline, QueryAnswer, QueryOutcome, Respond, StartQuery
from gossipd.effects import Part, Reply
from gossipd.errors import CommandError, WireError
from gossipd.events import QueryEvent
from gossipd.serf.answers import PENDING_MAX
from gossipd.serf.messages import (
    ACK_FLAG,
    NO_BROADCAST_FLAG,
    LeaveIntent,
    QueryMessage,
    QueryResponse,
    Relay,
    decode,
    encode_conflict_answer,
    encode_leave,
    encode_query,
    encode_relay,
    encode_response,
)
from gossipd.serf.queryfilters import Filters, encode_filters
from gossipd.serf.tags import decode_tags
from tests.support.serf import SerfBench
from tests.unit.serf.vectors import load

ROBUSTNESS = {case["name"]: bytes.fromhex(case["hex"]) for case in load("robustness.json")["cases"]}


def with_peers(*names: str, **settings: object) -> SerfBench:
    bench = SerfBench(**settings)
    for name in names:
        bench.joins(name, {"role": name})
    bench.out.clear()
    return bench


def query_of(bench: SerfBench, asker: str, ltime: int = 1, id: int = 7, **fields: object) -> bytes:
    record = bench.lower.members.get(asker)
    query = QueryMessage(ltime, id, record.addr, record.port, asker, "load", None, 10**9)
    for name, value in fields.items():
        setattr(query, name, value)
    return encode_query(query)


def sent_query(bench: SerfBench) -> QueryMessage:
    return decode(bench.gossips()[0])


def answers(bench: SerfBench, query: QueryMessage, source: str, payload: bytes | None = None,
            ack: bool = False) -> None:
    response = QueryResponse(query.ltime, query.id, source, ACK_FLAG if ack else 0, payload)
    bench.hears(encode_response(response))


# answering

def test_a_query_is_acked_before_anybody_answers_and_offered_to_users():
    bench = with_peers("bea")
    assert bench.hears(query_of(bench, "bea", flags=ACK_FLAG, payload=b"p"))
    assert bench.sends() == [(("127.0.47.2", 7946), QueryResponse(1, 7, "me", ACK_FLAG))]
    assert bench.events() == [QueryEvent(1, "load", b"p", 1, "bea", bench.now + 1.0)]


@pytest.mark.parametrize("may_answer", [True, False])
def test_the_ack_says_whether_anybody_may_answer(may_answer):
    bench = with_peers("bea")
    asked = []
    bench.serf.answers.may_answer = lambda query: asked.append(query) or may_answer
    bench.hears(query_of(bench, "bea", flags=ACK_FLAG))
    assert bench.sends() == [(("127.0.47.2", 7946), QueryResponse(1, 7, "me", ACK_FLAG, None, not may_answer))]
    assert bench.events() == asked
    bench.hears(query_of(bench, "bea", id=8))       # no ack is wanted
    assert bench.sends() == [] and len(asked) == 1


def test_internal_queries_are_answered_whoever_follows_the_others():
    bench = with_peers("bea")
    bench.serf.answers.may_answer = lambda query: False
    bench.hears(query_of(bench, "bea", flags=ACK_FLAG, name="_serf_list-keys"))
    assert [sent.no_answer for _, sent in bench.sends()] == [False, False]


def test_who_will_not_answer_after_all_says_so_by_another_ack():
    bench = with_peers("bea")
    for id in (7, 8):
        bench.hears(query_of(bench, "bea", id=id, flags=ACK_FLAG if id == 7 else 0))
    one, without_ack = (event.id for event in bench.events())
    bench.sends()
    bench.asks(Decline(1, one))
    assert bench.sends() == [(("127.0.47.2", 7946), QueryResponse(1, 7, "me", ACK_FLAG, None, True))]
    bench.asks(Respond(2, one, b"but"))
    bench.sends()
    for number, id in enumerate((one, without_ack, 999), 3):
        bench.asks(Decline(number, id))
    bench.runs_until(bench.now + 1.1)
    bench.asks(Decline(6, one))
    assert bench.sends() == [] and [reply.id for reply in bench.replies()] == [1, 2, 3, 4, 5, 6]


def test_serf_would_read_the_same_of_an_ack_that_says_more():
    plain, more = (encode_response(QueryResponse(1, 7, "me", ACK_FLAG, None, said)) for said in (False, True))
    assert b"NoAnswer" not in plain
    assert more == plain.replace(b"\x85", b"\x86").replace(b"\xa7Payload", b"\xa8NoAnswer\xc3\xa7Payload")
    assert decode(more) == QueryResponse(1, 7, "me", ACK_FLAG, None, True)


def test_the_answer_goes_straight_to_who_asked_and_only_once():
    bench = with_peers("bea")
    bench.hears(query_of(bench, "bea"))
    bench.asks(Respond(9, bench.events()[0].id, b"1.02"))
    assert bench.sends() == [(("127.0.47.2", 7946), QueryResponse(1, 7, "me", 0, b"1.02"))]
    assert bench.replies() == [Reply(9)]
    with pytest.raises(CommandError, match="response already sent"):
        bench.asks(Respond(10, 1, b"again"))


def test_an_answer_after_the_deadline_is_refused():
    bench = with_peers("bea")
    bench.hears(query_of(bench, "bea"))
    bench.runs_until(bench.now + 1.1)
    with pytest.raises(CommandError, match="response is past the deadline"):
        bench.asks(Respond(9, 1, b"late"))
    assert bench.sends() == []


def test_an_answer_too_large_is_refused_naming_limit_and_size_and_may_be_tried_again():
    bench = with_peers("bea")
    bench.hears(query_of(bench, "bea"))
    with pytest.raises(CommandError, match="^response exceeds limit of 1024 bytes$") as refused:
        bench.asks(Respond(9, 1, bytes(1024)))
    assert refused.value.full == "response exceeds limit of 1024 bytes: 1063 bytes"
    bench.asks(Respond(9, 1, bytes(900)))
    assert len(bench.sends()) == 1


def test_of_a_second_answer_its_size_is_looked_at_first_as_in_serf():
    bench = with_peers("bea")
    bench.hears(query_of(bench, "bea"))
    bench.asks(Respond(9, 1, b"first"))
    for payload, complaint in ((bytes(1024), "response exceeds limit of 1024 bytes"), (b"x", "response already sent")):
        with pytest.raises(CommandError, match=f"^{complaint}$"):
            bench.asks(Respond(9, 1, payload))


@pytest.mark.parametrize("timeout_ns", [0, -1, -(1 << 63)])
def test_without_time_to_answer_there_is_only_the_ack(timeout_ns):
    bench = with_peers("bea")
    bench.hears(query_of(bench, "bea", flags=ACK_FLAG, timeout_ns=timeout_ns))
    assert len(bench.sends()) == 1 and len(bench.events()) == 1
    with pytest.raises(CommandError):
        bench.asks(Respond(9, 1, b"late"))


def test_a_query_that_waits_for_ever_is_forgotten_after_an_hour():
    bench = with_peers("bea")
    bench.hears(query_of(bench, "bea", timeout_ns=(1 << 63) - 1))
    assert bench.events()[0].deadline == bench.now + 3600.0
    bench.gossips()
    bench.runs_until(bench.now + 3600.0)
    with pytest.raises(CommandError):
        bench.asks(Respond(9, 1, b"late"))
    assert bench.serf.next_deadline() == float("inf")


def test_among_very_many_open_queries_the_newest_may_be_answered_and_answered_ones_are_forgotten_first():
    bench = with_peers("bea")
    for id in range(PENDING_MAX):
        bench.hears(query_of(bench, "bea", ltime=1 + id // 1000, id=id, timeout_ns=3600 * 10**9))
    numbers = [event.id for event in bench.events()]
    bench.asks(Respond(1, numbers[9], b"1"))
    for id in (1, 2):
        bench.hears(query_of(bench, "bea", ltime=9, id=id))
    for number in (numbers[1], *(event.id for event in bench.events())):
        bench.asks(Respond(1, number, b"1"))
    with pytest.raises(CommandError, match="past the deadline"):
        bench.asks(Respond(1, numbers[0], b"1"))
    assert len(bench.sends()) == 4
    bench.runs_until(bench.now + 3600.0)


def test_no_user_answers_an_internal_query():
    bench = with_peers("bea")
    bench.hears(query_of(bench, "bea", name="_serf_conflict", payload=b"me"))
    with pytest.raises(CommandError):
        bench.asks(Respond(1, 1, encode_conflict_answer(None)))
    assert bench.sends() == []


def test_a_query_for_others_is_passed_on_and_nothing_else():
    bench = with_peers("bea")
    assert bench.hears(query_of(bench, "bea", flags=ACK_FLAG, filters=encode_filters(["bea"], {})))
    assert not bench.hears(query_of(bench, "bea", flags=ACK_FLAG, filters=encode_filters(["bea"], {})))
    assert bench.sends() == [] and bench.events() == []


def test_tag_filters_look_at_all_our_tags_even_at_protocol_2():
    bench = with_peers("bea", protocol=2, tags={"role": "lb", "dc": "east"})
    bench.hears(query_of(bench, "bea", filters=encode_filters([], {"dc": "^ea"})))
    assert bench.told() == ["query:load@1"]


def test_a_query_may_ask_not_to_be_passed_on():
    bench = with_peers("bea")
    assert not bench.hears(query_of(bench, "bea", flags=NO_BROADCAST_FLAG))
    assert bench.told() == ["query:load@1"]


def test_queries_of_one_time_are_bounded():
    bench = with_peers("bea")
    fresh = [bench.hears(query_of(bench, "bea", id=id)) for id in range(1030)]
    assert fresh == [True] * 1024 + [False] * 6


# what strangers send (§18)

@pytest.mark.parametrize("case", ["filter_of_zero_bytes", "addr_of_3_bytes"])
def test_nothing_is_sent_for_a_query_that_cannot_be_answered(case):
    bench = SerfBench()
    assert bench.hears(ROBUSTNESS[case])
    assert bench.sends() == []


@pytest.mark.parametrize("case", ["str8_and_bin_encodings", "bin_for_a_string_field", "unknown_extra_field",
                                  "missing_fields", "trailing_bytes", "nil_string", "timeout_zero", "timeout_negative",
                                  "addr_v4_mapped", "unknown_internal_query", "list_keys_with_empty_payload"])
def test_what_the_reference_acks_is_acked(case):
    bench = SerfBench()
    assert bench.hears(ROBUSTNESS[case])
    to, ack = bench.sends()[0]
    assert to == ("127.0.22.99", 7946) and ack.is_ack


def test_internal_queries_are_never_shown_to_users():
    bench = with_peers("bea")
    for ltime, name in enumerate(("_serf_ping", "_serf_zzz", "_serf_conflict", "_serf_list-keys"), 1):
        bench.hears(query_of(bench, "bea", ltime=ltime, name=name))
    assert bench.events() == []


def test_answers_to_strangers_are_few():
    bench = with_peers("bea")
    for ltime in range(1, 201):
        bench.hears(query_of(bench, "bea", ltime=ltime, addr=bytes([127, 0, 99, 9]), flags=ACK_FLAG))
    assert len(bench.sends()) == 50
    bench.hears(query_of(bench, "bea", ltime=201, flags=ACK_FLAG))
    assert len(bench.sends()) == 1      # members are always answered


# relays

def test_answers_go_through_as_many_relays_as_were_asked_for():
    bench = with_peers("bea", "cal", "dan", "eve")
    bench.leaves("eve")
    bench.hears(query_of(bench, "bea", relay_factor=2, flags=ACK_FLAG))
    (to, ack), *relays = bench.sends()
    assert to == ("127.0.47.2", 7946) and len({to for to, _ in relays}) == 2
    assert {to[0] for to, _ in relays} <= {"127.0.47.2", "127.0.47.3", "127.0.47.4"}
    assert all(relay == Relay(bytes([127, 0, 47, 2]), 7946, "bea", encode_response(ack)) for _, relay in relays)


def test_there_are_no_relays_in_a_cluster_too_small_for_them():
    bench = with_peers("bea")
    bench.hears(query_of(bench, "bea", relay_factor=2, flags=ACK_FLAG))
    assert len(bench.sends()) == 1


def test_members_that_cannot_relay_are_not_asked_to():
    bench = with_peers("bea", "old")
    bench.lower.members.get("old").vsn = bytes([1, 4, 2, 2, 4, 4])
    bench.hears(query_of(bench, "bea", relay_factor=2, flags=ACK_FLAG))
    assert [to[0] for to, _ in bench.sends()] == ["127.0.47.2", "127.0.47.2"]


def test_an_answer_too_large_to_be_relayed_still_goes_straight():
    bench = with_peers("bea", "cal", query_response_bytes=100)
    bench.hears(query_of(bench, "bea", relay_factor=1))
    bench.asks(Respond(9, 1, bytes(50)))
    assert len(bench.sends()) == 1 and bench.replies() == [Reply(9)]


def test_a_relayed_answer_is_passed_on_untouched():
    bench = with_peers("bea")
    inner = encode_response(QueryResponse(1, 7, "cal", 0, b"x")) + b"trailing"
    bench.hears(encode_relay(Relay(bytes([127, 0, 47, 2]), 7946, "bea", inner)))
    assert [(sent.to, sent.data) for sent in bench.out] == [(("127.0.47.2", 7946), inner)]


@pytest.mark.parametrize("relay", [
    Relay(bytes([127, 0, 47, 2]), 7946, "bea", b"hello"),
    Relay(bytes([127, 0, 47, 2]), 7946, "bea", b""),
    Relay(bytes([127, 0, 47, 2]), 7946, "bea", encode_relay(Relay(bytes(4), 1, "bea", b"\x05\x80"))),
    Relay(bytes([127, 0, 47, 99]), 7946, "bea", b"\x05\x80"),
    Relay(bytes([127, 0, 47, 2]), 7947, "bea", b"\x05\x80"),
    Relay(bytes([127, 0, 47]), 7946, "bea", b"\x05\x80"),
], ids=["any bytes", "nothing", "a relay", "a stranger", "another port", "a short address"])
def test_nothing_else_is_relayed(relay):
    bench = with_peers("bea")
    with pytest.raises(WireError):
        bench.hears(encode_relay(relay))
    assert bench.out == []


def test_relaying_is_limited_in_rate():
    bench = with_peers("bea")
    relay = encode_relay(Relay(bytes([127, 0, 47, 2]), 7946, "bea", b"\x05\x80"))
    with pytest.raises(WireError, match="relay refused"):
        for _ in range(5000):
            bench.hears(relay)
    assert len(bench.out) == 2000


# asking

def test_a_question_goes_out_with_our_address_and_answers_come_back_as_parts():
    bench = with_peers("bea", "cal")
    bench.asks(StartQuery(3, "load", b"p", nodes=["bea", "me"], tags={"role": "b"}, ack=True, relay_factor=1,
                          timeout_s=2.0))
    query = sent_query(bench)
    assert query == QueryMessage(1, query.id, bytes([127, 0, 47, 1]), 7946, "me", "load", b"p", 2 * 10**9,
                                 encode_filters(["bea", "me"], {"role": "b"}), ACK_FLAG, 1)
    assert 0 <= query.id < 1 << 31 and bench.serf.clocks.query.time == 2
    answers(bench, query, "bea", ack=True)
    answers(bench, query, "bea", b"0.5")
    assert [part.value for part in bench.takes(Part)] == [QueryAnswer("bea", None, True, 1),
                                                          QueryAnswer("bea", b"0.5", False, 1)]
    bench.runs_until(bench.now + 1.9)
    assert bench.replies() == []
    bench.runs_until(bench.now + 0.2)
    assert bench.replies() == [Reply(3, QueryOutcome(["bea"], ["bea"], None))]


def test_we_ack_and_answer_our_own_question_without_packets():
    bench = with_peers("bea")
    bench.asks(StartQuery(3, "load", ack=True, relay_factor=1))
    bench.asks(Respond(4, bench.events()[0].id, b"mine"))
    assert [part.value for part in bench.takes(Part)] == [QueryAnswer("me", None, True, 1),
                                                          QueryAnswer("me", b"mine", False, 1)]
    assert bench.sends() == []


def test_repeated_late_foreign_and_unwanted_answers_are_dropped():
    bench = with_peers("bea", "cal")
    bench.asks(StartQuery(3, "load", timeout_s=1.0))
    query = sent_query(bench)
    answers(bench, query, "bea", b"1")
    answers(bench, query, "bea", b"2")
    answers(bench, query, "bea", ack=True)          # nobody asked for acks
    answers(bench, QueryMessage(1, query.id + 1, b"", 0, "", "", None, 0), "cal", b"3")
    bench.runs_until(bench.now + 1.0)
    answers(bench, query, "cal", b"4")
    assert [part.value.payload for part in bench.takes(Part)] == [b"1"]


def test_forged_names_cannot_fill_the_memory():
    bench = with_peers("bea")
    bench.asks(StartQuery(3, "load"))
    query = sent_query(bench)
    for number in range(500):
        answers(bench, query, f"forged{number}", b"x")
    assert len(bench.takes(Part)) == 64


@pytest.mark.parametrize(("members", "timeout_s"), [(1, 3.2), (9, 3.2), (10, 6.4), (99, 6.4), (100, 9.6)])
def test_the_default_timeout_follows_the_live_members(members, timeout_s):
    bench = SerfBench()
    for number in range(members + 1):
        bench.joins(f"n{number}")
    for number in range(2):
        bench.leaves(f"n{number}")
    assert bench.serf.asking.default_timeout_s() == pytest.approx(timeout_s)


def test_an_early_question_ends_when_everybody_asked_has_answered():
    bench = with_peers("bea", "cal", "dan", "eve")
    bench.leaves("dan")
    bench.asks(StartQuery(3, "load", nodes=["bea", "cal", "dan"], early=True))
    query = sent_query(bench)
    answers(bench, query, "bea", b"1")
    bench.runs_until(bench.now + 0.1)
    assert bench.replies() == []
    answers(bench, query, "cal", b"1")
    bench.runs_until(bench.now)
    assert bench.replies() == [Reply(3, QueryOutcome([], ["bea", "cal"], []))]


def test_an_early_question_does_not_wait_for_who_says_that_nobody_will_answer():
    bench = with_peers("bea", "cal")
    bench.asks(StartQuery(3, "load", nodes=["bea", "cal"], ack=True, early=True, timeout_s=1.0))
    query = sent_query(bench)
    answers(bench, query, "bea", ack=True)
    bench.hears(encode_response(QueryResponse(query.ltime, query.id, "cal", ACK_FLAG, None, True)))
    bench.runs_until(bench.now + 0.1)
    assert bench.replies() == []
    bench.hears(encode_response(QueryResponse(query.ltime, query.id, "bea", ACK_FLAG, None, True)))     # after all
    bench.runs_until(bench.now)
    assert bench.replies() == [Reply(3, QueryOutcome(["bea", "cal"], [], []))]
    assert [part.value.source for part in bench.takes(Part)] == ["bea", "cal"]


def test_an_early_question_does_not_wait_for_who_fails_meanwhile_and_says_so():
    bench = with_peers("bea", "cal")
    bench.asks(StartQuery(3, "load", tags={"role": "."}, early=True))
    answers(bench, sent_query(bench), "bea", b"1")
    bench.leaves("cal")
    bench.runs_until(bench.now)
    assert bench.replies() == [Reply(3, QueryOutcome([], ["bea"], ["cal"]))]


def test_who_only_acked_is_not_silent():
    bench = with_peers("bea", "cal")
    bench.asks(StartQuery(3, "load", nodes=["bea", "cal"], ack=True, early=True, timeout_s=1.0))
    answers(bench, sent_query(bench), "bea", ack=True)
    bench.runs_until(bench.now + 1.0)
    assert bench.replies() == [Reply(3, QueryOutcome(["bea"], [], ["cal"]))]


def test_a_ping_is_over_when_everybody_has_acked():
    bench = with_peers("bea")
    bench.asks(StartQuery(3, "_serf_ping", ack=True, early=True))
    answers(bench, sent_query(bench), "bea", ack=True)
    bench.runs_until(bench.now)
    assert bench.replies() == [Reply(3, QueryOutcome(["me", "bea"], [], []))]


def test_an_early_question_to_nobody_is_over_at_once():
    bench = with_peers("bea")
    bench.asks(StartQuery(3, "load", tags={"role": "nosuch"}, early=True))
    bench.runs_until(bench.now)
    assert bench.replies() == [Reply(3, QueryOutcome([], [], []))]


@pytest.mark.parametrize("tags", [{"role": r"\p{Latin}"}, {"role": "b{1000}?" * 11}, {f"t{n}": "" for n in range(9)}],
                         ids=["another engine's", "too large", "too many"])
def test_an_early_question_that_only_others_may_understand_lasts_until_its_deadline(tags):
    bench = with_peers("bea")
    bench.asks(StartQuery(3, "load", tags=tags, early=True, timeout_s=1.0))
    answers(bench, sent_query(bench), "bea", b"1")
    bench.runs_until(bench.now + 0.9)
    assert bench.replies() == [] and len(bench.takes(Part)) == 1
    bench.runs_until(bench.now + 0.2)
    assert bench.replies() == [Reply(3, QueryOutcome([], ["bea"], None))]


def test_an_early_question_whose_expression_takes_work_waits_for_all_that_match():
    bench, digits = SerfBench(), Random(1)
    for number in range(250):
        bench.joins(f"n{number}", {"id": f"{digits.getrandbits(256):064x}"})
    ids = {name: decode_tags(member.record.meta) for name, member in bench.serf.roster.table.items()}
    for expression in ("^[0-7]", "[0-9].{16}[a-c]{2}7", "[a-f].*[0-9]{4}.{6}[a-f]{3}"):
        filters = encode_filters([], {"id": expression})
        matching = {name for name, tags in ids.items() if Filters(filters).match(name, tags)}
        bench.asks(StartQuery(3, "load", tags={"id": expression}, early=True))
        asked = list(bench.serf.asking._running.values())[-1].asked
        assert matching and (asked is None or matching <= set(asked))


def test_an_early_question_waits_for_who_is_leaving_until_it_has_gone():
    bench = with_peers("bea", "cal")
    for name in ("bea", "cal"):
        bench.hears(encode_leave(LeaveIntent(5, name)))
    bench.gossips()
    bench.asks(StartQuery(3, "load", nodes=["bea", "cal"], early=True))
    query = next(q for q in map(decode, bench.gossips()) if isinstance(q, QueryMessage))
    answers(bench, query, "bea", b"1")
    bench.runs_until(bench.now + 0.1)
    assert bench.replies() == []
    bench.leaves("cal")
    bench.runs_until(bench.now)
    assert bench.replies() == [Reply(3, QueryOutcome([], ["bea"], ["cal"]))]


@pytest.mark.parametrize(("command", "settings", "complaint"), [
    (StartQuery(1, "q", bytes(1024)), {}, "^query exceeds limit of 1024 bytes$"),
    (StartQuery(1, "q"), {"protocol": 3}, "^Feature not supported$"),
    (StartQuery(1, "_serf_list-keys"), {}, "cannot contain the '_serf_' prefix"),
    (StartQuery(1, "_serf_ping", b"x"), {}, "cannot contain the '_serf_' prefix"),
    (StartQuery(1, "q", relay_factor=256), {}, "relay factor"),
], ids=["too large", "old protocol", "internal", "ping with payload", "relay factor"])
def test_questions_that_cannot_be_asked(command, settings, complaint):
    bench = SerfBench(**settings)
    with pytest.raises(CommandError, match=complaint):
        bench.asks(command)
    assert bench.gossips() == [] and bench.serf.next_deadline() == float("inf")


def test_a_query_too_large_names_its_size_besides():
    with pytest.raises(CommandError) as refused:
        SerfBench().asks(StartQuery(1, "q", bytes(1024)))
    assert refused.value.detail.removesuffix(" bytes").isdigit() and "limit of 1024 bytes: 11" in refused.value.full


def test_each_question_has_its_own_time():
    bench = SerfBench()
    for number in range(3):
        bench.asks(StartQuery(number, "load"))
    assert sorted(decode(message).ltime for message in bench.gossips()) == [1, 2, 3]
