"""The keyring file and the tags file, as changes of keys and tags leave them (spec serf §9.2, agent §8)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence, Sized
from functools import partial
from typing import Generic, TypeVar

import trio

from gossipd.config.keyring import keyring_text
from gossipd.config.tagsfile import tags_text
from gossipd.daemon.engine import Engine
from gossipd.daemon.files import replace_file
from gossipd.daemon.threads import in_thread
from gossipd.effects import Effect
from gossipd.serf.keeping import Kept

MODE = 0o600
T = TypeVar("T", bound=Sized)


class KeptFile(Generic[T]):
    """What is changed is on the disk before it takes effect: a key that a crash takes back again would cut this node
    off. Nobody but the change waits for the disk.

    `name` is what the file is called, `things` what is in it. `failure(reason)` is for whoever asked for the change.
    """

    def __init__(self, path: str, name: str, things: str, text: Callable[[T], str], failure: Callable[[str], str],
                 keep_mode: bool) -> None:
        self._path, self._name, self._things = path, name, things
        self._text, self._failure, self._keep_mode = text, failure, keep_mode
        self._log = logging.getLogger(f"gossipd.{name}")
        # the core waits for the end of one before it begins the next
        self._send, self._receive = trio.open_memory_channel[tuple[T, Kept]](1)

    def save(self, content: T, kept: Kept, now: float, out: list[Effect]) -> None:
        """For the core, which leaves `content` as it is: `kept` is called when `run` has written it."""
        self._send.send_nowait((content, kept))

    async def run(self, engine: Engine) -> None:
        """Write until cancelled; what is being written then is in the file as a whole or not at all."""
        async for content, kept in self._receive:
            failure = ""
            try:
                await in_thread(self._write, content)
                self._log.info("%s file written path=%s %s=%d", self._name, self._path, self._things, len(content))
            except OSError as error:
                reason = error.strerror or str(error)
                self._log.error("%s stay as they are: cannot write %s: %s", self._things, self._path, reason)
                failure = self._failure(reason)
            engine.resume(partial(kept, failure))

    def _write(self, content: T) -> None:
        replace_file(self._path, self._text(content).encode(), MODE, keep_mode=self._keep_mode)


def keyring_file(path: str) -> KeptFile[Sequence[bytes]]:
    """Whatever its mode was, others have no business with keys."""
    return KeptFile(path, "keyring", "keys", keyring_text, lambda why: f"cannot write the keyring file: {why}",
                    keep_mode=False)


def tags_file(path: str) -> KeptFile[Mapping[str, str]]:
    return KeptFile(path, "tags", "tags", tags_text,
                    lambda why: f"Failed to write tags file: open {path}: {why.lower()}", keep_mode=True)
