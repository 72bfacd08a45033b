"""Keys in base64, and what Go says of others."""

from __future__ import annotations

from base64 import b64encode
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.errors import CommandError
from gossipd.rpc.keytext import check_size, key_bytes


@given(st.binary(max_size=80))
def test_every_key_comes_back(key):
    assert key_bytes(b64encode(key).decode()) == key


@pytest.mark.parametrize(("text", "at"), [
    ("not_base64!", 3),             # as recorded from Serf
    ("x", 0), ("AAA", 0), ("AAAAx", 4), ("AAAAxyz", 4),
    ("=", 0), ("A===", 1), ("AA=", 3), ("AA=A", 2), ("AA==A", 4), ("AAA=A", 4), ("AAAA=", 4), ("AAA==", 4),
    ("A\nA", 1), ("AA=\n", 4), ("AA=\nA", 3), ("AA==\r\nA", 6), ("AAA=\nA", 5), ("AAAA AAAA", 4), ("AA-_", 2),
    ("\udcff", 0), ("é", 0),
])
def test_a_wrong_one_is_refused_with_the_place(text, at):
    with pytest.raises(CommandError, match=rf"^illegal base64 data at input byte {at}$"):
        key_bytes(text)


@pytest.mark.parametrize("text", ["YWJj\n", "\r\nYW\nJj", "YW\nI=\n", "YQ=\n=", "YQ\n=\r=\n", "\n"])
def test_line_breaks_are_skipped_as_go_does(text):
    assert b64encode(key_bytes(text)).decode() == text.replace("\n", "").replace("\r", "")


@pytest.mark.parametrize(("size", "good"), [(16, True), (24, True), (32, True), (0, False), (15, False), (33, False)])
def test_a_key_has_one_of_three_sizes(size, good):
    with nullcontext() if good else pytest.raises(CommandError, match="^key size must be 16, 24 or 32 bytes$") as error:
        check_size(bytes(size))
    assert good or error.value.detail == f"{size} bytes"
