"""The tags file: a JSON object of strings, which the daemon writes anew when its tags change (spec agent §8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gossipd.config.schema import Config
from gossipd.config.textfile import BadFile, Unreadable, read_text, whole_text

TAGS = "serf.tags"
_AS_GO_WRITES = re.compile("\\\\\\\\|\\\\b|\\\\f|[<>&\u2028\u2029\ud800-\udfff]")


class NoTags(BadFile):
    """It is JSON. `found` is not of the type `wanted`."""

    def __init__(self, path: str, words: str, found: object, wanted: type) -> None:
        super().__init__(path, words)
        self.found, self.wanted = found, wanted


def restore_tags(config: Config) -> Config:
    """With the tags of its tags file, if that is there. Raises ConfigError."""
    return with_tags(config, read_tags(config.node.tags_file)) if config.node.tags_file else config


def with_tags(config: Config, tags: dict[str, str] | None) -> Config:
    """With these instead of its own, unless there are none."""
    return config if tags is None else replace(config, core={**config.core, TAGS: tags})


def read_tags(path: str) -> dict[str, str] | None:
    """None if there is no file. Raises BadFile."""
    try:
        return parse_tags(read_text(path, errors="replace"), path)
    except Unreadable as error:
        if error.missing:
            return None
        raise


def parse_tags(text: str, path: str) -> dict[str, str]:
    """Raises BadFile that names `path`."""
    import json

    try:
        tags: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFile(path, f"is not JSON: {error}") from None
    if not isinstance(tags, dict | None):
        raise NoTags(path, "expected an object of strings", tags, dict)
    for key, value in (tags or {}).items():
        if not isinstance(value, str | None):
            raise NoTags(path, f"expected an object of strings, and {key!r} is none", value, str)
    return {whole_text(key): whole_text(value or "") for key, value in (tags or {}).items()}


def tags_text(tags: Mapping[str, str]) -> str:
    """What the file holds for these tags, as Serf writes it. What is not UTF-8 is lost, as there."""
    import json

    text = json.dumps(dict(sorted(tags.items())), indent=2, ensure_ascii=False)
    return _AS_GO_WRITES.sub(lambda found: _escaped(found[0]), text)


def _escaped(found: str) -> str:
    if found == "\\\\":
        return found
    if found.startswith("\\"):
        return {"\\b": "\\u0008", "\\f": "\\u000c"}[found]
    return "\\ufffd" if "\ud800" <= found <= "\udfff" else f"\\u{ord(found):04x}"
