"""What a command line asks for before its command has a word."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from gossipd.serfcli.commands.members import DEPRECATED_ROLE
from gossipd.serfcli.main import main


@pytest.mark.parametrize("argv, code, begin", [
    (["-prune", "members"], 1, "Flags of a command go behind its name."),
    (["-prune", "members", "-h"], 0, "Usage: serf members "),
    (["-h", "members"], 0, "Usage: serf members "),
    (["-prune"], 127, "Usage: serf "),
    (["--help"], 0, "Usage: serf "),
])
def test_help_is_given_wherever_it_is_asked_for(argv, code, begin, capfd):
    assert main(argv) == code
    assert capfd.readouterr().err.startswith(begin)


@pytest.mark.parametrize("argv, said", [
    (["query", "-tag=bad"], ["Error: Invalid tag: 'bad'"]),
    (["members", "-role=x", "-tag=bad"], [DEPRECATED_ROLE, "Error: Invalid tag: 'bad'"]),
])
def test_of_several_mistakes_the_one_is_told_that_serf_tells(argv, said, capfd):
    assert main(argv) == 1
    assert capfd.readouterr().out.splitlines() == said


@pytest.mark.parametrize("host", ["127.0.0.1", "", "0.0.0.0"])
def test_an_address_for_clients_that_is_taken_is_told_in_gos_words_as_it_was_given(host, tmp_path):
    (tmp_path / "serf.json").write_text('{"rpc_auth": "secret"}')
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"{host}:{taken.getsockname()[1]}"
        run = [sys.executable, "-m", "gossipd.serfcli", "agent", "-bind=127.0.0.1:0", f"-rpc-addr={address}",
               f"-config-file={tmp_path / 'serf.json'}"]
        done = subprocess.run(run, capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines()[-1] == (
        f"==> Error starting RPC listener: listen tcp {address}: bind: address already in use")
    assert done.returncode == 1
