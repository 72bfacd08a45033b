"""Announcing, asking, answering and hearing, in virtual time and without sockets."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.mdns.discovery import HOST_ADDRESSES_MAX, Ask, Tell
from gossipd.mdns.messages import ANY, PTR, SRV, TXT, A, Packet, Question, Record, encode
from gossipd.mdns.service import SERVICES, Service, service_name
from tests.unit.mdns.fakes import ETH0, ETH0_V6, ETH1, LO, OWN, Host, asked, joined, of, other, packet, told

NAME = service_name("app")
SERF_ASKS = encode(Packet(id=0x1234, questions=[Question(NAME, PTR)]))
SERF_PORT = ("192.0.2.2", 40000)
BOTH = ("192.0.2.2", 5353)


def node(number: int = 2) -> Service:
    return Service("app", f"n{number}", (f"192.0.2.{number}", 7946))


# --- announcing and asking ---

def test_at_start_it_announces_itself_three_times_on_every_link():
    host = Host(ETH0, ETH0_V6)
    actions = of(host.run(20.0), Tell)
    assert host.when(Tell) == [0.0, 0.0, 1.0, 1.0, 3.0, 3.0]
    assert [action.link for action in actions] == 3 * [ETH0, ETH0_V6] and {action.to for action in actions} == {None}
    assert [record.type for record in told(actions)[0].records] == [PTR, SRV, A, TXT]


def test_it_asks_at_start_and_less_and_less_often_while_alone():
    host = Host()
    actions = host.run(400.0)
    assert set(asked(actions)[0].questions) == {Question(NAME, PTR)}
    times = host.when(Ask)
    assert 0.02 <= times[0] <= 0.12
    pauses = [later - earlier for earlier, later in pairwise(times)]
    nominal = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert [round(pause / wanted, 1) in (0.9, 1.0, 1.1)
            for pause, wanted in zip(pauses, nominal, strict=False)] == len(nominal) * [True]


@pytest.mark.parametrize(("members", "longest"), [
    ({("192.0.2.2", 1): "alive"}, 300), ({("192.0.2.2", 1): "alive", ("192.0.2.3", 1): "failed"}, 60),
    ({(f"192.0.2.{n}", 1): "alive" for n in range(250)}, 500),
    ({**{(f"192.0.2.{n}", 1): "alive" for n in range(250)}, ("192.0.3.1", 1): "failed"}, 250),
])
def test_how_often_it_asks_in_the_long_run_depends_on_the_cluster(members, longest):
    host = Host()
    host.cluster.members = members
    host.run(5000.0)
    times = host.when(Ask)
    assert 0.9 * longest <= times[-1] - times[-2] <= 1.1 * longest


def test_each_question_has_a_number_of_its_own_and_is_the_same_on_all_links():
    actions = asked(Host(ETH0, ETH1).run(10.0))
    assert [one.id for one in actions[::2]] == [one.id for one in actions[1::2]]
    assert len({one.id for one in actions}) == len(actions) / 2


def test_a_new_link_is_told_and_asked_at_once_and_flapping_ones_are_not():
    host = Host()
    host.run(100.0)
    host.machine.set_links([ETH0, ETH1], 100.0)
    assert ETH1 in [action.link for action in of(host.run(100.2), Tell)]
    host.run(110.0)
    for flap in range(20):
        host.machine.set_links([ETH0, ETH1][:1 + flap % 2], 110.0 + flap / 100)
        host.run(110.0 + flap / 100)
    assert len([at for at in host.when(Tell) if at >= 110.0]) <= 2
    host.machine.set_links([], 120.0)
    assert host.run(400.0) == [] and host.machine.next_deadline() > 400.0


def test_a_loopback_address_is_told_on_loopback_only():
    host = Host(ETH0, LO, own=("127.0.0.1", 7946))
    assert {action.link for action in of(host.run(5.0), Tell)} == {LO}
    assert host.hear(SERF_ASKS, SERF_PORT) == []
    assert len(host.hear(SERF_ASKS, ("127.0.0.1", 40000), LO)) == 1


def test_a_goodbye_goes_to_all_links():
    host, out = Host(ETH0, ETH1), []
    host.machine.goodbye(out)
    assert [action.link for action in out] == [ETH0, ETH1]
    assert {record.ttl for one in told(out) for record in one.records} == {0}


def test_somebody_who_wants_to_know_makes_it_ask_but_once_a_second():
    host, out = Host(), []
    host.run(30.0)
    for now in (30.0, 30.1, 30.9, 31.0):
        host.machine.ask_soon(now, out)
    assert len(asked(out)) == 2


# --- answering ---

def test_serfs_question_is_answered_to_its_port_in_serfs_order():
    answer, = host_answers = of(Host().hear(SERF_ASKS, SERF_PORT), Tell)
    assert answer.to == SERF_PORT
    one = told(host_answers)[0]
    assert [record.type for record in one.records] == [PTR, SRV, A, TXT]
    assert (one.id, one.questions) == (0x1234, [Question(NAME, PTR)]), "RFC 6762 §6.7"
    assert b"\x80\x01" not in answer.data, "no bits that only mDNS knows"


def test_a_question_by_mdns_is_answered_to_all_after_a_moment_and_once():
    host = Host()
    host.run(10.0)
    for source in (("192.0.2.2", 5353), ("192.0.2.3", 5353)):
        assert host.hear(SERF_ASKS, source) == []
    answers = of(host.run(10.5), Tell)
    assert [answer.to for answer in answers] == [None] and told(answers)[0].id == 0
    assert 10.02 <= host.when(Tell)[-1] <= 10.12
    host.hear(SERF_ASKS, BOTH)
    host.run(12.0)
    assert host.when(Tell)[-1] >= host.when(Tell)[-2] + 1.0, "RFC 6762 §6: once a second"


def test_who_wants_an_answer_alone_gets_it():
    ask = encode(Packet(id=7, questions=[Question(NAME, PTR, unicast=True)]))
    answers = of(Host().hear(ask, BOTH), Tell)
    assert [answer.to for answer in answers] == [BOTH]
    assert (told(answers)[0].id, told(answers)[0].questions) == (0, [])


def test_several_questions_have_one_answer_without_repetitions():
    service = Host().machine.service
    ask = encode(Packet(questions=[Question(service.instance, SRV), Question(service.instance, TXT),
                                   Question(service.host, A), Question(SERVICES, PTR)]))
    answers = told(Host().hear(ask, SERF_PORT))
    assert [record.type for record in answers[0].records] == [SRV, A, TXT, PTR]


def test_who_knows_us_for_long_enough_gets_no_answer():
    host = Host()
    known = host.machine.service.pointer
    for ttl, answers in ((60, 0), (59, 1)):
        ask = encode(Packet(questions=[Question(NAME, PTR)], records=[replace(known, ttl=ttl)]))
        assert len(host.hear(ask, SERF_PORT)) == answers
    stranger = encode(Packet(questions=[Question(NAME, PTR)], records=[node().pointer]))
    assert len(host.hear(stranger, SERF_PORT)) == 1


@pytest.mark.parametrize("source", [("203.0.113.9", 40000), ("8.8.8.8", 5353)])
def test_a_forged_sender_gets_nothing_sent(source):
    ask = encode(Packet(questions=[Question(NAME, PTR, unicast=True)]))
    assert Host().hear(ask, source) == []


def test_answers_to_single_askers_have_a_limit():
    host = Host()
    answers = sum(len(host.hear(encode(Packet(id=n, questions=[Question(NAME, PTR)])), SERF_PORT)) for n in range(1000))
    assert answers == 100
    host.now = 10.0
    assert len(host.hear(SERF_ASKS, SERF_PORT)) == 1


@pytest.mark.parametrize("question", [
    Question(service_name("other"), PTR), Question(service_name("APP"), PTR), Question(NAME, SRV),
    Question((b"_printer", b"_tcp", b"local"), ANY), Question(node().instance, ANY),
])
def test_other_questions_are_not_ours(question):
    assert Host().hear(encode(Packet(questions=[question])), SERF_PORT) == []


# --- hearing ---

def test_a_member_heard_of_is_joined_after_a_moment():
    host = Host()
    host.hear(other(2), at=5.0)
    assert joined(host.run(5.09)) == []
    assert joined(host.run(5.2)) == [[("192.0.2.2", 7946)]]


@pytest.mark.parametrize(("name", "cluster", "link", "source", "expected"), [
    ("discover-ipv4", "test", ETH0, "192.0.2.11", ("192.0.2.11", 7946)),
    ("discover-ipv6", "six", ETH0_V6, "fe80::1%2", ("2001:db8::11", 7946)),
])
def test_a_serf_agents_answer_is_understood(name, cluster, link, source, expected):
    vectors = json.loads((Path(__file__).parents[2] / f"vectors/mdns/{name}.json").read_text())["packets"]
    answer = next(vector for vector in vectors if vector["decoded"]["answers"])
    host = Host(link, cluster=cluster)
    host.hear(bytes.fromhex(answer["hex"]), (source, 5353), link, to_all=False)
    assert joined(host.run(1.0)) == [[expected]]
    peer, = host.machine.peers.listed(1.0)
    assert peer.name in ("alpha", "alpha6") and peer.interfaces == {"eth0": 0.0} and peer.source == source


def test_an_announcement_with_everything_in_additional_records_is_understood():
    """As other responders send it: only the PTR record is an answer, bits of mDNS are set, the TXT record is empty."""
    records = [*node().records[:3], replace(node().about, strings=(b"",))]
    data = bytearray(encode(Packet(response=True, records=records)))
    data[6:8], data[10:12] = b"\0\x01", b"\0\x03"
    host = Host()
    host.hear(bytes(data))
    assert joined(host.run(1.0)) == [[("192.0.2.2", 7946)]]


def test_a_name_of_several_labels_is_one_with_dots():
    instance = (b"db 1", b"example", *NAME)
    host = Host()
    host.hear(packet(replace(node().server, name=instance), node().place))
    assert host.machine.peers.listed(1.0)[0].name == "db 1.example"


def test_of_a_host_with_many_servers_and_addresses_only_some_addresses_count():
    """All by all would be ten thousand peers of one packet."""
    host, there = Host(), (b"h", b"local")
    servers = [Record((b"n%d" % port, *NAME), SRV, 120, there, port) for port in range(1, 101)]
    addresses = [Record(there, A, 120, host=f"192.0.2.{number}") for number in range(2, 102)]
    host.hear(packet(*servers, *addresses))
    assert len(host.machine.peers.listed(host.now)) == 100 * HOST_ADDRESSES_MAX


def test_hosts_heard_of_together_are_one_join():
    host = Host()
    host.hear(other(2), at=5.0)
    host.hear(other(3), ("192.0.2.3", 5353), at=5.05)
    assert [sorted(addresses) for addresses in joined(host.run(6.0))] == [[("192.0.2.2", 7946), ("192.0.2.3", 7946)]]


def test_it_does_not_hear_itself():
    host = Host()
    for action in host.run(10.0):
        host.hear(action.data, (OWN[0], 5353 if isinstance(action, Tell) else 40000))
    host.hear(host.machine.service.announcement()[:-1] + b"!", (OWN[0], 5353))      # as another program has it
    assert host.machine.peers.listed(10.0) == [] and joined(host.run(20.0)) == []
    assert len(of([action for _, action in host.done], Tell)) == 3, "nor answer itself"


@pytest.mark.parametrize("data", [
    Service("other", "bob", ("192.0.2.2", 7946)).announcement(),
    Service("APP", "bob", ("192.0.2.2", 7946)).announcement(),
    packet(Record((b"Laser", b"_printer", b"_tcp", b"local"), SRV, 120, target=node().host, port=631), node().place),
    packet(Record((b"_serf_app", b"_udp", b"local"), SRV, 120, target=node().host, port=7946), node().place),
    packet(Record(NAME, SRV, 120, target=node().host, port=7946), node().place),
    packet(node().server, replace(node().place, name=(b"elsewhere", b"local"))),
    packet(node().server), packet(node().place), packet(),
    packet(replace(node().server, port=0), node().place),
    packet(replace(node().server, ttl=0), node().place),
    packet(node().server, replace(node().place, ttl=0)),
], ids=range(12))
def test_nothing_is_joined_that_is_not_a_whole_member_of_this_cluster(data):
    host = Host()
    host.hear(data)
    assert joined(host.run(30.0)) == [] and host.machine.peers.listed(30.0) == []


@pytest.mark.parametrize("address", [
    "0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.251", "239.1.1.1", "255.255.255.255", "240.0.0.1", "192.0.2.255",
    "::", "::1", "ff02::fb", "fe80::1", "::ffff:192.0.2.9",
])
def test_addresses_that_no_member_can_have_are_not_joined(address):
    host = Host()
    host.hear(other(host=address))
    assert joined(host.run(10.0)) == [] and host.counters["mdns address of no use"] == 1


@pytest.mark.parametrize("address", ["192.0.2.9", "10.0.0.1", "8.8.8.8", "169.254.1.1", "2001:db8::9", "fd00::1"])
def test_addresses_that_a_member_can_have_are_joined(address):
    host = Host()
    host.hear(other(host=address))
    assert joined(host.run(1.0)) == [[(address, 7946)]]


def test_on_loopback_loopback_addresses_are_fine():
    host = Host(LO, own=("127.0.0.1", 7946))
    host.hear(other(host="127.0.0.1", port=7947), ("127.0.0.1", 5353), LO)
    assert joined(host.run(1.0)) == [[("127.0.0.1", 7947)]]


@pytest.mark.parametrize(("families", "expected"), [((False,), "192.0.2.2"), ((True,), "2001:db8::2")])
def test_addresses_that_our_sockets_cannot_reach_are_not_joined(families, expected):
    host = Host(families=families)
    host.hear(other(2))
    host.hear(other(3, host="2001:db8::2"))
    assert joined(host.run(1.0)) == [[(expected, 7946)]]


@pytest.mark.parametrize(("source", "to_all", "heard"), [
    (("192.0.2.2", 5353), False, True), (("169.254.7.7", 5353), False, True), (("203.0.113.9", 5353), True, True),
    (("203.0.113.9", 5353), False, False),      # forged: not from this link
    (("192.0.2.2", 40000), True, False),        # not from a responder
])
def test_answers_come_from_the_link_and_from_port_5353(source, to_all, heard):
    host = Host()
    host.hear(other(2), source, to_all=to_all)
    assert bool(host.machine.peers.listed(0.0)) == heard
    assert host.counters.get("mdns answer from afar", 0) == (not heard)


def test_links_that_are_not_ours_do_not_count():
    host = Host(ETH0)
    assert host.hear(SERF_ASKS, ("198.51.100.2", 40000), ETH1) == []
    host.hear(other(2), ("198.51.100.2", 5353), ETH1)
    assert host.machine.peers.listed(0.0) == []


def test_an_instance_without_an_address_is_asked_for_and_not_again_at_once():
    host = Host()
    host.run(10.0)
    bare = packet(node().pointer)
    assert [one.questions for one in asked(host.hear(bare))] == [[Question(node().instance, ANY)]]
    assert host.hear(bare) == []
    host.hear(packet(node().server, node().place, node().about), to_all=False)
    assert joined(host.run(11.0)) == [[("192.0.2.2", 7946)]]


def test_a_server_taken_back_is_a_goodbye_too():
    host = Host()
    host.hear(other(2))
    host.hear(packet(replace(node().server, ttl=0), node().place))
    assert host.machine.peers.listed(0.0) == [] and joined(host.run(10.0)) == []


def test_who_says_goodbye_is_forgotten():
    host = Host()
    host.hear(other(2))
    host.hear(node().goodbye())
    assert host.machine.peers.listed(0.0) == [] and joined(host.run(10.0)) == []


def test_a_flood_is_looked_into_up_to_a_limit():
    host = Host()
    for number in range(1000):
        host.hear(packet(replace(node().server, port=1 + number), node().place))
    assert len(host.machine.peers.listed(0.0)) == 300 and host.counters["mdns packet dropped"] == 700


def test_large_packets_count_as_several():
    host = Host()
    large = packet(node().place, *[replace(node().server, port=port) for port in range(1, 101)])
    for _ in range(500):
        host.hear(large)
    assert host.counters["mdns packet dropped"] == 500 - 300 // (1 + len(large) // 256) > 400


SEEDS = [other(2), SERF_ASKS, node().goodbye(), packet(node().pointer)]


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6))
def test_no_packet_can_make_it_raise_or_join_what_is_no_unicast_address(data, changes):
    changed = bytearray(data)
    for at, value in changes:
        changed[at % len(changed)] = value
    host = Host()
    host.hear(bytes(changed))
    host.run(1.0)
    for peer in host.machine.peers.listed(1.0):
        assert peer.address[1] > 0 and 0 < int(peer.address[0].split(".")[0]) < 224


@given(st.binary(max_size=100))
def test_any_bytes_are_ignored(data):
    host = Host()
    assert host.hear(NAME[0] + data) == [] and host.machine.peers.listed(0.0) == []


def test_the_same_seed_does_the_same():
    def run(seed):
        host = Host(seed=seed)
        for number in range(2, 9):
            host.hear(other(number))
        host.run(300.0)
        return host.done

    assert run(5) == run(5) and run(5) != run(6)
