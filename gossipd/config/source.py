"""Where settings come from: a file, the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class Source:
    """Raw values by section and key, and the words for where one of them stands.

    `specs` are handlers as Serf's strings, `notices` what a user should hear about what was read.
    """

    specs_where = "event_handlers"
    may_be_useless = False          # what makes no sense is a notice and not an error
    lists_add_up = False            # lists are put behind those of sources before, instead of in their place

    def __init__(self, values: dict[str, Any], specs: Sequence[str] = (), notices: Sequence[str] = ()) -> None:
        self.values, self.specs, self.notices = values, specs, notices

    def where(self, section: str, key: str = "", table: int = 0) -> str:
        """Of a setting, or of a section as a whole, of which it may be the nth: the beginning of an error message."""
        return in_line(f"{section}.{key}" if key else section)


def in_line(name: str) -> str:
    """A key may hold anything, and a message must stay one line."""
    return name if name.isprintable() else ascii(name)


def did_you_mean(word: str, words: Iterable[str], otherwise: str = "") -> str:
    """The end of an error message about an unknown word. `otherwise`: where there are too many to name them all."""
    from difflib import get_close_matches

    known = list(words)
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else otherwise or f"; there are {', '.join(known)}"
