"""serf monitor"""

from __future__ import annotations

from gossipd.client import ClientError, ConnectionLost
from gossipd.serfcli.dial import SerfClient, reason
from gossipd.serfcli.flags import Flags
from gossipd.serfcli.output import EXIT_FAILED, EXIT_OK, Failed, say
from gossipd.serfcli.text import go_literal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

GONE = "\nRemote side ended the monitor! This usually means that the\nremote side has exited or crashed."


def run_monitor(flags: Flags, connect: Callable[[], SerfClient]) -> int:
    level = str(flags.given.get("log-level", "INFO")).upper()
    with connect() as client:
        doing = "stream"
        try:
            events = client.open_stream()
            doing = "monitor"
            client.open_monitor(level)
        except ClientError as error:
            raise Failed(f"Error starting {doing}: {reason(error)}") from None
        try:
            while True:
                seq, record = client.next_record()
                say(_block(record) if seq == events else str(record.get("Log") or "").removesuffix("\n"))
        except KeyboardInterrupt:
            return EXIT_OK
        except ConnectionLost:
            say(GONE)
            return EXIT_FAILED


def _block(record: dict[str, Any]) -> str:
    return "\n".join(["Event Info:", *(f"\t{key}: {go_literal(value)}" for key, value in record.items())])
