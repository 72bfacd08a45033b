"""How an agent is looked for, and Go's words for what is wrong with an address."""

from __future__ import annotations

import pytest

from gossipd.serfcli.dial import NotConnected, _look_up, connect, split_address
from gossipd.serfcli.flags import Flags


def failure(address: str) -> str:
    with pytest.raises(NotConnected) as caught:
        split_address(address)
    return str(caught.value)


@pytest.mark.parametrize("address, parts", [
    ("127.0.0.1:7373", ("127.0.0.1", 7373)), ("[::1]:1", ("::1", 1)), (":7379", ("", 7379)),
    ("a.b:65535", ("a.b", 65535)), ("127.0.0.1:", ("127.0.0.1", 0)), ("a:+1", ("a", 1)),
    ("a:-0", ("a", 0)), ("a:" + "0" * 5000 + "1", ("a", 1))])
def test_an_address_is_host_and_port(address, parts):
    assert split_address(address) == parts


def test_a_port_may_be_the_name_of_a_service(monkeypatch):
    monkeypatch.setattr("_socket.getservbyname", lambda *what: {("http", "tcp"): 80}[what])
    assert split_address("127.0.0.1:http") == ("127.0.0.1", 80)


@pytest.mark.parametrize("address, text", [
    ("", "dial tcp: missing address"),
    ("nonsense", "dial tcp: address nonsense: missing port in address"),
    ("/tmp/x", "dial tcp: address /tmp/x: missing port in address"),
    ("[::1]", "dial tcp: address [::1]: missing port in address"),
    ("[::1", "dial tcp: address [::1: missing ']' in address"),
    ("::1:7399", "dial tcp: address ::1:7399: too many colons in address"),
    ("127.0.0.1:99999", "dial tcp: address 99999: invalid port"),
    ("127.0.0.1:-1", "dial tcp: address -1: invalid port"),
    ("127.0.0.1:x", "dial tcp: address tcp/x: unknown port"),
    ("127.0.0.1:\udcff", "dial tcp: address tcp/\udcff: unknown port"),
    ("127.0.0.1:\0", "dial tcp: address tcp/\0: unknown port"),
    ("127.0.0.1:" + "9" * 5000, f"dial tcp: address {'9' * 5000}: invalid port"),
])
def test_what_is_wrong_with_an_address(address, text):
    assert failure(address) == text


@pytest.mark.parametrize("host", ["\udcff", "\u00e9..", "\u00e9" * 100, "a..b"])
def test_a_host_that_is_none_is_not_found(host):
    with pytest.raises(NotConnected, match="no such host"):
        _look_up(host, 1)


@pytest.mark.parametrize("given, environment, where", [
    ({}, {}, "127.0.0.1:7373"),
    ({}, {"SERF_RPC_ADDR": ""}, "127.0.0.1:7373"),
    ({}, {"SERF_RPC_ADDR": "127.0.0.1:2"}, "127.0.0.1:2"),
    ({"rpc-addr": "127.0.0.1:1"}, {"SERF_RPC_ADDR": "127.0.0.1:2"}, "127.0.0.1:1"),
])
def test_the_flag_beats_the_variable_and_an_empty_variable_is_none(given, environment, where, monkeypatch):
    monkeypatch.delenv("SERF_RPC_ADDR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tried = []

    def client(address: str, auth_key: str) -> None:
        tried.append(address)

    monkeypatch.setattr("gossipd.serfcli.dial.SerfClient", client)
    connect(Flags(given, []))
    assert tried == [where]


def test_an_empty_flag_is_no_default():
    with pytest.raises(NotConnected, match="dial tcp: missing address"):
        connect(Flags({"rpc-addr": ""}, []))
