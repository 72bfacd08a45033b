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
    """A request that cannot be carried out. A person reads the text."""


class ConfigError(GossipdError):
    """A setting that cannot be used: the text names file, key and what was expected."""
