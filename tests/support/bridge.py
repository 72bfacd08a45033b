"""Hosts on a bridge that find each other by multicast DNS, for tests/system."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack

from tests.support.netns import Network
from tests.support.processes import GOSSIPCTL, ROOT, Agent, Gossipd, Lab, Serf, alive, wait_until_all_see
from tests.support.require import need_netns, need_serf

FIND_S = 20.0           # Serf gathers answers for 1 s; the rest is for slow machines
WHAT = "discovery"
GROUP, GROUP_V6 = ("224.0.0.251", 5353), "ff02::fb"


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
