"""Discovery with no seed at all: gossipd and Serf on a bridge of network namespaces, IPv4 and IPv6, beside avahi."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from gossipd.mdns.messages import A, Packet, Question, Record, decode, encode
from gossipd.mdns.service import Service
from tests.support.netns import Network
from tests.support.processes import (
    GOSSIPCTL,
    ROOT,
    Agent,
    Gossipd,
    Lab,
    Serf,
    alive,
    spawn,
    wait_until,
    wait_until_all_see,
)
from tests.support.require import find_program, need, need_iptables, need_netns, need_serf

FIND_S = 20.0           # Serf gathers answers for 1 s; the rest is for slow machines
WHAT = "discovery"
GROUP = "224.0.0.251", 5353


class Daemon(Gossipd):
    """Several on one host: each with an RPC address of its own. `flags` are gossipd's."""

    flags: tuple[str, ...] = ()

    @property
    def rpc(self) -> str:
        return f"127.0.0.{self.name[1:]}:7373"

    def argv(self, join: Iterable[str]) -> list[str]:
        return [*super().argv(join), *self.flags]


class Bridge(Network):
    """Hosts that can multicast at once: with default routes (without, Serf's agent crashes), no wait for IPv6.

    They have the families that are asked for, and gossip by the one in `gossip`, 4 or 6.
    """

    def __init__(self, names: Iterable[str], lab: Lab, ipv4: bool, ipv6: bool, gossip: int) -> None:
        super().__init__(names)
        self.lab = lab
        # With only one family, Serf's agent crashes if -iface is given.
        self._serf_options = ["-discover=app", *(["-iface=eth0"] if ipv4 and ipv6 else [])]
        for number, name in enumerate(names, 1):
            host = self[name]
            host.run("sh", "-c", f"echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad;"
                                 f"echo {int(not ipv6)} >/proc/sys/net/ipv6/conf/all/disable_ipv6")
            host.run("ip", "link", "set", "eth0", "down")
            host.run("ip", "link", "set", "eth0", "up")
            host.run("ip", "route", "add", "default", "dev", "eth0")
            if not ipv4:
                host.run("ip", "-4", "addr", "flush", "dev", "eth0")
            if gossip == 6:
                host.host = f"[2001:db8::{number}]"
                host.run("ip", "addr", "add", f"2001:db8::{number}/64", "dev", "eth0", "nodad")
                host.run("ip", "-6", "route", "add", "default", "dev", "eth0")

    def gossipd(self, name: str, at: str, host: str = "", flags: tuple[str, ...] = (), **discovery: object) -> Daemon:
        settings = {"discovery": {"cluster": "app"} | discovery}
        agent = Daemon(name, host or self[at].host, self.lab.directory, self[at].inside, settings=settings)
        agent.flags = flags
        self.lab.agents[name] = agent
        return agent

    def serf(self, name: str, at: str) -> Serf:
        return self.lab.serf(name, self[at].host, self[at].inside, options=self._serf_options)


class Bridges:
    """Makes them; keeps them and what runs there until the test is over."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._lab: Lab | None = None

    def __call__(
        self, *names: str, serf: bool = False, ipv4: bool = True, ipv6: bool = True, gossip: int = 4,
    ) -> Bridge:
        need_netns(WHAT)
        self._lab = self._stack.enter_context(Lab(need_serf(f"{WHAT} with Serf") if serf else ""))
        return self._stack.enter_context(Bridge(names, self._lab, ipv4, ipv6, gossip))

    def logs(self) -> list[tuple[str, str]]:
        return self._lab.logs() if self._lab else []


@pytest.fixture
def bridge() -> Iterator[Bridges]:
    with ExitStack() as stack:
        yield Bridges(stack)


def discover(agent: Gossipd, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*GOSSIPCTL, "discover", "--rpc-socket", agent.rpc_own, *options], cwd=ROOT,
                          capture_output=True, text=True, timeout=30)


def seen(agent: Gossipd, *options: str) -> dict[str, dict]:
    """By name."""
    return {one["name"]: one for one in json.loads(discover(agent, "-o", "json", *options).stdout)["seen"]}


def start(*agents: Agent) -> None:
    for agent in agents:
        agent.launch()
    for agent in agents:
        agent.ready()


def wait_until_together(*agents: Agent) -> None:
    wait_until_all_see(agents, alive(agents), FIND_S)


# --- with Serf ---

@pytest.mark.parametrize("options", [{}, {"ipv6": False}, {"ipv4": False, "gossip": 6}], ids=["both", "ipv4", "ipv6"])
def test_gossipd_and_serf_find_each_other_without_a_seed(bridge, options):
    net = bridge("a", "b", "c", "d", serf=True, **options)
    agents = [net.gossipd("g1", "a"), net.serf("s1", "b"), net.gossipd("g2", "c"), net.serf("s2", "d")]
    start(*agents)
    wait_until_together(*agents)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("finder", ["gossipd", "serf"])
def test_each_finds_the_other_by_itself(bridge, family, finder):
    """Only one of them can dial, and gossipd hears and speaks mDNS by one family. Hosts have both: without either,
    Serf's agent gives up asking."""
    need_iptables(f"{WHAT} in one direction")
    net = bridge("a", "b", serf=True, gossip=family)
    ours, theirs = net.gossipd("g1", "a", ipv4=family == 4, ipv6=family == 6), net.serf("s1", "b")
    refuser = net["b" if finder == "gossipd" else "a"]
    refuser.run("iptables" if family == 4 else "ip6tables", "-A", "OUTPUT", "-o", "eth0", "-p", "tcp", "--syn",
                "-j", "DROP")
    for agent in (theirs, ours) if finder == "gossipd" else (ours, theirs):     # Serf asks once a minute
        agent.start()
        if agent is ours:
            wait_until(lambda: json.loads(discover(ours, "-o", "json").stdout)["links"], "it listens", FIND_S)
    wait_until_together(ours, theirs)
    told = "joined discovered members" in ours.log_text(), "agent.mdns: Joined" in theirs.log_text()
    assert told[0 if finder == "gossipd" else 1]


