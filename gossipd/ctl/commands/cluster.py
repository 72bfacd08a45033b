"""gossipctl join, leave, force-leave."""

from __future__ import annotations

import sys

from gossipd.client import Client, ClientError, JoinFailed
from gossipd.ctl.arguments import Arguments
from gossipd.ctl.output import EXIT_NOTHING, EXIT_OK, EXIT_PARTLY, complain, fail, result
from gossipd.ctl.progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run_cluster(arguments: Arguments, connect: Callable[[], Client]) -> int:
    assert arguments.command is not None
    as_json = arguments.text("output") == "json"
    with connect() as client:
        if arguments.command.name == "join":
            return _join(client, arguments.words, arguments.flag("replay"), as_json)
        if arguments.command.name == "leave":
            with Progress(lambda: "leaving the cluster"):
                client.leave()
            sys.stdout.write(result(as_json, {"left": True}, "left the cluster"))
            return EXIT_OK
        return _force_leave(client, arguments.words[0], arguments.flag("prune"), as_json)


def _join(client: Client, addresses: list[str], replay: bool, as_json: bool) -> int:
    try:
        with Progress(lambda: "joining"):
            count = client.join(addresses, replay=replay)
    except JoinFailed as error:
        raise ClientError(f"could not join: {error}") from None
    text = f"joined through {count} of {len(addresses)} addresses" if len(addresses) > 1 else "joined"
    sys.stdout.write(result(as_json, {"addresses": len(addresses), "contacted": count}, text))
    if count < len(addresses):
        complain(f"{len(addresses) - count} of {len(addresses)} addresses could not be contacted")
        return EXIT_PARTLY
    return EXIT_OK


def _force_leave(client: Client, name: str, prune: bool, as_json: bool) -> int:
    """Serf's agent takes any name; a person wants to hear of a mistyped one."""
    known = {member.name: member for member in client.members()}
    if name not in known:
        from difflib import get_close_matches

        near = get_close_matches(name, list(known), n=1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        return fail(EXIT_NOTHING, f"no member is called {name!r}{advice}", as_json)
    if known[name].status == "alive":
        complain(f"{name!r} is alive: if it really is, it will come back")
    with Progress(lambda: "telling the cluster"):
        client.force_leave(name, prune=prune)
    sys.stdout.write(result(as_json, {"name": name, "pruned": prune},
                            f"{name!r} {'pruned' if prune else 'declared left'}"))
    return EXIT_OK
