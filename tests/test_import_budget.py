"""What a gossipctl that answers in 15 ms may import: a bare interpreter takes 11 of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.ctl.daemon import a_daemon

ROOT = Path(__file__).resolve().parent.parent
INTERPRETER = {name for name in sys.stdlib_module_names if name.startswith("_")} | {
    "builtins", "sys", "marshal", "posix", "zipimport", "time", "codecs", "encodings", "encodings.aliases",
    "encodings.utf_8", "io", "abc", "stat", "posixpath", "genericpath", "os", "os.path", "__main__", "errno"}
MEMBERS_MAY_IMPORT = {
    "__future__", "_socket", "_struct", "struct",
    "gossipd", "gossipd.errors", "gossipd.paths", "gossipd.client", "gossipd.clientcalls", "gossipd.clientrecords",
    "gossipd.clientwire",
    "gossipd.rpc", "gossipd.rpc.plain",
    "gossipd.ctl", "gossipd.ctl.main", "gossipd.ctl.table", "gossipd.ctl.arguments", "gossipd.ctl.output",
    "gossipd.ctl.jsontext", "gossipd.ctl.commands", "gossipd.ctl.commands.members",
}
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from gossipd.ctl.main import main
code = main(sys.argv[2:])
print(*sorted(sys.modules), file=sys.stderr)
sys.exit(code)
"""


SERF_MAY_IMPORT = {
    "__future__", "_socket", "_struct", "struct",
    "gossipd", "gossipd.errors", "gossipd.paths", "gossipd.client", "gossipd.clientcalls", "gossipd.clientrecords",
    "gossipd.clientwire",
    "gossipd.rpc", "gossipd.rpc.plain",
    "gossipd.serfcli", "gossipd.serfcli.main", "gossipd.serfcli.table", "gossipd.serfcli.flags",
    "gossipd.serfcli.dial", "gossipd.serfcli.output", "gossipd.serfcli.text", "gossipd.serfcli.commands",
    "gossipd.serfcli.commands.members",
}


@pytest.mark.parametrize("format", ["table", "wide", "json"])
def test_gossipctl_members_imports_next_to_nothing(tmp_path, format):
    with a_daemon(tmp_path / "rpc.sock") as daemon:
        done = subprocess.run(
            [sys.executable, "-IS", "-c", SCRIPT, str(ROOT), "members", "-o", format, "--rpc-socket", daemon.path],
            capture_output=True, text=True, check=True)
    assert "alpha" in done.stdout
    imported = set(done.stderr.split())
    assert imported - INTERPRETER - MEMBERS_MAY_IMPORT == set()


def test_serf_members_imports_no_more(tmp_path):
    """Four times as long as the real one, which takes 6 ms, is 24 ms."""
    script = SCRIPT.replace("gossipd.ctl.main", "gossipd.serfcli.main")
    done = subprocess.run([sys.executable, "-IS", "-c", script, str(ROOT), "members", "-rpc-addr=127.0.0.1:1"],
                          capture_output=True, text=True)
    assert done.stdout.startswith("Error connecting to Serf agent: ")
    assert set(done.stderr.split()) - INTERPRETER - SERF_MAY_IMPORT == set()