def test_gossipctl_discover_shows_who_is_heard_and_where(bridge):
    net = bridge("a", "b", "c", serf=True)
    g1, g2, s1 = agents = net.gossipd("g1", "a"), net.gossipd("g2", "b"), net.serf("s1", "c")
    start(*agents)
    wait_until_together(*agents)
    assert {name: (one["address"], one["interfaces"], one["status"]) for name, one in seen(g1).items()} == {
        "g2": ("10.47.0.2:7946", ["eth0"], "member"), "s1": ("10.47.0.3:7946", ["eth0"], "member")}
    lines = discover(g1).stdout.splitlines()
    assert lines[0].split() == ["NAME", "ADDRESS", "STATUS", "INTERFACE", "HEARD"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["g2", "10.47.0.2:7946", "member", "eth0"], ["s1", "10.47.0.3:7946", "member", "eth0"]]


# --- gossipd alone ---

def test_two_daemons_on_one_host_share_the_port(bridge):
    net = bridge("a")
    net["a"].run("ip", "addr", "add", "10.47.0.9/24", "dev", "eth0")
    g1, g2 = net.gossipd("g1", "a"), net.gossipd("g2", "a", host="10.47.0.9")
    start(g1, g2)
    wait_until_together(g1, g2)


def test_on_loopback_daemons_find_each_other_if_it_is_named(bridge):
    net = bridge("a")
    g1, g2 = (net.gossipd(f"g{n}", "a", host=f"127.0.0.{n}", interfaces=["lo"]) for n in (1, 2))
    start(g1, g2)
    wait_until_together(g1, g2)
    assert seen(g1)["g2"]["interfaces"] == ["lo"]


def test_other_clusters_and_junk_are_not_joined(bridge):
    net = bridge("a", "b", "c")
    g1, other = net.gossipd("g1", "a"), net.gossipd("g2", "b", cluster="other")
    start(g1, other)
    wait_until(lambda: json.loads(discover(g1, "-o", "json").stdout)["links"], "it listens", FIND_S)
    printer = Record((b"Laser", b"_printer", b"_tcp", b"local"), 33, 120, target=(b"x", b"local"), port=631)
    with net["c"].inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("10.47.0.3", 5353))
        for data in (
            encode(Packet(response=True, records=[printer, Record((b"x", b"local"), A, 120, host="10.47.0.3")])),
            Service("app", "loop", ("127.0.0.1", 7946)).announcement(),
            Service("app", "group", ("224.0.0.251", 7946)).announcement(),
            Service("app", "self", ("10.47.0.1", 7946)).announcement(),
            os.urandom(300), Service("app", "cut", ("10.47.0.3", 7946)).announcement()[:-30],
            Service("app", "real", ("10.47.0.3", 7946)).announcement(),
        ):
            sock.sendto(data, GROUP)
    wait_until(lambda: "real" in seen(g1, "--wait", "0"), "what could be a member is heard of", FIND_S)
    assert list(seen(g1)) == ["real"]
    wait_until(lambda: seen(g1, "--wait", "0")["real"]["failures"] > 1, "it is tried again", FIND_S)
    assert g1.statuses() == {"g1": "alive"} and other.statuses() == {"g2": "alive"}


