"""How Serf's command line says things, and its exit codes."""

from __future__ import annotations

import sys

EXIT_OK, EXIT_FAILED, EXIT_UNKNOWN = 0, 1, 127


class Misused(Exception):
    """Wrong arguments: the text, if any, is shown above the usage."""


class Failed(Exception):
    """The text is all there is to say."""


def say(text: str) -> None:
    """Results and errors alike."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Only what is wrong with flags, and usage that was asked for."""
    sys.stderr.write(text + "\n")
