"""Interfaces and sockets for mDNS, on this machine's loopback."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import pytest

from gossipd.daemon.links import Place, find_places, group_of, open_asker, open_group, parse_if_inet6

TABLE = """\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000903bfbfffe10babe 02 40 20 80     eth0
20010db8000000000000000000000001 02 40 00 80     eth0
fe80000000000000903bfbfffe10bab1 03 40 20 c0    wlan0
fe80000000000000903bfbfffe10bab2 04 40 20 88    wlan1
"""


def loopback() -> Place:
    place, = find_places(["lo"], v4=True, v6=False, loopback=False)
    return place


def test_addresses_that_are_not_ready_are_left_out():
    assert [(one.interface, one.host, one.prefix) for one in parse_if_inet6(TABLE.splitlines())] == [
        ("lo", "::1", 128), ("eth0", "fe80::903b:fbff:fe10:babe", 64), ("eth0", "2001:db8::1", 64)]


def test_loopback_is_there_if_it_is_named_or_nothing_else_helps():
    place = loopback()
    assert (place.link.interface, place.link.v6, place.host) == ("lo", False, "127.0.0.1")
    assert place.index == socket.if_nametoindex("lo")
    assert place.link.networks[0] == ip_network("127.0.0.0/8") and place.link.loopback
    assert place in find_places([], v4=True, v6=True, loopback=True)
    assert not any(place.link.loopback for place in find_places([], v4=True, v6=True, loopback=False))
    assert all(place.link.loopback for place in find_places([], v4=True, v6=True, loopback=True))


def test_families_and_names_choose():
    assert find_places(["lo"], v4=False, v6=False, loopback=False) == []
    assert find_places(["nosuch0"], v4=True, v6=True, loopback=True) == []
    assert not any(place.link.v6 for place in find_places([], v4=True, v6=False, loopback=False))


def test_a_question_reaches_every_program_that_shares_the_port_and_the_answer_the_asker_alone():
    place = loopback()
    with open_group(place) as one, open_group(place) as other, open_asker(place) as asker:
        for sock in (one, other, asker):
            sock.settimeout(5.0)
        asker.sendto(b"question", group_of(place))
        heard = [sock.recvfrom(100) for sock in (one, other)]
        assert [data for data, _ in heard] == [b"question"] * 2
        one.sendto(b"answer", heard[0][1])
        data, source = asker.recvfrom(100)
        assert data == b"answer" and source[1] == 5353


def test_packets_for_the_hosts_own_port_5353_are_left_to_others():
    place = loopback()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as avahi, open_asker(place) as sender:
        avahi.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        avahi.bind(("0.0.0.0", 5353))
        with open_group(place) as ours:
            avahi.settimeout(5.0)
            for number in range(20):
                sender.sendto(b"%d" % number, ("127.0.0.1", 5353))
            assert [avahi.recv(100) for _ in range(20)] == [b"%d" % number for number in range(20)]
            with pytest.raises(BlockingIOError):
                ours.recv(100)


def test_a_link_that_is_gone_is_an_os_error():
    place = Place(loopback().link, 999_999, "127.0.0.1")
    with pytest.raises(OSError):
        open_group(place)
