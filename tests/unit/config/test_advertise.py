from __future__ import annotations

import pytest

from gossipd.config.advertise import advertised
from gossipd.errors import ConfigError

LO = [("lo", "127.0.0.1"), ("lo", "::1")]


def host(bind: str, interfaces: list[tuple[str, str]]) -> str:
    return advertised((bind, 7946), None, interfaces).address[0]


def test_what_is_configured_is_taken():
    chosen = advertised(("0.0.0.0", 7946), ("192.0.2.1", 9000), [])
    assert chosen.address == ("192.0.2.1", 9000) and chosen.why == "configured"


def test_a_specific_bind_address_is_advertised_even_on_loopback():
    assert advertised(("127.0.0.1", 7947), None, LO).address == ("127.0.0.1", 7947)


@pytest.mark.parametrize("private", [
    "10.1.2.3", "172.16.0.1", "172.31.255.1", "192.168.1.1", "100.64.0.1", "100.127.0.1",
])
def test_a_wildcard_picks_a_private_address(private):
    interfaces = [*LO, ("eth1", "203.0.113.5"), ("eth0", private), ("eth2", "10.9.9.9")]
    chosen = advertised(("0.0.0.0", 7950), None, interfaces)
    assert chosen.address == (private, 7950) and "eth0" in chosen.why and "0.0.0.0" in chosen.why


@pytest.mark.parametrize("public", [
    "127.0.0.1", "169.254.1.1", "172.15.0.1", "172.32.0.1", "192.169.0.1", "100.63.0.1", "100.128.0.1", "11.0.0.1",
    "fd00::1", "fe80::1%eth0",
])
def test_a_wildcard_without_a_private_address_is_refused_and_says_what_there_is(public):
    with pytest.raises(ConfigError, match="no private address") as refusal:
        host("0.0.0.0", [*LO, ("eth0", public)])
    assert public in str(refusal.value) and "--advertise" in str(refusal.value)


def test_an_ipv6_wildcard_prefers_a_private_ipv6_address():
    others = [("a", "10.0.0.1"), ("a", "fe80::1"), ("a", "2001:db8::1")]
    assert host("::", [*others, ("b", "fd12:3456::1")]) == "fd12:3456::1"
    assert host("::", [("a", "10.0.0.1"), ("a", "2001:db8::1")]) == "10.0.0.1"


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_nobody_advertises_a_wildcard(wildcard):
    with pytest.raises(ConfigError, match="nobody can reach"):
        advertised(("0.0.0.0", 7946), (wildcard, 7946), [("eth0", "10.0.0.1")])


def test_a_machine_without_any_address_is_refused():
    with pytest.raises(ConfigError, match="its addresses: none"):
        host("0.0.0.0", [])