def test_who_leaves_says_goodbye(bridge):
    net = bridge("a", "b")
    g1, g2 = net.gossipd("g1", "a"), net.gossipd("g2", "b")
    start(g1, g2)
    wait_until_together(g1, g2)
    assert list(seen(g1)) == ["g2"]
    with g2.client() as client:
        client.leave()
    assert g2.wait_for_end(10.0) == 0
    code = discover(g1, "--wait", "0")
    assert (code.returncode, code.stdout) == (3, "") and "nobody of cluster 'app' is heard on eth0" in code.stderr


def test_a_link_that_comes_later_is_used_at_once_and_a_partition_heals(bridge):
    net = bridge("a", "b")
    net["b"].run("ip", "link", "set", "eth0", "down")
    advertise = "--advertise", "10.47.0.2"
    g1, g2 = net.gossipd("g1", "a"), net.gossipd("g2", "b", host="0.0.0.0", flags=advertise, interfaces=["eth0"])
    start(g1, g2)
    wait_until(lambda: "no discovery there" in g2.log_text(), "a missing interface is told", FIND_S)
    net["b"].run("ip", "link", "set", "eth0", "up")
    wait_until_together(g1, g2)
    net["b"].run("ip", "link", "set", "eth0", "down")
    wait_until_all_see([g1], {"g1": "alive", "g2": "failed"}, FIND_S)
    net["b"].run("ip", "link", "set", "eth0", "up")
    wait_until_together(g1, g2)


def test_discovery_that_is_off_says_so(bridge):
    net = bridge("a")
    g1 = net.gossipd("g1", "a", cluster="")
    g1.start()
    code = discover(g1)
    assert (code.returncode, code.stdout) == (3, "") and "discovery is off" in code.stderr
    assert json.loads(discover(g1, "-o", "json").stdout) == {"cluster": None, "links": [], "seen": []}
    with net["a"].inside():
        assert "5353" not in subprocess.run(["ss", "-lun"], capture_output=True, text=True).stdout


# --- avahi ---

AVAHI = ROOT / ".venv/avahi"


@contextmanager
def avahi(net: Bridge, at: str) -> Iterator[None]:
    """A real avahi-daemon on that host, which calls itself avahi-host.local."""
    program = find_program("avahi-daemon") or find_program("avahi-daemon", str(AVAHI / "usr/sbin"))
    need(program, f"{WHAT} beside avahi: no program avahi-daemon")
    libraries = ":".join(map(str, (AVAHI / "usr/lib").glob("*-linux-*")))
    config = net.lab.directory / "avahi.conf"
    config.write_text("[server]\nhost-name=avahi-host\nenable-dbus=no\nallow-interfaces=eth0\n")
    users, groups = net.lab.directory / "passwd", net.lab.directory / "group"     # it will not start without its own
    users.write_text("root:x:0:0::/:/bin/sh\navahi:x:0:0::/:/bin/sh\n")
    groups.write_text("root:x:0:\navahi:x:0:\n")
    run = (f"mount -t tmpfs none /run && mkdir /run/avahi-daemon && mount --bind {users} /etc/passwd "
           f"&& mount --bind {groups} /etc/group && export LD_LIBRARY_PATH={libraries} "
           f"&& exec {program} --no-drop-root --no-chroot --no-rlimits -f {config}")
    process = spawn(["unshare", "--mount", "sh", "-c", run], net.lab.directory / "avahi.log", net[at].inside)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def ask(net: Bridge, at: str, question: Question) -> list[Record]:
    """What the network answers within a second, to the asker alone."""
    with net[at].inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((net[at].host, 0))
        sock.settimeout(1.0)
        sock.sendto(encode(Packet(questions=[question])), GROUP)
        with suppress(TimeoutError):
            return decode(sock.recv(9000)).records
    return []


@pytest.mark.parametrize("first", ["avahi", "gossipd"])
def test_avahi_on_the_same_host_and_gossipd_do_not_disturb_each_other(bridge, first):
    def avahi_answers() -> bool:
        found = ask(net, "b", Question((b"avahi-host", b"local"), A))
        return [record.host for record in found] == ["10.47.0.1"]

    net = bridge("a", "b")
    g1, g2 = net.gossipd("g1", "a"), net.gossipd("g2", "b")
    if first == "gossipd":
        g1.start()
    with avahi(net, "a"):
        wait_until(avahi_answers, "avahi answers", FIND_S)
        if first == "avahi":
            g1.start()
        g2.start()
        wait_until_together(g1, g2)
        assert list(seen(g1)) == ["g2"] and list(seen(g2)) == ["g1"]
        assert avahi_answers()
        log = (net.lab.directory / "avahi.log").read_text()
        assert "conflict" not in log.lower() and "avahi-host-2" not in log
        wait_until(lambda: ask(net, "b", Question(Service("app", "g1", ("10.47.0.1", 7946)).name, 12)), "", FIND_S)
