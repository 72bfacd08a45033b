"""One client's end of a connection to a daemon, without the connection: bytes to send, and replies and records read."""

from __future__ import annotations

from gossipd.clientcalls import has_body
from gossipd.rpc.plain import NOTHING, Reader, pack

TYPE_CHECKING = False
if TYPE_CHECKING:       # importing these would take longer than the call
    from collections import deque
    from collections.abc import Callable
    from typing import Any

    from gossipd.clientcalls import Body, Call
else:
    from _collections import deque

WAITING_MAX = 1 << 16
"""Records that wait to be taken while others use the connection; further ones are dropped. They may be 1 KB each."""


class Reply:
    __slots__ = ("which", "error", "body", "done")

    def __init__(self, which: int) -> None:
        self.which, self.error, self.done = which, "", False
        self.body: Body = {}

    def take(self, body: Body) -> None:
        self.body, self.done = body, True


class Records:
    """What follows the reply to the request of number `seq`, in order of arrival."""

    __slots__ = ("seq", "waiting", "wanted")

    def __init__(self) -> None:
        self.seq, self.wanted = 0, True
        self.waiting: deque[Body] = deque()

    def take(self, record: Body) -> None:
        if self.wanted and len(self.waiting) < WAITING_MAX:
            self.waiting.append(record)

    def ignore(self) -> None:
        """What still comes is dropped."""
        self.wanted = False
        self.waiting.clear()


class Conversation:
    def __init__(self) -> None:
        self._reader = Reader()
        self._seq = 0
        self._replies: dict[int, Reply] = {}
        self._followed: dict[int, Records] = {}
        self._take_body: Callable[[Body], None] | None = None      # of the header that was just read

    def request(self, call: Call[Any], records: Records | None = None) -> tuple[bytes, Reply]:
        """What to send, and the reply as it will be once `done`; `records` takes what follows that."""
        command, body, which, _ = call
        self._seq = seq = self._seq + 1
        reply = self._replies[seq] = Reply(which)
        if records is not None:
            records.seq, self._followed[seq] = seq, records
        header = pack({"Command": command, "Seq": seq})
        return header if body is None else header + pack(body), reply

    def feed(self, data: bytes) -> None:
        """Raises ValueError for what no daemon says."""
        self._reader.feed(data)
        while (value := self._reader.next()) is not NOTHING:
            if not isinstance(value, dict):
                raise ValueError("not a map")
            take, self._take_body = self._take_body, None
            if take is not None:
                take(value)
            else:
                self._take_header(value)

    def _take_header(self, header: dict[str, Any]) -> None:
        seq, error = header.get("Seq") or 0, header.get("Error") or ""
        reply = self._replies.pop(seq, None)
        if reply is None:
            self._take_body = self._taker(seq, error)
            return
        if error:
            self._followed.pop(seq, None)
        reply.error = error
        if has_body(reply.which, error):
            self._take_body = reply.take
        else:
            reply.done = True

    def _taker(self, seq: int, error: str) -> Callable[[Body], None] | None:
        if seq in self._followed:
            return lambda record: self._take_record(seq, record)
        if not error:
            raise ValueError("an answer to nothing")
        return None     # Serf took the body of a refused request for another one (spec rpc T3)

    def _take_record(self, seq: int, record: Body) -> None:
        self._followed[seq].take(record)
        if record.get("Type") == "done":
            del self._followed[seq]     # a query is over: nothing of it comes any more
