"""The errors that gossipd raises on purpose. Anything else that escapes is a bug."""

from __future__ import annotations


class GossipdError(Exception):
    """Root of them all."""


class WireError(GossipdError):
    """A peer sent bytes that cannot be used. `reason` is one of a small set of words, for counting."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class CommandError(GossipdError):
    """A request that cannot be carried out. Where Serf has words for that, the text is those and nothing else.

    `detail` is what gossipd can tell besides: for whoever asked for gossipd's own view, and for the log.
    """

    def __init__(self, text: str, detail: str = "") -> None:
        super().__init__(text)
        self.detail = detail

    @property
    def full(self) -> str:
        """For a person: text and detail."""
        return f"{self}: {self.detail}" if self.detail else str(self)


class ConfigError(GossipdError):
    """A setting that cannot be used: the text names file, key and what was expected."""
