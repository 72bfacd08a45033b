"""What the service manager is told, where there is one that listens."""

from __future__ import annotations

import os
from typing import Any


class Notifier:
    """READY, STATUS and STOPPING for `Type=notify`; nothing at all without $NOTIFY_SOCKET."""

    def __init__(self) -> None:
        self._notifier: Any = None
        if os.environ.get("NOTIFY_SOCKET"):
            from sdnotify import SystemdNotifier

            self._notifier = SystemdNotifier()

    def ready(self, status: str) -> None:
        """The sockets are bound. Whether a join has succeeded is for STATUS: the first node has nobody to join."""
        self._notify(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._notify(f"STATUS={status}")

    def stopping(self, status: str) -> None:
        self._notify(f"STOPPING=1\nSTATUS={status}")

    def _notify(self, text: str) -> None:
        if self._notifier is not None:
            self._notifier.notify(text.encode("ascii", "replace").decode())
