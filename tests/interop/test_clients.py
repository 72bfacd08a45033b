"""Each kind's command line with the other kind's agent."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.interop.clusters import JOIN_S, LEAVE_S, Clusters, Mixed, Variant
from tests.support.processes import GOSSIPCTL, ROOT, Agent, Lab, alive, wait_until, wait_until_all_see
from tests.support.require import need_serf

ANSWER_S = 30.0


@pytest.fixture(scope="module")
def program() -> str:
    return need_serf("Serf's command line with gossipd, gossipctl with Serf's agent")


@pytest.fixture(scope="module")
def cluster(program: str) -> Iterator[Mixed]:
    with ExitStack() as stack:
        yield from Clusters(stack, program, [Variant("plain")])


@pytest.fixture
def lab(program: str) -> Iterator[Lab]:
    with Lab(program) as lab:
        yield lab


def run(argv: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=ANSWER_S)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def serf(program: str):     # type: ignore[no-untyped-def]
    """`serf(agent, command, words...)`: exit code and output; results and errors all go to stdout."""
    def serf(agent: Agent, command: str, *words: str) -> tuple[int, str]:
        code, output, errors = run([program, command, f"-rpc-addr={agent.rpc}", *words])
        assert errors == ""
        return code, output
    return serf


def gossipctl(agent: Agent, *words: str) -> tuple[int, str, str]:
    return run([*GOSSIPCTL, "--rpc-addr", agent.rpc, *words])


def rows(text: str) -> list[list[str]]:
    """Lines of a table, in no order, tags in none either."""
    return sorted([",".join(sorted(cell.split(","))) for cell in line.split()] for line in text.splitlines())


# serf with gossipd


@pytest.mark.parametrize("words", [
    [], ["-detailed"], ["-status=alive"], ["-status=failed"], ["-name=g."], ["-tag", "role=w.*"], ["-tag", "nosuch=x"],
    ["-role=db"], ["-name=s1|g1", "-tag", "of=s1"],
], ids=" ".join)
def test_serf_members_says_the_same_with_both_kinds(cluster, serf, words):
    code, output = serf(cluster.g1, "members", *words)
    expected = serf(cluster.s1, "members", *words)
    assert (code, rows(output)) == (expected[0], rows(expected[1]))


def test_serf_members_in_json_is_the_same_with_both_kinds(cluster, serf):
    def members(agent: Agent) -> list[dict[str, object]]:
        code, output = serf(agent, "members", "-format=json")
        assert code == 0
        return sorted(json.loads(output)["members"], key=lambda member: member["name"])

    assert members(cluster.g1) == members(cluster.s1)
    assert len(members(cluster.g1)) == 4


def test_serf_members_with_a_bad_expression_fails_with_both_kinds_alike(cluster, serf):
    assert serf(cluster.g1, "members", "-name=(") == serf(cluster.s1, "members", "-name=(")


def test_serf_info_shows_the_same_sections_and_figures(cluster, serf):
    def info(agent: Agent) -> dict[str, dict[str, str]]:
        code, output = serf(agent, "info", "-format=json")
        assert code == 0
        return json.loads(output)

    ours, theirs = info(cluster.g1), info(cluster.s1)
    assert theirs.keys() <= ours.keys()
    for section in ("agent", "runtime", "serf"):
        assert theirs[section].keys() <= ours[section].keys(), section
    assert (ours["agent"], ours["tags"]) == ({"name": "g1"}, {"role": "web", "of": "g1"})
    for figure in ("members", "failed", "left", "encrypted"):
        assert ours["serf"][figure] == theirs["serf"][figure], figure


def test_serf_tags_changes_those_of_gossipd(cluster, serf):
    assert serf(cluster.g1, "tags", "-set", "rack=r 1", "-delete", "role") == (0, "Successfully updated agent tags\n")
    cluster.wait_until_tags_are("g1", {"of": "g1", "rack": "r 1"})
    assert serf(cluster.g1, "tags", "-set", "role=web", "-delete", "rack")[0] == 0
    cluster.wait_until_tags_are("g1", {"of": "g1", "role": "web"})
    too_long = f"big={'x' * 600}"
    ours, theirs = (serf(agent, "tags", "-set", too_long) for agent in (cluster.g1, cluster.s1))
    assert ours == theirs and ours[0] == 1


def test_serf_join_and_leave_work_with_gossipd(lab, serf):
    one, two = lab.gossipd("one"), lab.serf("two")
    lab.start(one, two)
    assert serf(one, "join", two.gossip) == (0, "Successfully joined cluster by contacting 1 nodes.\n")
    wait_until_all_see([one, two], alive([one, two]), JOIN_S)
    nobody = "127.0.0.1:1"
    for agent in (one, two):
        code, output = serf(agent, "join", nobody)
        assert code == 1 and output.startswith("Error joining the cluster: ")
        assert "Failed to join 127.0.0.1" in output and "refused" in output
    assert serf(one, "join", nobody, two.gossip) == (0, "Successfully joined cluster by contacting 1 nodes.\n")
    assert serf(one, "leave") == (0, "Graceful leave complete\n")
    assert one.wait_for_end(LEAVE_S) == 0
    wait_until_all_see([two], {"one": "left", "two": "alive"}, LEAVE_S)


def test_serf_force_leave_is_silent_even_for_unknown_names(cluster, serf):
    assert serf(cluster.g1, "force-leave", "nosuch") == (0, "")
    assert serf(cluster.g1, "force-leave", "-prune", "nosuch") == (0, "")


# gossipctl with serf's agent


def test_gossipctl_members_shows_what_serf_knows(cluster):
    code, output, errors = gossipctl(cluster.s1, "members", "-o", "json")
    assert (code, errors) == (0, "")
    seen = {member["name"]: (member["address"], member["status"], member["tags"])
            for member in json.loads(output)["members"]}
    assert seen == {agent.name: (agent.gossip, "alive", {"role": "db" if agent.kind == "serf" else "web",
                                                         "of": agent.name}) for agent in cluster.agents}
    code, output, errors = gossipctl(cluster.s1, "members", "--tag", "role=db", "-o", "name")
    assert (code, output, errors) == (0, "s1\ns2\n", "")
    assert gossipctl(cluster.s1, "members", "--name", "nosuch")[0] == 3


def test_gossipctl_members_is_the_same_table_with_both_kinds(cluster):
    assert gossipctl(cluster.s1, "members") == gossipctl(cluster.g1, "members")


def test_gossipctl_info_and_tags_work_with_serf(cluster):
    code, output, _ = gossipctl(cluster.s1, "info")
    assert code == 0 and "s1" in output
    assert gossipctl(cluster.s1, "tags", "set", "rack=r2")[::2] == (0, "")
    cluster.wait_until_tags_are("s1", {"role": "db", "of": "s1", "rack": "r2"})
    assert gossipctl(cluster.s1, "tags", "unset", "rack")[::2] == (0, "")
    cluster.wait_until_tags_are("s1", {"role": "db", "of": "s1"})


def test_gossipctl_events_follows_serf(cluster):
    watching = cluster.lab.spawn("events", [*GOSSIPCTL, "events", "-o", "jsonl", "--type", "member-update",
                                            "--count", "1", "--rpc-addr", cluster.s1.rpc])
    log = cluster.lab.directory / "events.log"
    versions = iter(range(10000))

    def seen() -> bool:
        # The subscription begins when it begins: something has to happen after that.
        cluster.g2.set_tags({"role": "web", "of": "g2", "version": str(next(versions))})
        return watching.poll() is not None

    wait_until(seen, "gossipctl sees an update", JOIN_S)
    event = json.loads(log.read_text())
    assert (watching.returncode, event["event"]) == (0, "member-update")
    assert "g2" in [member["name"] for member in event["members"]]
    cluster.g2.set_tags({}, delete=["version"])


def test_gossipctl_join_force_leave_and_leave_work_with_serf(lab):
    one, two, three = lab.serf("one"), lab.gossipd("two"), lab.gossipd("three")
    lab.start(one, two, three)
    assert gossipctl(one, "join", two.gossip) == (0, "joined\n", "")
    assert gossipctl(one, "join", "127.0.0.1:1", three.gossip)[0] == 4
    code, _, errors = gossipctl(one, "join", "127.0.0.1:1")
    assert code == 1 and "refused" in errors
    wait_until_all_see([one, two, three], alive([one, two, three]), JOIN_S)
    assert gossipctl(one, "force-leave", "nosuch")[0] == 3
    three.signal(2)
    three.wait_for_end(LEAVE_S)
    assert gossipctl(one, "force-leave", "--prune", "three")[0] == 0
    wait_until_all_see([one, two], alive([one, two]), LEAVE_S)
    assert gossipctl(one, "leave") == (0, "left the cluster\n", "")
    assert one.wait_for_end(LEAVE_S) == 0
    wait_until_all_see([two], {"one": "left", "two": "alive"}, LEAVE_S)


def test_gossipctl_says_when_nobody_is_there(lab):
    code, output, errors = gossipctl(lab.serf("nobody"), "members")
    assert (code, output) == (6, "") and "refused" in errors
