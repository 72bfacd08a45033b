"""The daemon's engine, which also tells the log what Serf's agent tells it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gossipd.commands import ChangeKeys, Command, ForceLeave, SendEvent, StartQuery
from gossipd.daemon.engine import Done, Engine
from gossipd.serfcli.agent.console import agent, ipc
from gossipd.serfcli.text import go_quote

_KEYS = {"install": "key installation", "use": "primary key change", "remove": "key removal", "list": "key listing"}


class SerfEngine(Engine):
    signalled = False       # a leave comes from a signal, not from a client

    def submit(
        self, make: Callable[[int], Command], done: Done, part: Callable[[object], None] | None = None
    ) -> None:
        def make_and_tell(id: int) -> Command:
            command = make(id)
            self._tell(command)
            return command

        super().submit(make_and_tell, done, part)

    def _tell(self, command: Command) -> None:
        match command:
            case ForceLeave(name=name, prune=prune):
                agent.info("Force leaving node%s: %s", " (prune)" if prune else "", name)
            case ChangeKeys(action=action):
                agent.info("Initiating %s", _KEYS[action])
            case SendEvent(name=name, coalesce=coalesce, payload=payload):
                agent.debug("Requesting user event send: %s. Coalesced: %s. Payload: %s",
                            name, str(coalesce).lower(), _quoted(payload))
            case StartQuery(name=name, payload=payload):
                agent.debug("Requesting query send: %s. Payload: %s", name, _quoted(payload))

    def join(self, addresses: list[str], replay: bool, done: Done) -> None:
        agent.info("joining: [%s] replay: %s", " ".join(addresses), str(replay).lower())
        super().join(addresses, replay, partial(_joined, done))

    def leave(self, done: Done) -> None:
        if not self.signalled:
            ipc.info("Graceful leave triggered")
        agent.info("requesting graceful leave from Serf")
        super().leave(done)


def _joined(done: Done, result: object, error: str) -> None:
    if error:
        agent.warning("error joining: %s", error)
    else:
        agent.info("joined: %s nodes", result)
    done(result, error)


def _quoted(payload: bytes | None) -> str:
    return go_quote((payload or b"").decode("utf-8", "surrogateescape"))
