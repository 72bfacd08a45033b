"""gossipctl rtt."""

from __future__ import annotations

import sys

from gossipd.client import Client
from gossipd.ctl.arguments import Arguments
from gossipd.ctl.jsontext import json_text
from gossipd.ctl.output import EXIT_NOTHING, EXIT_OK, fail, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run_rtt(arguments: Arguments, connect: Callable[[], Client]) -> int:
    names = list(arguments.words)
    coordinates = []
    as_json = arguments.text("output") == "json"
    with connect() as client:
        if len(names) == 1:
            names.append(client.stats()["agent"]["name"])
        for name in names:
            coordinate = client.coordinate(name)
            if coordinate is None:
                why = f"nothing is known of {name!r}: no member has this name, or it was not measured yet"
                return fail(EXIT_NOTHING, why, as_json)
            coordinates.append(coordinate)
    rtt_ms = coordinates[0].rtt_s(coordinates[1]) * 1000
    if as_json:
        sys.stdout.write(json_text({"nodes": names, "rtt_ms": round(rtt_ms, 6)}))
    else:
        sys.stdout.write(f"{printable(names[0])} <-> {printable(names[1])}: {rtt_ms:.3f} ms\n")
    return EXIT_OK
