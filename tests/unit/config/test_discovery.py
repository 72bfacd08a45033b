"""Settings of discovery."""

from __future__ import annotations

import pytest

from gossipd.config.flags import parse
from gossipd.config.schema import Config
from gossipd.config.toml import Source, merge
from gossipd.errors import ConfigError


def read(**settings: object) -> Config:
    return merge([Source({"discovery": settings})])


def test_it_is_off_unless_a_cluster_is_named():
    assert Config().discovery.cluster == ""
    assert merge([parse(["--discover", "app"]).flags]).discovery.cluster == "app"


@pytest.mark.parametrize("name", ["app", "a.b", "größe", "x" * 57, "under_score-1"])
def test_whatever_serf_takes_and_dns_can_hold_is_a_name(name):
    assert read(cluster=name).discovery.cluster == name


@pytest.mark.parametrize("name", ["a b", "a\tb", "x" * 58, "ü" * 29, ".a", "a.", "a..b", "a\\b", "a\x00", "a\udcff", 7])
def test_other_names_are_refused(name):
    with pytest.raises(ConfigError, match="discovery.cluster"):
        read(cluster=name)


def test_interfaces_are_a_list_of_names():
    assert read(interfaces=["eth0", "wlan0"]).discovery.interfaces == ("eth0", "wlan0")
    for wrong in ("eth0", [""], [1], {}):
        with pytest.raises(ConfigError, match="discovery.interfaces"):
            read(interfaces=wrong)


def test_at_least_one_family_is_needed_where_there_is_discovery():
    assert not read(ipv4=False, ipv6=False).discovery.cluster
    assert read(cluster="app", ipv4=False).discovery.ipv6
    with pytest.raises(ConfigError, match="discovery.cluster: neither"):
        read(cluster="app", ipv4=False, ipv6=False)
