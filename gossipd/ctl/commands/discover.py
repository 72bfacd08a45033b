"""gossipctl discover."""

from __future__ import annotations

import sys
from time import sleep, time

from gossipd.client import Client, Discovered, Sighting
from gossipd.ctl.arguments import Arguments, UsageError
from gossipd.ctl.jsontext import json_text
from gossipd.ctl.output import EXIT_NOTHING, EXIT_OK, age, complain, printable, rfc3339, table
from gossipd.ctl.progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_S = 1.0
WAIT_MAX_S = 3600.0


def run_discover(arguments: Arguments, connect: Callable[[], Client]) -> int:
    wait_s = _wait(arguments)
    with connect() as client:
        found = client.discovered(ask=wait_s > 0)
        if wait_s and found.cluster:
            with Progress(lambda: "listening"):
                sleep(wait_s)
            found = client.discovered()
    if arguments.text("output") == "json":
        sys.stdout.write(json_text(_json(found)))
    elif found.seen:
        sys.stdout.write(_table(found.seen))
    for interface, family, trouble in found.links:
        if trouble:
            complain(f"{printable(interface)}, {family}: {trouble}")
    if not found.seen:
        complain(_why_nobody(found))
    return EXIT_OK if found.seen else EXIT_NOTHING


def _wait(arguments: Arguments) -> float:
    text = arguments.text("wait")
    try:
        seconds = float(text.removesuffix("s")) if text else WAIT_S
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= WAIT_MAX_S:
        raise UsageError(f"option --wait: {text!r} is not a number of seconds", arguments.command)
    return seconds


def _why_nobody(found: Discovered) -> str:
    if not found.cluster:
        return "discovery is off: set discovery.cluster, or start gossipd with --discover NAME"
    places = sorted({interface for interface, _, _ in found.links})
    if not places:
        return "discovery finds no interface to look on"
    return f"nobody of cluster {found.cluster!r} is heard on {', '.join(places)}"


def _table(seen: list[Sighting]) -> str:
    now = time()
    heading = ["NAME", "ADDRESS", "STATUS", "INTERFACE", "HEARD"]
    return table(heading, [[
        printable(one.name), one.address,
        f"{one.status} ({one.failures})" if one.status == "failed" else one.status,
        printable(",".join(one.interfaces)), f"{age(now - one.heard)} ago",
    ] for one in seen])


def _json(found: Discovered) -> dict[str, object]:
    """docs/json.md says what these mean; keys are only ever added."""
    return {
        "cluster": found.cluster or None,
        "links": [{"interface": interface, "family": family, "trouble": trouble or None}
                  for interface, family, trouble in found.links],
        "seen": [{
            "name": one.name,
            "host": one.host,
            "port": one.port,
            "address": one.address,
            "interfaces": list(one.interfaces),
            "source": one.source,
            "heard": rfc3339(one.heard),
            "expires": rfc3339(one.expires),
            "status": one.status,
            "failures": one.failures,
        } for one in found.seen],
    }
