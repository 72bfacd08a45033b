"""What the sessions of RPC clients need of the daemon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gossipd.commands import Command
from gossipd.events import MemberInfo

Done = Callable[[object, str], None]
"""Called once with a command's result and its error, "" for none."""
Part = Callable[[object], None]
"""Called with each thing that a command tells before it is done."""
WrongKey = Callable[[int, Callable[[], None]], bool]
"""(attempts, tell): a client presented a wrong key, for the nth time; calls `tell` when it may hear of it.

False, and `tell` is never called, where too many wait already: the client is to be closed."""
HearLine = Callable[[int, str], None]
"""Level and text of a record of the log."""


class Coordinate(Protocol):
    """Where a node lies (spec serf §10): seconds, but for `error`."""

    @property
    def vec(self) -> Sequence[float]: ...

    @property
    def error(self) -> float: ...

    @property
    def adjustment(self) -> float: ...

    @property
    def height(self) -> float: ...


class Backend(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def members_version(self) -> int:
        """Another number whenever `members` would answer differently."""

    def members(self) -> list[MemberInfo]: ...

    def stats(self) -> dict[str, dict[str, str]]: ...

    def discovered(self, ask: bool) -> dict[str, Any]:
        """The body that answers `discovered` (docs/json.md has its fields); with `ask` look again."""

    def coordinate(self, name: str) -> Coordinate | None:
        """None: never measured, or no such member."""

    def wall(self, moment: float) -> float:
        """Unix time of a monotonic moment, in seconds."""

    def submit(self, make: Callable[[int], Command], done: Done, part: Part | None = None) -> None:
        """Start the command that `make` builds for an id. Raises CommandError if it is refused at once."""

    def join(self, addresses: list[str], replay: bool, done: Done) -> None:
        """Look the names up and join. The result is how many answered."""

    def leave(self, done: Done) -> None:
        """Leave gracefully; after `done` the daemon ends."""


class Log(Protocol):
    """The daemon's log, whatever of it the daemon itself shows."""

    def recent(self, level: int) -> list[str]:
        """The last records of this level or above, oldest first."""

    def listen(self, hear: HearLine, level: int) -> None:
        """`hear` gets further records, of this level at least, and must not wait."""

    def mute(self, hear: HearLine) -> None: ...


class NoLog:
    """For a daemon whose log nobody may see."""

    def recent(self, level: int) -> list[str]:
        return []

    def listen(self, hear: HearLine, level: int) -> None:
        pass

    def mute(self, hear: HearLine) -> None:
        pass
