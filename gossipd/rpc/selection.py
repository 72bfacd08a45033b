"""Which members a client wants to see: the expressions of `members-filtered`."""

from __future__ import annotations

from gossipd.events import MemberInfo
from gossipd.regex import Regex
from gossipd.regexparser import RegexError
from gossipd.rpc.records import SUSPECT

TAGS_MAX = 16
"""Expressions on tags in one request."""
INSTRUCTIONS_MAX = 20_000
"""Of all expressions of one request together: about 20 ms to compile."""


class _Compiler:
    def __init__(self) -> None:
        self._room = INSTRUCTIONS_MAX

    def compile(self, expression: str) -> Regex:
        regex = Regex(f"^{expression}$")
        self._room -= regex.size
        if self._room < 0:
            raise RegexError("expressions too large together")
        return regex


def select_members(
    members: list[MemberInfo], tags: dict[str, str], status: str, name: str, own_view: bool,
) -> list[MemberInfo]:
    """The members that match every expression, `^E$` searched for (spec rpc §6). Raises RegexError.

    In gossipd's own view a member under suspicion is both "alive" and "suspect".
    """
    if len(tags) > TAGS_MAX:
        raise RegexError(f"more than {TAGS_MAX} tags")
    compiler = _Compiler()
    by_tag = [(tag, compiler.compile(expression)) for tag, expression in tags.items()]
    by_status = compiler.compile(status) if status else None
    by_name = compiler.compile(name) if name else None

    def selected(member: MemberInfo) -> bool:
        if by_name is not None and not by_name.search(member.name):
            return False
        if by_status is not None and not by_status.search(member.status):
            if not (own_view and member.state == SUSPECT and member.status == "alive" and by_status.search(SUSPECT)):
                return False
        return all(expression.search(member.tags.get(tag, "")) for tag, expression in by_tag)

    return [member for member in members if selected(member)]
