from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from gossipd.config.schema import Config, NetworkSection, NodeSection
from gossipd.daemon import interfaces
from gossipd.daemon.identity import advertised_address, advertised_bytes, bind_address, node_name, resolve
from gossipd.daemon.interfaces import (
    interface_addresses,
    interface_exists,
    ipv4_addresses,
    ipv6_addresses,
    parse_if_inet6,
)
from gossipd.errors import GossipdError


def a_config(bind: str = "0.0.0.0", advertise: str = "", name: str = "", interface: str = "") -> Config:
    network = NetworkSection(bind=bind, interface=interface, advertise=advertise)
    return replace(Config(), node=NodeSection(name=name), network=network)


@pytest.fixture
def machine(monkeypatch):
    """Gives this machine addresses."""
    def has(*addresses: tuple[str, str]) -> None:
        monkeypatch.setattr(interfaces, "interface_addresses", lambda: list(addresses))
    return has


def test_a_node_is_called_as_configured_or_like_its_host():
    assert node_name(a_config(name="ann")) == "ann"
    assert node_name(a_config()) == socket.gethostname()


@pytest.mark.parametrize("text, address", [
    ("192.0.2.1", ("192.0.2.1", 7946)), ("192.0.2.1:80", ("192.0.2.1", 80)), ("[2001:db8::1]:80", ("2001:db8::1", 80)),
    ("2001:db8::1", ("2001:db8::1", 7946)), ("localhost", ("127.0.0.1", 7946))])
def test_the_bind_address_may_be_written_in_many_ways(text, address):
    assert bind_address(a_config(bind=text)) == address


def test_an_address_that_cannot_be_found_is_an_error_for_people():
    with pytest.raises(GossipdError, match="address 'no.such.host.invalid'"):
        resolve("no.such.host.invalid", 7946)


def test_a_specific_bind_address_is_advertised_with_the_port_that_was_bound():
    assert advertised_address(a_config("127.0.0.5:0"), ("127.0.0.5", 4711)).address == ("127.0.0.5", 4711)


def test_an_advertised_address_without_a_port_has_the_port_that_was_bound():
    assert advertised_address(a_config(advertise="192.0.2.9"), ("0.0.0.0", 4711)).address == ("192.0.2.9", 4711)
    assert advertised_address(a_config(advertise="192.0.2.9:80"), ("0.0.0.0", 4711)).address == ("192.0.2.9", 80)


def test_a_wildcard_takes_a_private_address_of_the_machine(machine):
    machine(("lo", "127.0.0.1"), ("eth0", "203.0.113.5"), ("eth1", "10.1.2.3"))
    told = advertised_address(a_config(), ("0.0.0.0", 7946))
    assert told.address == ("10.1.2.3", 7946) and "eth1" in told.why


def test_a_wildcard_without_a_private_address_is_refused(machine):
    machine(("lo", "127.0.0.1"), ("eth0", "203.0.113.5"))
    with pytest.raises(GossipdError, match="no private address.*--advertise"):
        advertised_address(a_config(), ("0.0.0.0", 7946))


def test_an_address_found_for_a_wildcard_goes_out_as_serf_sends_it():
    mapped = bytes(10) + b"\xff\xff" + bytes([10, 1, 2, 3])
    assert advertised_bytes(a_config(), ("10.1.2.3", 7946)) == mapped


@pytest.mark.parametrize("config", [a_config("10.1.2.3"), a_config(advertise="10.1.2.3")], ids=["bind", "advertise"])
def test_an_address_that_somebody_chose_goes_out_short(config):
    assert advertised_bytes(config, ("10.1.2.3", 7946)) == bytes([10, 1, 2, 3])


def test_the_kernel_tells_our_addresses():
    found = interface_addresses()
    assert ("lo", "127.0.0.1") in ipv4_addresses() and sorted(found) == sorted([*ipv4_addresses(), *ipv6_addresses()])


def test_ipv6_addresses_are_read_from_proc():
    lines = ["20010db8000000000000000000000001 02 40 00 80     eth0\n",
             "00000000000000000000000000000001 01 80 10 80       lo\n"]
    assert parse_if_inet6(lines) == [("eth0", "2001:db8::1"), ("lo", "::1")]


