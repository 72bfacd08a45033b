"""Keys in base64, and what Go says of others."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.errors import CommandError
from gossipd.rpc.keytext import key_bytes


@given(st.binary(max_size=80))
def test_every_key_comes_back(key):
    assert key_bytes(b64encode(key).decode()) == key


@pytest.mark.parametrize(("text", "at"), [
    ("not_base64!", 3),             # as recorded from Serf
    ("x", 0), ("AAA", 0), ("AAAAx", 4), ("AAAAxyz", 4),
    ("=", 0), ("A===", 1), ("AA=", 3), ("AA=A", 2), ("AA==A", 4), ("AAA=A", 4), ("AAAA=", 4), ("AAA==", 4),
    ("AAAA AAAA", 4), ("AA-_", 2), ("\udcff", 0), ("é", 0),
])
def test_a_wrong_one_is_refused_with_the_place(text, at):
    with pytest.raises(CommandError, match=rf"^illegal base64 data at input byte {at}$"):
        key_bytes(text)
