from __future__ import annotations

import json
from base64 import b64encode

import pytest

from gossipd.config.keyring import parse_keyring, read_keyring
from gossipd.errors import ConfigError

OLD, NEW = bytes(16), bytes(range(32))


def text(*keys: bytes) -> str:
    return json.dumps([b64encode(key).decode() for key in keys], indent=2)


def test_the_first_key_is_the_primary_one(tmp_path):
    path = tmp_path / "keyring"
    path.write_text(text(NEW, OLD, NEW))
    assert read_keyring(str(path)) == (NEW, OLD)


@pytest.mark.parametrize("content", ["", "{}", "[]", '"x"', "[1]", '["AAEC"]', '[""]', text(OLD)[:-1], "[" * 100_000])
def test_what_is_no_list_of_keys_is_refused_by_name(content):
    with pytest.raises(ConfigError, match=r"^keys\.json: "):
        parse_keyring(content, "keys.json")


def test_a_key_never_appears_in_an_error():
    secret = b64encode(b"secret" * 2).decode()
    with pytest.raises(ConfigError) as refusal:
        parse_keyring(json.dumps([secret]), "keys.json")
    assert secret not in str(refusal.value) and "key 1" in str(refusal.value)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_keyring(str(tmp_path / "none"))
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_keyring(str(tmp_path / "binary"))
