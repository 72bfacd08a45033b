"""Keys of a cluster of both kinds are changed from either side, and kept in keyring files."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import small_disk
from tests.support.processes import Agent, Lab, alive, wait_until_all_see
from tests.support.require import need_root, need_serf

JOIN_S = 15.0
FIRST, SECOND, THIRD = (b64encode(bytes(range(start, start + size))).decode() for start, size in ((0, 32), (50, 16),
                                                                                              (99, 24)))


class Cluster:
    """gossipd g1, g2 and Serf s1, s2, each with a keyring file of its own, all in one place but for `directories`."""

    def __init__(self, lab: Lab, program: str, **directories: Path) -> None:
        self.program = program
        self.files = {name: directories.get(name, lab.directory) / f"{name}.keyring"
                      for name in ("g1", "g2", "s1", "s2")}
        for path in self.files.values():
            path.write_text(json.dumps([FIRST]))
            path.chmod(0o600)
        self.agents: list[Agent] = [
            lab.gossipd(name, settings={"encryption": {"keyring_file": str(path)}}) if name.startswith("g")
            else lab.serf(name, options=[f"-keyring-file={path}"]) for name, path in self.files.items()]
        lab.start(*self.agents)
        for agent in self.agents[1:]:
            agent.join(self.agents[0].gossip)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        wait_until_all_see(self.agents, alive(self.agents), JOIN_S)

    def agent(self, name: str) -> Agent:
        return next(agent for agent in self.agents if agent.name == name)

    def keys(self, through: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Serf's own command, with the agent of either kind."""
        return subprocess.run([self.program, "keys", f"-rpc-addr={self.agent(through).rpc}", *arguments],
                              capture_output=True, text=True)

    def change(self, through: str, *arguments: str) -> None:
        done = self.keys(through, *arguments)
        assert done.returncode == 0, (arguments, done)

    def listed(self, through: str) -> dict[str, str]:
        """Key -> on how many of how many nodes, as the command prints it."""
        lines = self.keys(through, "-list").stdout.splitlines()
        return dict(line.split(maxsplit=1) for line in lines if line.strip().endswith("]"))

    def on_file(self) -> dict[str, list[str]]:
        return {name: json.loads(path.read_text()) for name, path in self.files.items()}


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(need_serf("keys of a cluster of gossipd and Serf")) as lab:
        yield lab


def test_keys_are_rotated_from_either_side_and_survive_a_restart(lab):
    cluster = Cluster(lab, need_serf("keys"))
    for through, old, new in (("s1", FIRST, SECOND), ("g1", SECOND, THIRD)):
        cluster.change(through, f"-install={new}")
        assert {tuple(keys) for keys in cluster.on_file().values()} == {(old, new)}
        for asked in ("g2", "s2"):
            assert cluster.listed(asked) == {old: "[4/4]", new: "[4/4]"}
        cluster.change(through, f"-use={new}")
        assert {tuple(keys) for keys in cluster.on_file().values()} == {(new, old)}
        cluster.change(through, f"-remove={old}")
        assert {tuple(keys) for keys in cluster.on_file().values()} == {(new,)}
        for asked in ("g1", "s1"):
            assert cluster.listed(asked) == {new: "[4/4]"}
    assert len({path.read_bytes() for path in cluster.files.values()}) == 1, "both kinds write the same bytes"
    cluster.wait_until_whole()
    for agent in cluster.agents:
        agent.kill()
    lab.start(*cluster.agents)
    for agent in cluster.agents[1:]:
        agent.join(cluster.agents[0].gossip)
    cluster.wait_until_whole()


def test_what_no_node_would_do_is_refused_on_both_sides(lab):
    cluster = Cluster(lab, need_serf("keys"))
    for through in ("g1", "s1"):
        for arguments in ([f"-remove={FIRST}"], [f"-use={SECOND}"], ["-install=AAEC"]):
            assert cluster.keys(through, *arguments).returncode == 1, (through, arguments)
    assert {tuple(keys) for keys in cluster.on_file().values()} == {(FIRST,)}


def test_a_keyring_file_keeps_its_owner_and_is_nobody_elses_after_a_change(lab):
    need_root("keyring files of other owners")
    cluster = Cluster(lab, need_serf("keys"))
    os.chown(cluster.files["g1"], 1234, 5678)
    cluster.files["g2"].chmod(0o640)
    cluster.change("s1", f"-install={SECOND}")
    first, second = cluster.files["g1"].stat(), cluster.files["g2"].stat()
    assert (first.st_uid, first.st_gid, stat.S_IMODE(first.st_mode)) == (1234, 5678, 0o600)
    assert stat.S_IMODE(second.st_mode) == 0o600


def test_a_node_that_cannot_keep_a_key_does_not_take_it_and_says_so(lab):
    with small_disk(lab.directory / "disk") as disk:
        cluster = Cluster(lab, need_serf("keys"), g2=disk.path)
        for spoil, mend, why in ((lambda: disk.read_only(True), lambda: disk.read_only(False), "Read-only file system"),
                                 (disk.fill, disk.free, "No space left on device")):
            spoil()
            for through in ("s1", "g1"):
                refused = cluster.keys(through, f"-install={SECOND}")
                assert refused.returncode == 1 and why in refused.stdout + refused.stderr, refused
                assert cluster.listed(through) == {FIRST: "[4/4]", SECOND: "[3/4]"}
            assert cluster.on_file()["g2"] == [FIRST]
            mend()
        cluster.change("s1", f"-install={SECOND}")
        assert cluster.on_file()["g2"] == [FIRST, SECOND]
        assert cluster.listed("g1") == {FIRST: "[4/4]", SECOND: "[4/4]"}
