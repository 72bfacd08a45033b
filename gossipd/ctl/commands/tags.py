"""gossipctl tags."""

from __future__ import annotations

import sys

from gossipd.client import Client
from gossipd.ctl.arguments import Arguments, UsageError
from gossipd.ctl.jsontext import json_text
from gossipd.ctl.output import EXIT_OK, printable, table
from gossipd.ctl.progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


BYTES_MAX = 512


def run_tags(arguments: Arguments, connect: Callable[[], Client]) -> int:
    action, words = arguments.words[0], arguments.words[1:]
    if action not in ("list", "set", "unset") or bool(words) == (action == "list"):
        raise UsageError("tags needs list, set KEY=VALUE... or unset KEY...", arguments.command)
    changes = dict(_pair(word, arguments) for word in words) if action == "set" else {}
    with connect() as client:
        if action != "list":
            with Progress(lambda: "telling the cluster"):
                client.change_tags(changes, delete=words if action == "unset" else [])
        tags = dict(sorted(client.stats().get("tags", {}).items()))
    if arguments.text("output") == "json":
        sys.stdout.write(json_text({"tags": tags, "bytes": bytes_taken(tags), "bytes_max": BYTES_MAX}))
    else:
        sys.stdout.write((_table(tags) if action == "list" else "") + _size(tags) + "\n")
    return EXIT_OK


def _pair(word: str, arguments: Arguments) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not key or not equals:
        raise UsageError(f"tags set: {word!r} is not KEY=VALUE", arguments.command)
    return key, value


def _table(tags: dict[str, str]) -> str:
    return table(["KEY", "VALUE"], [[printable(key), printable(tags[key])] for key in tags]) + "\n"


def _size(tags: dict[str, str]) -> str:
    return f"tags take {bytes_taken(tags)} of {BYTES_MAX} bytes"


def bytes_taken(tags: dict[str, str]) -> int:
    """In a member's metadata: a mark and a msgpack map in its old form, which has no one-byte lengths."""
    texts = [text.encode("utf-8", "surrogateescape") for item in tags.items() for text in item]
    return 1 + (1 if len(tags) < 16 else 3) + sum(len(text) + (1 if len(text) < 32 else 3) for text in texts)
