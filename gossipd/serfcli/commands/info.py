"""serf info, rtt"""

from __future__ import annotations

from gossipd.client import ClientError
from gossipd.serfcli.commands.members import wants_json
from gossipd.serfcli.dial import SerfClient, reason
from gossipd.serfcli.flags import Flags
from gossipd.serfcli.output import EXIT_OK, Failed, Misused, say
from gossipd.serfcli.text import go_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run_info(flags: Flags, connect: Callable[[], SerfClient]) -> int:
    with connect() as client:
        stats = _stats(client)
    sections = {name: dict(sorted(stats[name].items())) for name in sorted(stats)}
    if wants_json(flags):
        say(go_json(sections))
        return EXIT_OK
    say("\n".join(f"{name}:" + "".join(f"\n\t{key} = {value}" for key, value in section.items())
                  for name, section in sections.items()))
    return EXIT_OK


def run_rtt(flags: Flags, connect: Callable[[], SerfClient]) -> int:
    with connect() as client:
        names = list(flags.words)
        if len(names) not in (1, 2):
            raise Misused("One or two node names must be specified")
        if len(names) == 1:
            names.append(_stats(client)["agent"]["name"])
        coordinates = []
        for name in names:
            try:
                coordinate = client.coordinate(name)
            except ClientError as error:
                raise Failed(f"Error getting coordinates: {reason(error)}") from None
            if coordinate is None:
                raise Failed(f'Could not find a coordinate for node "{name}"')
            coordinates.append(coordinate)
    rtt_ms = coordinates[0].rtt_s(coordinates[1]) * 1000
    say(f"Estimated {names[0]} <-> {names[1]} rtt: {rtt_ms:.3f} ms")
    return EXIT_OK


def _stats(client: SerfClient) -> dict[str, dict[str, str]]:
    try:
        return client.stats()
    except ClientError as error:
        raise Failed(f"Error querying agent: {reason(error)}") from None
