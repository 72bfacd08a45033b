"""Two gossipd and two Serf agents in one cluster: plain, compressed, encrypted; all variants at the same time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.interop.clusters import EVENT_S, FAIL_S, JOIN_S, LEAVE_S, Clusters, Mixed
from tests.support.processes import GOSSIPCTL, Agent, Serf, Watch, wait_until
from tests.support.require import need_serf


@pytest.fixture(scope="module")
def _clusters() -> Iterator[Clusters]:
    program = need_serf("gossipd and Serf in one cluster")
    with ExitStack() as stack:
        yield Clusters(stack, program)


@pytest.fixture
def clusters(_clusters: Clusters) -> Clusters:
    """Everybody is there, whatever the test before did."""
    _clusters.make_whole()
    return _clusters


def test_all_see_all_with_address_and_version(clusters):
    for cluster in clusters:
        expected = {agent.name: (agent.gossip, (2, 5, 5)) for agent in cluster.agents}
        for agent in cluster.agents:
            seen = {name: (member.address, member.protocol) for name, member in agent.members().items()}
            assert seen == expected, f"{cluster}: {agent}"


def test_tags_given_at_the_start_travel_both_ways(clusters):
    for cluster in clusters:
        for agent in cluster.agents:
            role = "db" if agent.kind == "serf" else "web"
            cluster.wait_until_tags_are(agent.name, {"role": role, "of": agent.name})


def test_a_change_of_tags_travels_both_ways(clusters):
    for cluster in clusters:
        for agent in (cluster.g1, cluster.s1):
            agent.set_tags({"état": "prêt", "empty": ""}, delete=["role"])
            cluster.wait_until_tags_are(agent.name, {"of": agent.name, "état": "prêt", "empty": ""})
            agent.set_tags({"role": "web" if agent is cluster.g1 else "db"}, delete=["état", "empty"])


def test_a_change_of_tags_is_an_event_for_both_kinds(clusters):
    for cluster in clusters:
        watches = [agent.watch("member-update") for agent in (cluster.g1, cluster.s1)]
        cluster.g2.set_tags({"version": "2"})
        cluster.s2.set_tags({"version": "2"})
        for watch in watches:
            wait_until(lambda watch=watch: set(watch.told()) >= {"member-update g2", "member-update s2"},
                       f"{cluster}: {watch} tells of both updates", EVENT_S)
        for agent in (cluster.g2, cluster.s2):
            agent.set_tags({}, delete=["version"])


@pytest.mark.parametrize("name", ["g2", "s2"])
def test_a_killed_agent_is_seen_as_failed_by_both_kinds_and_comes_back_by_a_restart(clusters, name):
    watches = [(cluster, agent.watch("member-failed", "member-join"))
               for cluster in clusters for agent in (cluster.g1, cluster.s1)]
    for cluster in clusters:
        cluster.lab.agents[name].kill()
    for cluster in clusters:
        cluster.wait_until_all_see(FAIL_S, **{name: "failed"})
    wait_until_told(watches, [f"member-failed {name}"])
    for cluster in clusters:
        cluster.lab.agents[name].launch([cluster.g1.gossip, cluster.s1.gossip])
    for cluster in clusters:
        cluster.lab.agents[name].ready()
        cluster.wait_until_all_see(JOIN_S)
    wait_until_told(watches, [f"member-failed {name}", f"member-join {name}"])


def wait_until_told(watches: list[tuple[Mixed, Watch]], events: list[str]) -> None:
    """Serf gathers events for a second or more."""
    for cluster, watch in watches:
        wait_until(lambda watch=watch: watch.told() == events,
                   lambda cluster=cluster, watch=watch: f"{cluster}: {watch} has {events}, not {watch.told()}", EVENT_S)


def test_agents_that_leave_are_seen_as_left_by_both_kinds_and_may_come_back(clusters):
    """By a signal in some clusters, by the command in the others."""
    watches = [(cluster, agent.watch("member-failed", "member-leave"))
               for cluster in clusters for agent in (cluster.g1, cluster.s1)]
    for number, cluster in enumerate(clusters):
        for agent in (cluster.g2, cluster.s2):
            if number % 2:
                agent.signal(signal.SIGINT)
            else:
                cluster.lab.spawn(f"leave-{agent.name}", leave_command(agent))
    for cluster in clusters:
        assert [agent.wait_for_end(LEAVE_S) for agent in (cluster.g2, cluster.s2)] == [0, 0], str(cluster)
        cluster.wait_until_all_see(LEAVE_S, g2="left", s2="left")
    for cluster, watch in watches:
        wait_until(lambda watch=watch: len(watch.told()) == 2, f"{cluster}: {watch} tells of both", EVENT_S)
        assert set(watch.told()) == {"member-leave g2", "member-leave s2"}, f"{cluster}: {watch}"
    clusters.make_whole()


def leave_command(agent: Agent) -> list[str]:
    if isinstance(agent, Serf):
        return [agent.program, "leave", f"-rpc-addr={agent.rpc}"]
    return [*GOSSIPCTL, "leave", "--rpc-addr", agent.rpc]


def test_a_member_that_is_alive_objects_to_a_force_leave(clusters):
    """Of either kind, declared left through the other one."""
    for cluster in clusters:
        cluster.force_leave(cluster.g1, "s2", after={})
        cluster.force_leave(cluster.s1, "g2", after={})


def test_force_leave_and_prune_work_between_the_kinds(clusters):
    """Serf's agent forces a gossipd out in some clusters, gossipd a Serf agent in the others, which then prune."""
    plans = [(cluster, cluster.s1, cluster.g1, "g2") if number % 2 else (cluster, cluster.g1, cluster.s1, "s2")
             for number, cluster in enumerate(clusters)]
    for cluster, _, _, lost in plans:
        cluster.lab.agents[lost].kill()
    for cluster, one, _, lost in plans:
        cluster.wait_until_all_see(FAIL_S, **{lost: "failed"})
        cluster.force_leave(one, lost, after={lost: "left"})
    for cluster, _, other, lost in plans:
        cluster.force_leave(other, lost, prune=True, after={})
    clusters.make_whole()
