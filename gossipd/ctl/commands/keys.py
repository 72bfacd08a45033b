"""gossipctl keys, keygen."""

from __future__ import annotations

import os
import sys

from gossipd.client import Client, KeyResult
from gossipd.ctl.arguments import Arguments, UsageError
from gossipd.ctl.jsontext import json_text
from gossipd.ctl.output import EXIT_ERROR, EXIT_OK, EXIT_PARTLY, complain, printable, table
from gossipd.ctl.payload import payload_argument
from gossipd.ctl.progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KEY_BYTES = "32"


def run_keys(arguments: Arguments, connect: Callable[[], Client]) -> int:
    assert arguments.command is not None
    if arguments.command.name == "keygen":
        return _keygen(arguments)
    action, listing = arguments.words[0], arguments.words == ["list"]
    key = "" if listing else _key(arguments)
    if not listing and not (key and action in ("install", "use", "remove")):
        raise UsageError("keys needs list, install KEY, use KEY or remove KEY", arguments.command)
    with connect() as client, Progress(lambda: "asking all members"):
        result = _call(client, action, key)
    if arguments.text("output") == "json":
        sys.stdout.write(json_text(_json(result, action)))
    else:
        sys.stdout.write(_listing(result) if action == "list" else _by_node(result))
    if not result.error:
        return EXIT_OK
    if action == "list" or result.done is None:
        for node in sorted(result.messages):
            complain(f"{printable(node)}: {result.messages[node]}")
    complain(result.error)
    return EXIT_PARTLY if result.responses > result.errors else EXIT_ERROR


def _key(arguments: Arguments) -> str:
    data = payload_argument(arguments) or b""
    return data.decode("utf-8", "surrogateescape").strip()


def _call(client: Client, action: str, key: str) -> KeyResult:
    if action == "list":
        return client.list_keys()
    if action == "install":
        return client.install_key(key)
    return client.use_key(key) if action == "use" else client.remove_key(key)


def _listing(result: KeyResult) -> str:
    """The key in use first, then those that most members have."""
    primaries = result.primaries
    keys = sorted(result.keys, key=lambda key: (-(primaries or {}).get(key, 0), -result.keys[key], key))
    if primaries is None:
        rows = [[printable(key), f"{result.keys[key]}/{result.nodes}"] for key in keys]
        return table(["KEY", "MEMBERS"], rows)
    rows = [[printable(key), f"{result.keys[key]}/{result.nodes}", f"{primaries.get(key, 0)}/{result.nodes}"]
            for key in keys]
    return table(["KEY", "MEMBERS", "IN USE"], rows)


def _by_node(result: KeyResult) -> str:
    if result.done is None or result.silent is None:
        return f"done on {result.responses - result.errors} of {result.nodes} members\n"
    outcomes = dict.fromkeys(result.done, "done") | result.messages | dict.fromkeys(result.silent, "no answer")
    return table(["NODE", "RESULT"], [[printable(name), printable(outcomes[name])] for name in sorted(outcomes)])


def _json(result: KeyResult, action: str) -> dict[str, object]:
    """docs/json.md says what these mean; keys are only ever added."""
    record: dict[str, object] = {
        "error": result.error, "nodes": result.nodes, "responses": result.responses, "errors": result.errors,
        "messages": dict(sorted(result.messages.items())),
        "done": None if result.done is None else sorted(result.done),
        "silent": None if result.silent is None else sorted(result.silent),
    }
    if action == "list":
        primaries = result.primaries
        record["keys"] = [
            {"key": key, "nodes": result.keys[key], "in_use": None if primaries is None else primaries.get(key, 0)}
            for key in sorted(result.keys)]
    return record


def _keygen(arguments: Arguments) -> int:
    from binascii import b2a_base64

    sys.stdout.write(b2a_base64(os.urandom(int(arguments.text("bytes") or KEY_BYTES))).decode())
    return EXIT_OK
