"""Two nodes of one name, in clusters of both kinds and alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gossipd.client import ClientError
from gossipd.daemon.life import EXIT_NAME_LOST
from tests.support.processes import Agent, Lab, alive, wait_until, wait_until_all_see
from tests.support.require import need_serf

JOIN_S = 15.0
VOTE_S = 20.0           # a vote takes 3.2 s
SERF_LOST = 0           # how a Serf agent that lost its name exits


class Namesakes:
    """Two directories, so that two agents may have one name."""

    def __init__(self, first: Lab, second: Lab) -> None:
        self.first, self.second = first, second

    def agents(self, old: str, new: str) -> tuple[Agent, Agent]:
        """Both called x, of these kinds."""
        return self._agent(self.first, old), self._agent(self.second, new)

    def _agent(self, lab: Lab, kind: str) -> Agent:
        return lab.gossipd("x") if kind == "gossipd" else lab.serf("x")


@pytest.fixture
def namesakes() -> Iterator[Namesakes]:
    program = need_serf("name conflicts between gossipd and Serf")
    with Lab(program) as first, Lab(program) as second:
        yield Namesakes(first, second)


def a_cluster_with(old: Agent, lab: Lab) -> list[Agent]:
    """Four: one gossipd and two Serf agents beside `old`."""
    others: list[Agent] = [lab.gossipd("g"), lab.serf("s1"), lab.serf("s2")]
    lab.start(old, *others)
    for agent in others:
        agent.join(old.gossip)
    wait_until_all_see([old, *others], alive([old, *others]), JOIN_S)
    return [old, *others]


@pytest.mark.parametrize(("old", "new"), [("gossipd", "gossipd"), ("serf", "gossipd"), ("gossipd", "serf")],
                         ids=lambda kind: kind)
def test_of_two_in_a_cluster_the_newcomer_goes_and_says_why(namesakes, old, new):
    resident, newcomer = namesakes.agents(old, new)
    cluster = a_cluster_with(resident, namesakes.first)
    newcomer.start([cluster[1].gossip])
    code = newcomer.wait_for_end(VOTE_S)
    assert code == (EXIT_NAME_LOST if new == "gossipd" else SERF_LOST)
    if new == "gossipd":
        assert "name conflict: lost the name 'x' to " in newcomer.log_text()
    assert all(agent.running for agent in cluster)
    wait_until_all_see(cluster, alive(cluster), JOIN_S)
    assert all(agent.members()["x"].address == resident.gossip for agent in cluster)


def test_one_that_is_told_to_stay_stays_and_shows_it(namesakes):
    resident = namesakes.first.gossipd("x")
    cluster = a_cluster_with(resident, namesakes.first)
    newcomer = namesakes.second.gossipd("x", settings={"node": {"on_name_conflict": "stay"}})
    newcomer.start([cluster[1].gossip])

    def conflict() -> str:
        with newcomer.client() as client:
            return client.stats()["gossipd"].get("name_conflict", "")

    wait_until(conflict, "its info shows the conflict", VOTE_S)
    assert conflict().startswith(f"lost the name 'x' to {resident.gossip}: 0 of ")
    assert "staying, in conflict with the other node" in newcomer.log_text()
    with resident.client() as client:
        assert "name_conflict" not in client.stats()["gossipd"]
    assert all(agent.running for agent in [*cluster, newcomer])


def test_two_alone_do_not_both_go_and_when_they_meet_again_and_again_one_does(namesakes):
    """Nobody can vote. The one with the lower address, as text, stays in any case."""
    low, high = sorted(namesakes.agents("gossipd", "gossipd"), key=lambda agent: agent.host)
    low.start()
    high.start([low.gossip])
    for agent in (low, high):
        wait_until(lambda agent=agent: "nobody voted, staying" in agent.log_text(), f"{agent} at {agent.host} stays",
                   VOTE_S)
    assert low.running and high.running

    def met_again_and_gone() -> bool:
        with suppress(ClientError):
            low.join(high.gossip)
        return not high.running

    wait_until(met_again_and_gone, "the one with the higher address goes", VOTE_S)
    assert high.wait_for_end(0.0) == EXIT_NAME_LOST and low.running
    assert "lost the name 'x' to " in high.log_text()


@pytest.mark.parametrize("gossipd_joins", [True, False], ids=["gossipd joins", "serf joins"])
def test_alone_with_a_namesake_that_runs_serf_which_goes_by_itself_gossipd_stays(namesakes, gossipd_joins):
    ours, theirs = namesakes.agents("gossipd", "serf")
    ours.start()
    theirs.start()
    (ours if gossipd_joins else theirs).join((theirs if gossipd_joins else ours).gossip)
    assert theirs.wait_for_end(3 * VOTE_S) == SERF_LOST
    time.sleep(3.0)
    assert ours.running and ours.statuses() == {"x": "alive"}
