"""serf event, join, leave, force-leave, tags"""

from __future__ import annotations

from gossipd.client import ClientError
from gossipd.serfcli.commands.members import pairs
from gossipd.serfcli.dial import SerfClient, reason
from gossipd.serfcli.flags import Flags
from gossipd.serfcli.output import EXIT_OK, Failed, Misused, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run_event(flags: Flags, connect: Callable[[], SerfClient]) -> int:
    name, payload = name_and_payload(flags, "An event")
    coalesce = bool(flags.given.get("coalesce", True))
    with connect() as client:
        try:
            client.send_event(name, payload, coalesce=coalesce)
        except ClientError as error:
            raise Failed(f"Error sending event: {reason(error)}") from None
    say(f"Event '{name}' dispatched! Coalescing enabled: {str(coalesce).lower()}")
    return EXIT_OK


def name_and_payload(flags: Flags, what: str) -> tuple[str, bytes | None]:
    """Raises Misused."""
    words = flags.words
    if not words:
        raise Misused(f"{what} name must be specified.")
    if len(words) > 2:
        raise Misused("Too many command line arguments. Only a name and payload must be specified.")
    return words[0], words[1].encode("utf-8", "surrogateescape") if len(words) == 2 else None


def run_join(flags: Flags, connect: Callable[[], SerfClient]) -> int:
    if not flags.words:
        raise Misused("At least one address to join must be specified.")
    with connect() as client:
        try:
            count = client.join(flags.words, replay=flags.switch("replay"))
        except ClientError as error:
            raise Failed(f"Error joining the cluster: {reason(error)}") from None
    say(f"Successfully joined cluster by contacting {count} nodes.")
    return EXIT_OK


def run_leave(flags: Flags, connect: Callable[[], SerfClient]) -> int:
    with connect() as client:
        try:
            client.leave()
        except ClientError as error:
            raise Failed(f"Error leaving: {reason(error)}") from None
    say("Graceful leave complete")
    return EXIT_OK


def run_force_leave(flags: Flags, connect: Callable[[], SerfClient]) -> int:
    if len(flags.words) != 1:
        raise Misused("A node name must be specified to force leave.")
    with connect() as client:
        try:
            client.force_leave(flags.words[0], prune=flags.switch("prune"))
        except ClientError as error:
            raise Failed(f"Error force leaving: {reason(error)}") from None
    return EXIT_OK


def run_tags(flags: Flags, connect: Callable[[], SerfClient]) -> int:
    changes, delete = flags.texts("set"), flags.texts("delete")
    if not (changes or delete):
        raise Misused("")
    with connect() as client:
        tags = pairs(changes)
        try:
            client.change_tags(tags, delete)
        except ClientError as error:
            raise Failed(f"Error setting tags: {reason(error)}") from None
    say("Successfully updated agent tags")
    return EXIT_OK
