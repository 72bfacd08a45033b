"""The keyring file as the cluster's key changes leave it (spec serf §9.2)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from gossipd.config.keyring import keyring_text
from gossipd.daemon.files import replace_file
from gossipd.serf.keys import SaveKeys

NEW_FILE_MODE = 0o600

log = logging.getLogger("gossipd.keyring")


def keys_go_to(path: str) -> SaveKeys:
    """Changed keys are in the file before they take effect. The wait for the disk is on purpose: a key that a crash
    takes back again would cut this node off."""

    def save(keys: Sequence[bytes]) -> str:
        try:
            replace_file(path, keyring_text(keys).encode(), NEW_FILE_MODE)
        except OSError as error:
            log.error("keys stay as they are: cannot write %s: %s", path, error.strerror)
            return f"cannot write the keyring file: {error.strerror}"
        log.info("keyring file written path=%s keys=%d", path, len(keys))
        return ""

    return save
