from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.errors import WireError
from gossipd.serf import messages as m
from tests.unit.serf.vectors import load, raw

VECTORS = load("messages.json")["messages"]
PUSH_PULLS = load("pushpull.json")["push_pull"]
ROBUSTNESS = {case["name"]: bytes.fromhex(case["hex"]) for case in load("robustness.json")["cases"]}


def expected(kind: int, d: dict | None) -> object:
    """The vector's fields as our message."""
    match kind:
        case m.LEAVE:
            return m.LeaveIntent(d["LTime"], d["Node"], d.get("Prune", False))
        case m.JOIN:
            return m.JoinIntent(d["LTime"], d["Node"])
        case m.USER_EVENT:
            return m.UserEventMessage(d["LTime"], d["Name"], raw(d["Payload"]), d["CC"])
        case m.QUERY:
            filters = None if d["Filters"] is None else [raw(f) for f in d["Filters"]]
            return m.QueryMessage(d["LTime"], d["ID"], raw(d["Addr"]), d["Port"], d["SourceNode"], d["Name"],
                                  raw(d["Payload"]), d["Timeout"], filters, d["Flags"], d["RelayFactor"])
        case m.QUERY_RESPONSE:
            return m.QueryResponse(d["LTime"], d["ID"], d["From"], d["Flags"], raw(d["Payload"]))
        case m.CONFLICT_RESPONSE:
            return d and m.ConflictAnswer(d["Name"], raw(d["Addr"]), d["Port"], d["Tags"], d["Status"], bytes(
                d[key] for key in ("ProtocolMin", "ProtocolMax", "ProtocolCur",
                                   "DelegateMin", "DelegateMax", "DelegateCur")))
        case m.KEY_REQUEST:
            return raw(d["Key"])
        case m.KEY_RESPONSE:
            return m.KeyResponse(d["Result"], d["Message"], d["Keys"], d["PrimaryKey"])
    raise AssertionError(kind)


DECODE = {m.CONFLICT_RESPONSE: m.decode_conflict_answer, m.KEY_REQUEST: m.decode_key_request,
          m.KEY_RESPONSE: m.decode_key_response}
ENCODE = {m.LEAVE: m.encode_leave, m.JOIN: m.encode_join, m.USER_EVENT: m.encode_user_event, m.QUERY: m.encode_query,
          m.QUERY_RESPONSE: m.encode_response, m.CONFLICT_RESPONSE: m.encode_conflict_answer,
          m.KEY_REQUEST: m.encode_key_request, m.KEY_RESPONSE: m.encode_key_response, m.RELAY: m.encode_relay}


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["type"] != m.RELAY], ids=lambda v: v["name"])
def test_a_message_of_the_reference_is_understood(vector):
    payload = bytes.fromhex(vector["hex"])
    assert DECODE.get(vector["type"], m.decode)(payload) == expected(vector["type"], vector["decoded"])


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["canonical_unsigned"]], ids=lambda v: v["name"])
def test_we_write_the_bytes_of_the_reference(vector):
    payload = bytes.fromhex(vector["hex"])
    assert ENCODE[vector["type"]](DECODE.get(vector["type"], m.decode)(payload)) == payload


@pytest.mark.parametrize("vector", [v for v in VECTORS if "payload_message" in v], ids=lambda v: v["name"])
def test_the_message_inside_a_payload_is_understood_and_written(vector):
    kind, payload = vector["payload_message"]["type"], m.decode(bytes.fromhex(vector["hex"])).payload
    message = DECODE[kind](payload)
    assert message == expected(kind, vector["payload_message"]["decoded"])
    assert ENCODE[kind](message) == payload


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["type"] == m.RELAY], ids=lambda v: v["name"])
def test_a_relay_carries_the_inner_message_untouched(vector):
    d = vector["decoded"]
    relay = m.decode(bytes.fromhex(vector["hex"]))
    assert relay == m.Relay(raw(d["DestAddr"]["IP"]), d["DestAddr"]["Port"], d["DestName"],
                            bytes.fromhex(vector["inner"]["hex"]))


