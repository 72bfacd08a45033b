"""Clusters of two gossipd and two Serf agents, in the variants that differ on the wire."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from tests.support.processes import Agent, Gossipd, Lab, Serf, alive, wait_until, wait_until_all_see

JOIN_S = 15.0           # until all agree
FAIL_S = 45.0           # Serf takes 5 to 8 s, and a suspicion that nobody confirms 24 s
LEAVE_S = 20.0
EVENT_S = 10.0          # until the events that gather are told


@dataclass(frozen=True)
class Variant:
    name: str
    key: str = ""
    serf_compresses: bool = True
    gossipd_compresses: bool = False


VARIANTS = (
    Variant("plain"),
    Variant("compressed", gossipd_compresses=True),
    Variant("key16", key=b64encode(bytes(range(16))).decode(), serf_compresses=False),
    Variant("key32", key=b64encode(bytes(range(32))).decode(), gossipd_compresses=True),
)


class Mixed:
    """gossipd g1, g2 and Serf s1, s2."""

    def __init__(self, lab: Lab, variant: Variant) -> None:
        self.lab, self.variant = lab, variant
        settings = {"network": {"compression": variant.gossipd_compresses}}
        options = () if variant.serf_compresses else ("-disable-compression",)
        self.g1, self.g2 = (self._gossipd(name, settings) for name in ("g1", "g2"))
        self.s1, self.s2 = (self._serf(name, options) for name in ("s1", "s2"))

    def _gossipd(self, name: str, settings: dict[str, dict[str, bool]]) -> Gossipd:
        return self.lab.gossipd(name, key=self.variant.key, settings=settings, tags={"role": "web", "of": name})

    def _serf(self, name: str, options: Iterable[str]) -> Serf:
        return self.lab.serf(name, key=self.variant.key, options=options, tags={"role": "db", "of": name})

    def __repr__(self) -> str:
        return f"cluster {self.variant.name}"

    def logs(self) -> list[tuple[str, str]]:
        return [(f"{self}: {title}", text) for title, text in self.lab.logs()]

    @property
    def agents(self) -> list[Agent]:
        return [self.g1, self.g2, self.s1, self.s2]

    @property
    def running(self) -> list[Agent]:
        return [agent for agent in self.agents if agent.running]

    def launch_missing(self) -> None:
        for agent in self.agents:
            if not agent.running:
                agent.launch()

    def make_whole(self) -> None:
        """All four run and all see all alive."""
        for agent in self.agents:
            agent.ready()
        for agent in self.agents[1:]:
            agent.join(*(seed.gossip for seed in (self.g1, self.s1) if seed is not agent))
        self.wait_until_all_see(JOIN_S)

    def wait_until_all_see(self, within_s: float, **others: str) -> None:
        """Those who run see each other alive, and `others` with the given statuses."""
        wait_until_all_see(self.running, {**alive(self.running), **others}, within_s)

    def force_leave(self, through: Agent, name: str, after: dict[str, str], prune: bool = False) -> None:
        """Until those who run see each other alive, and others as in `after`.

        It may take a second call: an intent that not all have heard of, say of a member that died just then, can have
        the same Lamport time, and the first one heard wins.
        """
        for within_s in (EVENT_S, LEAVE_S):
            with through.client() as client:
                client.force_leave(name, prune=prune)
            try:
                return self.wait_until_all_see(within_s, **after)
            except AssertionError:
                if within_s == LEAVE_S:
                    raise

    def wait_until_tags_are(self, name: str, tags: dict[str, str], within_s: float = JOIN_S) -> None:
        for agent in self.running:
            wait_until(lambda agent=agent: agent.members()[name].tags == tags,
                       f"{self}: {agent} sees {tags} of {name}", within_s)


class Clusters:
    """One of each variant, started together; iterating gives them."""

    def __init__(self, stack: ExitStack, program: str, variants: Iterable[Variant] = VARIANTS) -> None:
        self._clusters = [Mixed(stack.enter_context(Lab(program)), variant) for variant in variants]
        self.make_whole()

    def __iter__(self) -> Iterator[Mixed]:
        return iter(self._clusters)

    def make_whole(self) -> None:
        """All agents of all clusters run, and see each other alive."""
        for cluster in self:
            cluster.launch_missing()
        for cluster in self:
            cluster.make_whole()

    def logs(self) -> list[tuple[str, str]]:
        return [log for cluster in self for log in cluster.logs()]
