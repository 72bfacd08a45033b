"""The keyring file as the cluster's key changes leave it (spec serf §9.2)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import trio

from gossipd.config.keyring import keyring_text
from gossipd.daemon.engine import Engine
from gossipd.daemon.files import replace_file
from gossipd.daemon.threads import in_thread
from gossipd.effects import Effect
from gossipd.serf.keys import Kept

NEW_FILE_MODE = 0o600

log = logging.getLogger("gossipd.keyring")


class KeyringFile:
    """Changed keys are on the disk before they take effect: a key that a crash takes back again would cut this node
    off. Nobody but the change waits for the disk."""

    def __init__(self, path: str) -> None:
        self._path = path
        # the core waits for the end of one before it begins the next
        self._send, self._receive = trio.open_memory_channel[tuple[list[bytes], Kept]](1)

    def save(self, keys: Sequence[bytes], kept: Kept, now: float, out: list[Effect]) -> None:
        """For the core: `kept` is called when `run` has written them."""
        self._send.send_nowait((list(keys), kept))

    async def run(self, engine: Engine) -> None:
        """Write until cancelled; what is being written then is in the file as a whole or not at all."""
        async for keys, kept in self._receive:
            failure = ""
            try:
                await in_thread(replace_file, self._path, keyring_text(keys).encode(), NEW_FILE_MODE)
                log.info("keyring file written path=%s keys=%d", self._path, len(keys))
            except OSError as error:
                log.error("keys stay as they are: cannot write %s: %s", self._path, error.strerror)
                failure = f"cannot write the keyring file: {error.strerror}"
            engine.resume(partial(kept, failure))
