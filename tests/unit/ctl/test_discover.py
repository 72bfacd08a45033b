"""gossipctl discover."""

from __future__ import annotations

import json

import pytest

WALL = 1_700_000_000.0
BEA = {"Name": "bea", "Addr": bytes((192, 0, 2, 12)), "Port": 7946, "Interfaces": ["eth0", "wlan0"],
       "Source": "192.0.2.12", "Heard": WALL, "Expires": WALL + 120.5, "Status": "member", "Failures": 0}
EVE = {**BEA, "Name": "\x1b[2Jeve", "Addr": bytes(15) + b"\x01", "Status": "failed", "Failures": 3}
LINKS = [{"Interface": "eth0", "Family": "ipv4", "Trouble": ""}, {"Interface": "eth0", "Family": "ipv6", "Trouble": ""}]


@pytest.fixture
def found(daemon, monkeypatch):
    """What the daemon knows; and nobody really waits."""
    monkeypatch.setattr("gossipd.ctl.commands.discover.sleep", lambda seconds: found.update(waited=seconds))
    monkeypatch.setattr("gossipd.ctl.commands.discover.time", lambda: WALL + 5)
    found = daemon.backend.sightings = {"Cluster": "app", "Links": LINKS, "Seen": [BEA]}
    return found


def test_members_heard_of_are_a_table(ctl, found):
    found["Seen"] = [BEA, EVE]
    assert ctl("discover") == (0, (
        "NAME        ADDRESS          STATUS      INTERFACE   HEARD\n"
        "bea         192.0.2.12:7946  member      eth0,wlan0  5s ago\n"
        "\\x1b[2Jeve  [::1]:7946       failed (3)  eth0,wlan0  5s ago\n"), "")


@pytest.mark.parametrize(("options", "waited", "asks"), [
    ((), 1.0, True), (("--wait", "2.5"), 2.5, True), (("--wait=3s",), 3.0, True), (("--wait", "0"), None, False)])
def test_it_asks_and_waits_unless_told_otherwise(ctl, daemon, found, options, waited, asks):
    asked = []
    daemon.backend.discovered = lambda ask: asked.append(ask) or {**found, "Seen": [BEA]}
    assert ctl("discover", *options)[0] == 0
    assert found.get("waited") == waited and asked == ([True, False] if asks else [False])


def test_json_has_every_key(ctl, found):
    assert json.loads(ctl("discover", "-o", "json")[1]) == {
        "cluster": "app",
        "links": [{"interface": "eth0", "family": family, "trouble": None} for family in ("ipv4", "ipv6")],
        "seen": [{"name": "bea", "host": "192.0.2.12", "port": 7946, "address": "192.0.2.12:7946",
                  "interfaces": ["eth0", "wlan0"], "source": "192.0.2.12", "heard": "2023-11-14T22:13:20.000Z",
                  "expires": "2023-11-14T22:15:20.500Z", "status": "member", "failures": 0}]}


def test_nobody_is_exit_3_with_where_was_looked(ctl, found):
    found["Seen"] = []
    assert ctl("discover") == (3, "", "gossipctl: nobody of cluster 'app' is heard on eth0\n")
    code, out, _ = ctl("discover", "-o", "json")
    assert (code, json.loads(out)["seen"]) == (3, [])
    found["Links"] = []
    assert ctl("discover") == (3, "", "gossipctl: discovery finds no interface to look on\n")


def test_discovery_that_is_off_says_so_at_once(ctl, found):
    found.update(Cluster="", Links=[], Seen=[])
    code, out, err = ctl("discover")
    assert (code, out) == (3, "") and "discovery is off" in err and "--discover" in err and "waited" not in found


def test_trouble_is_told(ctl, found):
    found["Links"] = [{"Interface": "eth0", "Family": "ipv6", "Trouble": "Network is down"}]
    assert ctl("discover")[2] == "gossipctl: eth0, ipv6: Network is down\n"


@pytest.mark.parametrize("wait", ["soon", "-1", "nan", "1e9"])
def test_a_wait_that_is_no_time_is_wrong_usage(ctl, found, wait):
    assert ctl("discover", f"--wait={wait}")[0] == 2
