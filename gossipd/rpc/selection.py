"""Which members a client wants to see: the expressions of `members-filtered`."""

from __future__ import annotations

from gossipd.events import MemberInfo
from gossipd.regex import Regex
from gossipd.rpc.records import SUSPECT


def select_members(
    members: list[MemberInfo], tags: dict[str, str], status: str, name: str, own_view: bool,
) -> list[MemberInfo]:
    """The members that match every expression, `^E$` searched for (spec rpc §6). Raises RegexError.

    In gossipd's own view a member under suspicion is both "alive" and "suspect".
    """
    by_tag = [(tag, Regex(f"^{expression}$")) for tag, expression in tags.items()]
    by_status = Regex(f"^{status}$") if status else None
    by_name = Regex(f"^{name}$") if name else None

    def selected(member: MemberInfo) -> bool:
        if by_name is not None and not by_name.search(member.name):
            return False
        if by_status is not None and not by_status.search(member.status):
            if not (own_view and member.state == SUSPECT and member.status == "alive" and by_status.search(SUSPECT)):
                return False
        return all(expression.search(member.tags.get(tag, "")) for tag, expression in by_tag)

    return [member for member in members if selected(member)]