@pytest.mark.parametrize("vector", PUSH_PULLS, ids=lambda v: v["name"])
def test_the_user_state_of_the_reference_is_understood(vector):
    d = vector["decoded"]
    events = d["Events"]["non_nil"] if d["Events"] else []
    assert m.decode_push_pull(bytes.fromhex(vector["hex"])) == m.PushPullState(
        d["LTime"], d["StatusLTimes"] or {}, d["LeftMembers"] or [], d["EventLTime"], d["QueryLTime"],
        [m.EventSlot(s["LTime"], [(e["Name"], raw(e["Payload"])) for e in s["Events"]]) for s in events])


@pytest.mark.parametrize("vector", PUSH_PULLS, ids=lambda v: v["name"])
def test_our_user_state_is_that_of_the_reference_without_the_empty_slots(vector):
    theirs = msgpack.unpackb(bytes.fromhex(vector["hex"])[1:])
    ours = m.encode_push_pull(m.decode_push_pull(bytes.fromhex(vector["hex"])))
    theirs["Events"] = [slot for slot in theirs["Events"] or [] if slot is not None]
    theirs["LeftMembers"] = theirs["LeftMembers"] or []
    theirs["StatusLTimes"] = theirs["StatusLTimes"] or {}
    assert ours == b"\x02" + msgpack.packb(theirs, use_bin_type=False)


@pytest.mark.parametrize("name", [
    "str8_and_bin_encodings", "bin_for_a_string_field", "unknown_extra_field", "missing_fields", "trailing_bytes",
    "nil_string", "timeout_zero", "timeout_negative", "addr_v4_mapped"])
def test_unusual_but_usable_bytes_are_accepted(name):
    assert isinstance(m.decode(ROBUSTNESS[name]), m.QueryMessage)


@pytest.mark.parametrize("name", [
    "array_instead_of_map", "float_ltime", "ltime_2_64_minus_1", "ltime_2_63", "unknown_type_42",
    "push_pull_type_as_user_message"])
def test_unusable_bytes_are_refused(name):
    with pytest.raises(WireError):
        m.decode(ROBUSTNESS[name])


def test_keys_in_the_wrong_case_are_no_keys():
    assert m.decode(ROBUSTNESS["wrong_case_keys"]).ltime == 0


def test_an_implausible_time_in_a_push_pull_spoils_nothing_else():
    state = m.decode_push_pull(m.encode_push_pull(m.PushPullState(1 << 63, {"a": (1 << 64) - 1, "b": 7}, [], 3, 4)))
    assert (state.ltime, state.event_ltime, state.query_ltime) == (0, 3, 4)
    assert state.status_ltimes == {"b": 7}


def test_names_longer_than_any_member_has_are_left_out_of_a_push_pull():
    names = ["bea", "x" * 4_000_000, "\U0001f600" * 200]
    state = m.PushPullState(1, dict.fromkeys(names, 1), names, 1, 1)
    read = m.decode_push_pull(m.encode_push_pull(state))
    assert list(read.status_ltimes) == read.left == ["bea"]


def test_a_push_pull_field_larger_than_its_bound_is_refused_unbuilt():
    bomb = b"\x02\x81\xabLeftMembers\xdd" + (1 << 22).to_bytes(4, "big") + b"\xc0" * (1 << 22)
    with pytest.raises(WireError, match="too large"):
        m.decode_push_pull(bomb)


def test_names_of_members_beyond_512_bytes_are_refused():
    with pytest.raises(WireError):
        m.decode(m.encode_join(m.JoinIntent(1, "n" * 513)))


def test_a_user_event_too_large_to_send_is_refused():
    with pytest.raises(WireError, match="too large"):
        m.decode(m.encode_user_event(m.UserEventMessage(1, "n", bytes(9216), False)))


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_or_a_wire_error(body):
    for kind in range(11):
        message = bytes([kind]) + body
        for decode in (m.decode, m.decode_push_pull, m.decode_conflict_answer, m.decode_key_request,
                       m.decode_key_response):
            try:
                decode(message)
            except WireError:
                pass


_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.binary(max_size=4), inner, max_size=3), max_leaves=6)
_KEY = st.sampled_from(b"""LTime Node Prune Events LeftMembers StatusLTimes Name Payload ID Filters Addr Port Timeout
    DestAddr Keys Tags EventLTime""".split())


@given(st.integers(0, 10), st.dictionaries(_KEY, _VALUE))
def test_any_values_in_known_fields_give_a_message_or_a_wire_error(kind, fields):
    test_any_bytes_give_a_message_or_a_wire_error.hypothesis.inner_test(msgpack.packb(fields, use_bin_type=False))