def test_a_machine_without_ipv6_has_no_ipv6_addresses(monkeypatch):
    monkeypatch.setattr(interfaces, "_PROC_IF_INET6", "/nonexistent")
    assert ipv6_addresses() == []


def test_addresses_that_lead_into_the_world_come_first(monkeypatch):
    monkeypatch.setattr(interfaces, "ipv4_addresses", lambda: [("docker0", "172.17.0.1"), ("eth0", "10.0.0.5")])
    monkeypatch.setattr(interfaces, "ipv6_addresses", lambda: [("eth0", "fd00::5")])
    monkeypatch.setattr(interfaces, "routed_hosts", lambda: ["10.0.0.5"])
    assert interface_addresses() == [("eth0", "10.0.0.5"), ("docker0", "172.17.0.1"), ("eth0", "fd00::5")]


# --- an interface instead of an address


@pytest.fixture
def addresses(monkeypatch):
    """Gives this machine interfaces with addresses, IPv4 and IPv6."""
    def has(*found: tuple[str, str]) -> None:
        monkeypatch.setattr(interfaces, "ipv4_addresses", lambda: [one for one in found if "." in one[1]])
        monkeypatch.setattr(interfaces, "ipv6_addresses", lambda: [one for one in found if ":" in one[1]])
        monkeypatch.setattr(interfaces.socket, "if_nametoindex", lambda name: 1)
    return has


ETH0 = [("eth0", "fe80::1"), ("eth0", "fd00::5"), ("lo", "127.0.0.1"), ("eth0", "169.254.1.1"), ("eth0", "192.0.2.5"),
        ("eth0:1", "192.0.2.6"), ("eth1", "192.0.2.7")]


def test_the_first_address_of_the_interface_is_bound_but_no_link_local_one(addresses):
    addresses(*ETH0)
    assert bind_address(a_config(interface="eth0")) == ("192.0.2.5", 7946)
    assert bind_address(a_config("0.0.0.0:80", interface="eth1")) == ("192.0.2.7", 80)
    addresses(("eth0", "fe80::1"), ("eth0", "fd00::5"))
    assert bind_address(a_config(interface="eth0")) == ("fd00::5", 7946)


@pytest.mark.parametrize("bind", ["192.0.2.5", "192.0.2.6", "fd00::5", "fe80::1"])
def test_an_address_of_the_interface_may_be_chosen(addresses, bind):
    addresses(*ETH0)
    assert bind_address(a_config(bind, interface="eth0"))[0] == bind


@pytest.mark.parametrize(("found", "bind", "wrong"), [
    ([("lo", "127.0.0.1")], "0.0.0.0", "Interface 'eth0' has no addresses"),
    (ETH0, "127.0.0.1", "Interface 'eth0' has no '127.0.0.1' address"),
    (ETH0, "[::]", "Interface 'eth0' has no '::' address"),
    ([("eth0", "fe80::1"), ("eth0", "169.254.1.1")], "0.0.0.0", "Failed to find usable address for interface 'eth0'"),
])
def test_what_serf_says_of_an_interface_is_said(addresses, found, bind, wrong):
    addresses(*found)
    with pytest.raises(GossipdError) as refusal:
        bind_address(a_config(bind, interface="eth0"))
    assert str(refusal.value) == wrong


@pytest.mark.parametrize("name", ["nope0", "", "x" * 300, "a\0b", "\udcff", "\ud800"])
def test_what_is_no_name_of_an_interface_is_none(name):
    assert not interface_exists(name)


def test_an_interface_that_is_not_there_is_refused_by_name():
    with pytest.raises(GossipdError, match="interface 'nope0': no such network interface"):
        bind_address(a_config(interface="nope0"))


def test_the_address_of_an_interface_goes_out_short_as_one_that_somebody_chose(addresses):
    addresses(*ETH0)
    assert advertised_bytes(a_config(interface="eth0"), ("192.0.2.5", 7946)) == bytes([192, 0, 2, 5])


def test_the_loopback_interface_of_this_machine_is_found():
    assert bind_address(a_config("127.0.0.1:0", interface="lo")) == ("127.0.0.1", 0)
