"""The tags file as changes of tags leave it (spec agent §8)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from gossipd.config.tagsfile import tags_text
from gossipd.daemon.files import replace_file
from gossipd.serf.actions import SaveTags

NEW_FILE_MODE = 0o600

log = logging.getLogger("gossipd.tags")


def tags_go_to(path: str) -> SaveTags:
    """Changed tags are in the file before anybody hears of them; the wait for the disk is on purpose."""

    def save(tags: Mapping[str, str]) -> str:
        try:
            replace_file(path, tags_text(tags).encode(), NEW_FILE_MODE)
        except OSError as error:
            log.error("tags stay as they are: cannot write %s: %s", path, error.strerror)
            return f"Failed to write tags file: open {path}: {(error.strerror or str(error)).lower()}"
        log.info("tags file written path=%s tags=%d", path, len(tags))
        return ""

    return save
