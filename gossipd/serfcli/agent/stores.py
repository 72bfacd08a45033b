"""The files in which an agent keeps its tags and its keys (spec agent §8, §9), and Serf's words for what is wrong."""

from __future__ import annotations

import json
from typing import Any

from gossipd.daemon.files import replace_file
from gossipd.errors import CommandError, ConfigError
from gossipd.rpc.keytext import key_bytes
from gossipd.serfcli.text import go_json

NEW_FILE_MODE = 0o600
KEY_BYTES = (16, 24, 32)
_GO_TYPES = {list: "array", dict: "object", str: "string", bool: "bool", int: "number", float: "number"}


def read_tags_file(path: str) -> dict[str, str] | None:
    """None if there is no file. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"Failed to read tags file: open {path}: {_words(error)}") from None
    tags = _decoded(text, "Failed to decode tags file")
    if tags is None:
        return {}
    if not isinstance(tags, dict):
        raise ConfigError(f"Failed to decode tags file: json: cannot unmarshal {_GO_TYPES[type(tags)]} into Go value of"
                          " type map[string]string")
    for value in tags.values():
        if not isinstance(value, str):
            raise ConfigError("Failed to decode tags file: json: cannot unmarshal "
                              f"{_GO_TYPES.get(type(value), 'null')} into Go value of type string")
    return tags


def write_tags_file(path: str, tags: dict[str, str]) -> None:
    """Raises CommandError."""
    try:
        replace_file(path, go_json(dict(sorted(tags.items()))).encode(), NEW_FILE_MODE)
    except OSError as error:
        raise CommandError(f"Failed to write tags file: open {path}: {_words(error)}") from None


def read_keyring_file(path: str) -> list[bytes]:
    """The keys, primary first. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except FileNotFoundError:
        raise ConfigError(f"stat {path}: no such file or directory") from None
    except OSError as error:
        raise ConfigError(f"Failed to read keyring file: open {path}: {_words(error)}") from None
    listed = _decoded(text, "Failed to decode keyring file")
    if listed is not None and not isinstance(listed, list):
        raise ConfigError(f"Failed to decode keyring file: json: cannot unmarshal {_GO_TYPES[type(listed)]} into Go "
                          "value of type []string")
    try:
        keys = [key_bytes(item if isinstance(item, str) else "?") for item in listed or ()]
    except CommandError as error:
        raise ConfigError(f"Failed to decode key from keyring: {error}") from None
    if not keys:
        raise ConfigError("Keyring file contains no keys")
    if any(len(key) not in KEY_BYTES for key in keys):
        raise ConfigError("Failed to restore keyring: key size must be 16, 24 or 32 bytes")
    return keys


def _decoded(text: str, failed: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{failed}: {error}") from None


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
