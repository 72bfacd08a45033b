"""What a command line asks for before its command has a word."""

from __future__ import annotations

import pytest

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
