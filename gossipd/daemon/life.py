"""How the daemon ends."""

from __future__ import annotations

import trio

EXIT_LEFT = 0       # a graceful leave was completed
EXIT_STOPPED = 1    # stopped at once, or the leave failed: peers will see a failure
EXIT_NAME_LOST = 3  # the cluster gave our name to another node


class Life:
    """Running, then perhaps leaving, then over. Whoever wants an end says so here; `app` makes it happen."""

    def __init__(self) -> None:
        self.ending = trio.Event()      # someone wants the daemon to end
        self.over = trio.Event()        # nothing is left to wait for
        self.exit_code = EXIT_STOPPED

    def leave_begun(self) -> None:
        self.ending.set()

    def leave_over(self, error: str) -> None:
        if not self.over.is_set():
            self.exit_code = EXIT_STOPPED if error else EXIT_LEFT
            self.over.set()

    def name_lost(self) -> None:
        """At once and without a goodbye: it would be the other node's."""
        if not self.over.is_set():
            self.exit_code = EXIT_NAME_LOST
        self.stop()

    def stop(self) -> None:
        """At once, without a word to the cluster."""
        self.ending.set()
        self.over.set()
