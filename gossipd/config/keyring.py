"""The keyring file: a JSON list of base64 keys, the first one encrypts (spec agent §9)."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence

from gossipd.config.kinds import Key
from gossipd.config.textfile import read_text
from gossipd.errors import ConfigError


def parse_keyring(text: str, path: str) -> tuple[bytes, ...]:
    """The keys, primary first. Raises ConfigError that names `path` and never shows a key."""
    import json

    try:
        listed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON: {error}") from None
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"{path}: expected a list of keys, at least one")
    keys = []
    for number, item in enumerate(listed, 1):
        try:
            keys.append(Key().read(item))
        except ValueError as error:
            raise ConfigError(f"{path}: key {number}: expected {error}") from None
    if not all(keys):
        raise ConfigError(f"{path}: a key is empty")
    return tuple(dict.fromkeys(keys))


def read_keyring(path: str) -> tuple[bytes, ...]:
    """The keys of a file. Raises ConfigError."""
    return parse_keyring(read_text(path), path)


def keyring_text(keys: Sequence[bytes]) -> str:
    """What the file holds for these keys, primary first, as Serf writes it (spec serf §9.2)."""
    import json

    return json.dumps([b2a_base64(key, newline=False).decode() for key in keys], indent=2)
