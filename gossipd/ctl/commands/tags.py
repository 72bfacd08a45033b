"""gossipctl tags."""

from __future__ import annotations

import sys

from gossipd.client import Client
from gossipd.ctl.arguments import Arguments, UsageError
from gossipd.ctl.jsontext import json_text
from gossipd.ctl.output import EXIT_OK, printable, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run_tags(arguments: Arguments, connect: Callable[[], Client]) -> int:
    action, words = arguments.words[0], arguments.words[1:]
    if action == "list" and not words:
        return _list(arguments, connect)
    if action == "set" and words:
        changes = dict(_pair(word, arguments) for word in words)
        with connect() as client:
            client.change_tags(changes)
    elif action == "unset" and words:
        with connect() as client:
            client.change_tags(delete=words)
    else:
        raise UsageError("tags needs list, set KEY=VALUE... or unset KEY...", arguments.command)
    return EXIT_OK


def _pair(word: str, arguments: Arguments) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not key or not equals:
        raise UsageError(f"tags set: {word!r} is not KEY=VALUE", arguments.command)
    return key, value


def _list(arguments: Arguments, connect: Callable[[], Client]) -> int:
    with connect() as client:
        tags = dict(sorted(client.stats().get("tags", {}).items()))
    if arguments.text("output") == "json":
        sys.stdout.write(json_text({"tags": tags}))
    else:
        sys.stdout.write(table(["KEY", "VALUE"], [[printable(key), printable(tags[key])] for key in tags]))
    return EXIT_OK
