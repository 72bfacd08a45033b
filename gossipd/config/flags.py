"""The command line of gossipd: flags for the common settings, which win over the files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gossipd import __version__
from gossipd.config.source import Source

FLAGS: dict[str, tuple[str, str, str, str]] = {
    # flag: section, key, what to write for its value, help
    "--node": ("node", "name", "NAME", "name of this node (default: the host name)"),
    "--tag": ("node", "tags", "KEY=VALUE", "what this node is; repeatable"),
    "--bind": ("network", "bind", "ADDR", "address of the gossip sockets (default: 0.0.0.0:7946)"),
    "--advertise": ("network", "advertise", "ADDR", "address told to others"),
    "--profile": ("network", "profile", "NAME", "timing: lan (default), wan or local"),
    "--join": ("join", "seeds", "ADDR", "a member to join at start; repeatable"),
    "--discover": ("discovery", "cluster", "NAME", "find and join members of this cluster by multicast DNS"),
    "--rpc-socket": ("rpc", "socket", "PATH", "unix socket for gossipctl"),
    "--rpc-addr": ("rpc", "tcp", "HOST:PORT", "TCP address for clients of Serf"),
    "--snapshot": ("snapshot", "path", "FILE", "remember members over a restart"),
    "--encrypt-key": ("encryption", "key", "BASE64", "key of the cluster; others on this machine can see it here"),
    "--label": ("encryption", "label", "TEXT", "label of the cluster's packets"),
    "--log-level": ("log", "level", "LEVEL", "debug, info (default), warning or error"),
    "--log-format": ("log", "format", "FORMAT", "auto (default), text, journal or json"),
}


@dataclass(slots=True)
class Arguments:
    """What the command line asks for."""

    paths: list[str]        # of --config, in order
    check_only: bool
    flags: Source


class FlagSource(Source):
    specs_where = "--event-handler"

    def where(self, section: str, key: str = "", table: int = 0) -> str:
        return next(flag for flag, about in FLAGS.items() if about[:2] == (section, key))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="gossipd", allow_abbrev=False,
        description="Cluster membership, failure detection and events by gossip; speaks Serf's protocol.",
        epilog="Signals: INT says goodbye to the cluster and stops, TERM stops. See gossipd(8) and gossipd.toml(5).")
    made.add_argument("--config", action="append", default=[], metavar="FILE|DIR",
                      help="settings: a TOML file, or a directory of *.toml files; repeatable, later ones win")
    made.add_argument("--check", action="store_true", help="check the settings and exit")
    made.add_argument("--version", action="version", version=f"gossipd {__version__}")
    for flag, (section, key, value, text) in FLAGS.items():
        action = "append" if "repeatable" in text else "store"
        made.add_argument(flag, action=action, dest=f"{section}.{key}", metavar=value, help=text)
    made.add_argument("--event-handler", action="append", default=[], metavar="SPEC",
                      help="run a script on events, as Serf writes it: [EVENT[,EVENT]=]SCRIPT; repeatable")
    return made


def parse(argv: Sequence[str]) -> Arguments:
    """`argv` without the program's name. Prints and raises SystemExit for --help, --version (0) and bad flags (2)."""
    made = parser()
    given = vars(made.parse_args(argv))
    values: dict[str, dict[str, Any]] = {}
    for section, key, _, _ in FLAGS.values():
        value = given[f"{section}.{key}"]
        if value is not None:
            values.setdefault(section, {})[key] = _tags(value, made) if key == "tags" else value
    return Arguments(given["config"], given["check"], FlagSource(values, given["event_handler"]))


def _tags(pairs: list[str], made: argparse.ArgumentParser) -> dict[str, str]:
    tags = {}
    for pair in pairs:
        key, equals, tags[key] = pair.partition("=")
        if not key or not equals:
            made.error(f"argument --tag: expected KEY=VALUE, not {pair!r}")
    return tags
