"""The files in which an agent keeps its tags and its keys (spec agent §8, §9), and Serf's words for what is wrong."""

from __future__ import annotations

import json

from gossipd.config.tagsfile import NoTags, read_tags
from gossipd.config.textfile import BadFile, Unreadable, read_text, whole_text
from gossipd.errors import CommandError, ConfigError
from gossipd.rpc.keytext import KEY_SIZES, key_bytes

_GO_TYPES = {list: "array", dict: "object", str: "string", bool: "bool", int: "number", float: "number"}
_GO_WANTED: dict[type, str] = {dict: "map[string]string", str: "string"}


def read_tags_file(path: str) -> dict[str, str] | None:
    """None if there is no file. Raises ConfigError."""
    try:
        return read_tags(path)
    except Unreadable as error:
        raise ConfigError(f"Failed to read tags file: open {path}: {error.words.lower()}") from None
    except NoTags as error:
        raise ConfigError(f"Failed to decode tags file: json: cannot unmarshal {_GO_TYPES[type(error.found)]} into Go "
                          f"value of type {_GO_WANTED[error.wanted]}") from None
    except BadFile as error:
        raise ConfigError(f"Failed to decode tags file: {error.words}") from None


def read_keyring_file(path: str) -> list[bytes]:
    """The keys, primary first. Raises ConfigError."""
    try:
        listed = json.loads(read_text(path, errors="replace"))
    except Unreadable as error:
        if error.missing:
            raise ConfigError(f"stat {path}: no such file or directory") from None
        raise ConfigError(f"Failed to read keyring file: open {path}: {error.words.lower()}") from None
    except (ValueError, RecursionError, BadFile) as error:
        raise ConfigError(f"Failed to decode keyring file: {error}") from None
    if not isinstance(listed, list | None):
        raise ConfigError(f"Failed to decode keyring file: json: cannot unmarshal {_GO_TYPES[type(listed)]} into Go "
                          "value of type []string")
    for item in listed or ():
        if not isinstance(item, str | None):
            raise ConfigError(f"Failed to decode keyring file: json: cannot unmarshal {_GO_TYPES[type(item)]} into Go "
                              "value of type string")
    try:
        keys = [key_bytes(whole_text(item or "")) for item in listed or ()]
    except CommandError as error:
        raise ConfigError(f"Failed to decode key from keyring: {error}") from None
    if not keys:
        raise ConfigError("Keyring file contains no keys")
    if not keys[0]:
        raise ConfigError("Failed to restore keyring: Empty primary key not allowed")
    if any(len(key) not in KEY_SIZES for key in keys):
        raise ConfigError("Failed to restore keyring: key size must be 16, 24 or 32 bytes")
    return keys
