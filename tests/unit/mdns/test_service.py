"""What a node tells of itself by mDNS: Serf's table of questions and answers (spec agent §12)."""

from __future__ import annotations

import pytest

from gossipd.mdns.messages import AAAA, ANY, PTR, SRV, TXT, A, Question, decode
from gossipd.mdns.service import SERVICES, Service, service_name

SERVICE = Service("app", "ann", ("192.0.2.1", 7946))
IPV6 = Service("app", "ann", ("2001:db8::1", 7946))


def answers(name, kind, service=SERVICE):
    return [record.type for record in service.answer(Question(name, kind))]


@pytest.mark.parametrize(("name", "kind", "expected"), [
    (SERVICE.name, PTR, [PTR, SRV, A, TXT]), (SERVICE.name, ANY, [PTR, SRV, A, TXT]), (SERVICE.name, SRV, []),
    (SERVICE.instance, ANY, [SRV, A, TXT]), (SERVICE.instance, SRV, [SRV, A]), (SERVICE.instance, TXT, [TXT]),
    (SERVICE.instance, PTR, []),
    (SERVICE.host, A, [A]), (SERVICE.host, AAAA, []), (SERVICE.host, ANY, [A]),
    (SERVICES, PTR, [PTR]), (SERVICES, ANY, [PTR]), (SERVICES, TXT, []),
    (service_name("App"), PTR, []), (service_name("ap"), PTR, []), ((b"local",), ANY, []), ((), ANY, []),
])
def test_each_question_has_serfs_answers(name, kind, expected):
    assert answers(name, kind) == expected


def test_an_ipv6_address_is_told_as_such():
    assert answers(IPV6.host, AAAA, IPV6) == [AAAA] and answers(IPV6.host, A, IPV6) == []


def test_the_records_say_where_we_are():
    pointer, server, place, about = SERVICE.records
    assert pointer.target == server.name == about.name == (b"ann", b"_serf_app", b"_tcp", b"local")
    assert (server.port, server.target) == (7946, place.name)
    assert (place.host, about.strings) == ("192.0.2.1", (b"Serf 'app' cluster",))
    assert not pointer.flush and server.flush and place.flush and about.flush
    assert {record.ttl for record in SERVICE.records} == {120}


def test_a_goodbye_takes_everything_back():
    gone = decode(SERVICE.goodbye()).records
    assert [record.type for record in gone] == [PTR, SRV, A, TXT] and {record.ttl for record in gone} == {0}


def test_two_nodes_never_share_a_host_name():
    others = [Service("app", "bob", ("192.0.2.1", 7946)), Service("app", "ann", ("192.0.2.2", 7946)),
              Service("app", "ann", ("192.0.2.1", 7947))]
    assert len({service.host for service in [SERVICE, *others]}) == 4


@pytest.mark.parametrize("node", ["a", "x" * 63, "x" * 64, "y" * 255, "ann.example.org", "Ann's node", "\udcff\x00ü"])
@pytest.mark.parametrize("cluster", ["a", "c" * 57, "a.b", "x.y" * 19, "größe"])
def test_any_name_of_node_and_cluster_fits_into_a_packet(node, cluster):
    service = Service(cluster, node, ("192.0.2.1", 7946))
    pointer = decode(service.announcement()).records[0]
    assert pointer.name == service_name(cluster) and len(pointer.target[0]) <= 63


def test_long_names_that_begin_alike_stay_two():
    one, other = (Service("app", "x" * 70 + end, ("192.0.2.1", 7946)) for end in "ab")
    assert one.instance != other.instance


def test_foreign_packets_are_told_apart_at_a_glance():
    assert SERVICE.may_concern(SERVICE.announcement())
    assert SERVICE.may_concern(Service("app", "bob", ("192.0.2.2", 7946)).announcement())
    assert not SERVICE.may_concern(Service("application", "bob", ("192.0.2.2", 7946)).announcement())
    assert not SERVICE.may_concern(b"\x08_printer\x04_tcp\x05local\0")
