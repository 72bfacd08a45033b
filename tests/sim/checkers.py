"""What must hold in every run. Each check answers with sentences about what is wrong: none, and all is well."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from gossipd.events import MEMBER_FAILED, MEMBER_JOIN, MEMBER_LEAVE, MEMBER_REAP, MEMBER_UPDATE
from tests.sim.host import Host, HostState
from tests.sim.world import BOOT, World

ACQUAINTED = "acquainted"       # among a host's events: from here on it knew everybody without having heard of them
NAMED_MAX = 5                   # names listed in one sentence
EXCUSE_S = 60.0                 # a death may be heard of so long after its cause is over
CLOCKS = ("member_time", "event_time", "query_time")

NEXT_KINDS: dict[str, tuple[str, ...]] = {
    # what was heard last about a member -> what may come next
    "": (MEMBER_JOIN,),
    ACQUAINTED: (MEMBER_UPDATE, MEMBER_LEAVE, MEMBER_FAILED, MEMBER_REAP),
    MEMBER_JOIN: (MEMBER_UPDATE, MEMBER_LEAVE, MEMBER_FAILED, MEMBER_REAP),
    MEMBER_UPDATE: (MEMBER_UPDATE, MEMBER_LEAVE, MEMBER_FAILED, MEMBER_REAP),
    MEMBER_FAILED: (MEMBER_JOIN, MEMBER_LEAVE, MEMBER_REAP),
    MEMBER_LEAVE: (MEMBER_JOIN, MEMBER_REAP),
    MEMBER_REAP: (MEMBER_JOIN,),
}


# what is


def alive_at(host: Host) -> set[str]:
    """Whom this node counts as alive."""
    return {member.name for member in host.core.members() if member.status == "alive"}


class Agreement:
    """Do all running nodes agree that exactly the running ones are alive? Looks again only at tables that changed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: dict[str, tuple[int, int, set[str]]] = {}

    def holds(self) -> bool:
        running = {host.name for host in self._world.running()}
        return all(self._view(self._world.hosts[name]) == running for name in running)

    def disagreements(self) -> list[str]:
        running = {host.name for host in self._world.running()}
        problems = []
        for name in sorted(running):
            view = self._view(self._world.hosts[name])
            if missing := running - view:
                problems.append(f"{name} does not count as alive: {_some(missing)}")
            if ghosts := view - running:
                problems.append(f"{name} counts as alive, but they are not: {_some(ghosts)}")
        return problems

    def _view(self, host: Host) -> set[str]:
        boot, version, view = self._seen.get(host.name, (-1, -1, set()))
        if (boot, version) != (host.boot, host.core.members_version):
            view = alive_at(host)
            self._seen[host.name] = (host.boot, host.core.members_version, view)
        return view


def status_at(host: Host, name: str) -> str:
    """Serf's word for `name` as this node sees it; "" if it knows no such member."""
    member = host.core.member(name)
    return member.status if member is not None else ""


def everyone_sees(world: World, name: str, status: str) -> bool:
    """Do all other running nodes give `name` this status?"""
    return all(status_at(host, name) == status for host in world.running() if host.name != name)


# what was


def heard(world: World, name: str, kind: str, since: float = -inf) -> dict[str, float]:
    """When each other node first had an event of this kind about `name`: seconds after `since` if that is finite."""
    start = since if since > -inf else 0.0
    first: dict[str, float] = {}
    for host in world.hosts.values():
        for at, what, about in host.events:
            if what == kind and about == name and at >= since and host.name != name:
                first.setdefault(host.name, at - start)
    return first


def crashes_missed(world: World, name: str, since: float) -> list[str]:
    """Running nodes that had no failed event about `name` since then."""
    told = heard(world, name, MEMBER_FAILED, since)
    missed = {host.name for host in world.running() if host.name != name} - told.keys()
    return [f"never told that {name} failed: {_some(missed)}"] if missed else []


def false_failures(world: World, slow_ones_may_err: bool = False) -> list[str]:
    """Failed events about nodes that ran all the time and were not cut off from the observer."""
    wrong = [f"{observer.name} at t={at:.3f}: {name} failed"
             for observer in world.hosts.values()
             for at, kind, name in observer.events
             if kind == MEMBER_FAILED and not _excused(world, observer, name, at)
             and not (slow_ones_may_err and _in_trouble(observer, at))]
    return [f"{len(wrong)} false failures: {'; '.join(wrong[:NAMED_MAX])}"] if wrong else []


def _excused(world: World, observer: Host, name: str, at: float) -> bool:
    subjects = [host for host in world.hosts.values() if name in (host.name, host.settings.get("name"))]
    if any(_in_trouble(subject, at) for subject in subjects):
        return True
    return bool(subjects) and any(
        start <= at <= end[0] + EXCUSE_S and groups.get(name, 0) != groups.get(observer.name, 0)
        for start, end, groups in world.splits)


def _in_trouble(host: Host, at: float) -> bool:
    return any(trouble.start <= at <= trouble.end + EXCUSE_S for trouble in host.troubles)


def odd_events(world: World) -> list[str]:
    """Events that no sequence of true changes gives, such as a member that fails twice without coming back."""
    odd = []
    acquainted = {about for host in world.hosts.values() for _, kind, about in host.events if kind == ACQUAINTED}
    for host in world.hosts.values():
        last: dict[str, str] = {}
        unheard = ""
        for at, kind, about in host.events:
            if kind in (BOOT, ACQUAINTED):
                last, unheard = {}, "" if kind == BOOT else ACQUAINTED
                continue
            before = last.get(about, unheard if about in acquainted else "")
            if kind not in NEXT_KINDS[before]:
                odd.append(f"{host.name} at t={at:.3f}: {kind} {about} after {before or 'nothing'}")
            last[about] = kind
    return [f"{len(odd)} odd events: {'; '.join(odd[:NAMED_MAX])}"] if odd else []


@dataclass(slots=True)
class ClockWatch:
    """Looks at every node's Lamport clocks once a second: they never go back."""

    world: World
    problems: list[str] = field(default_factory=list)
    _seen: dict[str, tuple[int, list[int]]] = field(default_factory=dict)

    def begin(self) -> None:
        self.world.at(self.world.now + 1.0, self._look)

    def _look(self) -> None:
        for host in self.world.hosts.values():
            if host.state is HostState.RUNNING:
                stats = host.core.stats()
                clocks = [int(stats[clock]) for clock in CLOCKS]
                boot, before = self._seen.get(host.name, (host.boot, clocks))
                if boot == host.boot and any(now < then for now, then in zip(clocks, before, strict=True)):
                    self.problems.append(f"clocks of {host.name} went back at t={self.world.now}: {before} to {clocks}")
                self._seen[host.name] = host.boot, clocks
        self.begin()


def _some(names: set[str]) -> str:
    listed = ", ".join(sorted(names)[:NAMED_MAX])
    return f"{listed} and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else listed
