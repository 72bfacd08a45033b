"""Requests to the core, by RPC clients, signals and discovery. `id` is the caller's; the `Reply` carries it."""

from __future__ import annotations

from dataclasses import dataclass

from gossipd.addresses import Address


@dataclass(slots=True)
class Join:
    """Push/pull with each of these addresses (names are looked up before). Result: how many answered (int).

    Fails only if none did; the error then has one line for each. User events from before the join are ignored
    unless `replay`. `intent` is False for joins that retry what was known: they send no join intent (spec serf §6.9).
    """

    id: int
    addresses: list[Address]
    replay: bool = False
    intent: bool = True


@dataclass(slots=True)
class Leave:
    """Leave gracefully. The reply comes when the goodbye has been gossiped and had time to spread."""

    id: int


@dataclass(slots=True)
class ForceLeave:
    """Declare a failed member left; with `prune` forget it. The reply comes when the intent was gossiped."""

    id: int
    name: str
    prune: bool = False


@dataclass(slots=True)
class SetTags:
    """Replace this node's tags. The reply comes when the announcement was gossiped."""

    id: int
    tags: dict[str, str]


Command = Join | Leave | ForceLeave | SetTags
