"""serf keys, keygen"""

from __future__ import annotations

from gossipd.client import ClientError, KeyResult
from gossipd.serfcli.dial import SerfClient, reason
from gossipd.serfcli.flags import Flags
from gossipd.serfcli.output import EXIT_FAILED, EXIT_OK, Failed, Misused, say
from gossipd.serfcli.text import columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KEY_BYTES = 32
_ACTIONS = {
    # flag: what is going on, how it ended well, what is said of errors
    "install": ("Installing key on all members", "Successfully installed key!", "Error installing key"),
    "use": ("Changing primary key on all members", "Successfully changed primary key!", "Error changing primary key"),
    "remove": ("Removing key on all members", "Successfully removed key!", "Error removing key"),
    "list": ("Asking all members for installed keys", "Keys gathered, listing cluster keys...",
             "Failed to gather member keys"),
}


def run_keys(flags: Flags, connect: Callable[[], SerfClient]) -> int:
    chosen = [name for name in _ACTIONS if flags.given.get(name)]
    if not chosen:
        raise Misused("")
    if len(chosen) > 1:
        raise Failed("Only one of -install, -use, -remove, or -list allowed")
    begin, end, prefix = _ACTIONS[chosen[0]]
    with connect() as client:
        say(f"==> {begin}...")
        try:
            result = _ask(client, chosen[0], flags)
        except ClientError as error:
            raise Failed(f"\n{prefix}: {reason(error)}") from None
    if result.error:
        if result.messages:
            say(columns([f"failed: | {node} | {result.messages[node]}" for node in sorted(result.messages)]))
        say(f"\n{prefix}: {result.error}")
        return EXIT_FAILED
    say(f"==> {end}")
    if chosen == ["list"]:
        say("\n" + columns([f"{key} | [{count}/{result.nodes}]" for key, count in sorted(result.keys.items())]))
    return EXIT_OK


def _ask(client: SerfClient, action: str, flags: Flags) -> KeyResult:
    if action == "list":
        return client.list_keys()
    key = flags.text(action)
    if action == "install":
        return client.install_key(key)
    return client.use_key(key) if action == "use" else client.remove_key(key)


def run_keygen() -> int:
    import os
    from binascii import b2a_base64

    say(b2a_base64(os.urandom(KEY_BYTES), newline=False).decode())
    return EXIT_OK
