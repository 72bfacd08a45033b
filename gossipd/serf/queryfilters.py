"""Who has to process a query: node names and expressions on tags (spec serf §8.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gossipd.errors import WireError
from gossipd.regex import Regex
from gossipd.regexparser import RegexError
from gossipd.wire.codec import pack, take_str, unpack_map

NODES = b"\x00"
TAG = b"\x01"
NAMES_MAX = 4096                # in one node filter
TAG_FILTERS_MAX = 8             # in a query that somebody sent us: more never match
PATTERN_CHARS_MAX = 1024        # of each of these: a whole query is 1024 bytes unless somebody changed that
WORK_MAX = 20_000
"""Steps (see regex.py) that one expression of a query may take: 5 to 10 ms for the worst of them."""


def encode_filters(nodes: Iterable[str], tags: Mapping[str, str]) -> list[bytes] | None:
    """One filter for all the names, then one for each tag; None if nobody is excluded."""
    names = list(nodes)
    filters = [NODES + pack(names)] if names else []
    filters += [TAG + pack({"Expr": expression, "Tag": tag}) for tag, expression in sorted(tags.items())]
    return filters or None


class Filters:
    """All of them must pass. What cannot be understood does not pass; nothing raises."""

    def __init__(self, filters: Iterable[bytes] | None, work_max: int = WORK_MAX) -> None:
        """`work_max`: of each expression, over the life of this."""
        self._work_max = work_max
        self.uncertain = False      # others may take what was refused here, so far
        self._names: list[dict[str, None]] = []
        self._tags: list[tuple[str, Regex]] = []
        self._never = False
        for one in filters or ():
            try:
                self._add(one)
            except (WireError, RegexError):
                self._never = self.uncertain = True
                return

    def match(self, name: str, tags: Mapping[str, str]) -> bool:
        """Expressions match anywhere in a tag's value; a missing tag has the value ""."""
        if self._never or not all(name in names for names in self._names):
            return False
        try:
            return all(regex.search(tags.get(tag, "")) for tag, regex in self._tags)
        except RegexError:      # too much work
            self.uncertain = True
            return False

    def _add(self, one: bytes) -> None:
        kind, body = one[:1], one[1:]
        if kind == NODES:
            self._names.append(_names(body))
            return
        if kind != TAG or len(self._tags) == TAG_FILTERS_MAX:
            raise RegexError("not a filter that we take")
        fields = unpack_map(body)
        pattern = take_str(fields, b"Expr")
        if len(pattern) > PATTERN_CHARS_MAX:
            raise RegexError("expression too long")
        self._tags.append((take_str(fields, b"Tag"), Regex(pattern, self._work_max)))


def _names(body: bytes) -> dict[str, None]:
    values = unpack_map(b"\x81\xa1v" + body, (), NAMES_MAX)[b"v"]
    if not isinstance(values, list) or not all(isinstance(name, bytes) for name in values):
        raise RegexError("not a list of names")
    return {name.decode("utf-8", "surrogateescape"): None for name in values}
