"""A crashed process among five: seen fast by all, and by nobody if it is back in time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.processes import Lab, Watch, alive, wait_until, wait_until_all_see

NAMES = ("one", "two", "three", "four", "five")
SETTLE_S = 15.0
FAST_S = 3.0            # 1.1 to 2.2 s on an idle machine: a second of it is the grace
NEWS_S = 10.0
KINDS = ("member-failed", "member-join", "member-leave", "member-update")


class Cluster:
    """Five daemons that know each other. The last one is the victim."""

    def __init__(self, lab: Lab, settings: dict[str, object]) -> None:
        self.lab = lab
        self.agents = [lab.gossipd(name, settings={"swim": settings}) for name in NAMES]
        *self.others, self.victim = self.agents
        lab.start(*self.agents)
        for agent in self.agents[1:]:
            agent.join(self.agents[0].gossip)
        self.wait_until_well()

    def wait_until_well(self) -> None:
        """Nobody has failed or is suspected."""
        wait_until_all_see(self.agents, alive(self.agents), SETTLE_S)
        for agent in self.agents:
            wait_until(lambda agent=agent: set(agent.states().values()) == {"alive"}, f"{agent} is calm", SETTLE_S)

    def restart_victim(self) -> None:
        self.victim.start([self.others[0].gossip])
        self.wait_until_well()

    def logs(self) -> list[tuple[str, str]]:
        return self.lab.logs()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Lab() as lab:
        yield Cluster(lab, {})


@pytest.fixture
def patient_cluster() -> Iterator[Cluster]:
    """With a grace long enough for a test to act in it."""
    with Lab() as lab:
        yield Cluster(lab, {"refusal_grace": "4s"})


def test_a_killed_process_is_seen_as_failed_by_all_others_within_seconds(cluster):
    watches = [agent.watch("member-failed") for agent in cluster.others]
    killed = time.monotonic()
    cluster.victim.kill()
    for agent, watch in zip(cluster.others, watches, strict=True):
        when = wait_until(lambda watch=watch: watch.when("member-failed", "five"), f"{agent} tells", NEWS_S)
        assert when - killed < FAST_S, f"{agent}"
        assert "port refused, seen by" in (agent.members()["five"].reason or "")
    cluster.restart_victim()


def test_a_restart_at_once_is_a_failure_for_nobody(cluster):
    watches = [agent.watch(*KINDS) for agent in cluster.others]
    cluster.victim.kill()
    cluster.restart_victim()
    assert_told_nothing(cluster, watches)


def test_a_restart_within_the_grace_is_a_failure_for_nobody_even_if_the_crash_was_noticed(patient_cluster):
    cluster = patient_cluster
    watches = [agent.watch(*KINDS) for agent in cluster.others]
    cluster.victim.kill()
    for agent in cluster.others:
        wait_until(lambda agent=agent: agent.states()["five"] == "suspect", f"{agent} suspects", NEWS_S)
    reasons = [agent.members()["five"].reason or "" for agent in cluster.others]
    assert any("port refused, seen by" in reason for reason in reasons), reasons
    cluster.restart_victim()
    assert_told_nothing(cluster, watches)


def assert_told_nothing(cluster: Cluster, watches: list[Watch]) -> None:
    """What happens for certain comes first."""
    cluster.victim.set_tags({"back": "yes"})
    for watch in watches:
        wait_until(lambda watch=watch: about_victim(watch), f"{watch} tells of the change of tags", NEWS_S)
        assert about_victim(watch) == ["member-update five"]
    cluster.victim.set_tags({}, delete=["back"])


def about_victim(watch: Watch) -> list[str]:
    return [told for told in watch.told() if told.endswith(" five")]
