"""Keyring order and AES-GCM boxes (spec memberlist §6.2, §16, §20 H6)."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.errors import WireError
from gossipd.wire.reasons import DECRYPT_FAILED
from gossipd.wire.secure import Keyring, encrypted_length

A, B, C = b"a" * 16, b"b" * 24, b"c" * 32
NONCE = bytes(range(12))


def sealed_raw(plain: bytes, version: int) -> bytes:
    """A box without the padding that `encrypt` would add, so that a bad one can be made."""
    box = Keyring([A]).encrypt(plain, b"", NONCE, version=1)
    return bytes([version]) + box[1:]


def refused(box: bytes, aad: bytes = b"", *keys: bytes) -> None:
    with pytest.raises(WireError) as caught:
        Keyring(keys or (A,)).decrypt(box, aad)
    assert caught.value.reason == DECRYPT_FAILED


@given(st.sampled_from([A, B, C]), st.binary(min_size=1, max_size=100), st.binary(max_size=20), st.integers(0, 1))
def test_a_box_opens_with_its_key_and_nothing_else(key, plain, aad, version):
    box = Keyring([key]).encrypt(plain, aad, NONCE, version)
    assert Keyring([key]).decrypt(box, aad) == plain
    assert len(box) == encrypted_length(len(plain), version) and box[0] == version
    refused(box, aad, b"x" * 16)
    refused(box, aad + b"?", key)
    refused(box[:-1] + bytes([box[-1] ^ 1]), aad, key)


def test_every_key_is_tried_and_the_primary_seals():
    ring = Keyring([A, B, C])
    assert ring.decrypt(Keyring([C]).encrypt(b"hello", b"", NONCE), b"") == b"hello"
    assert Keyring([A]).decrypt(ring.encrypt(b"hello", b"", NONCE), b"") == b"hello"
    ring.use(C)
    assert Keyring([C]).decrypt(ring.encrypt(b"hello", b"", NONCE), b"") == b"hello"


@pytest.mark.parametrize("box", [b"", b"\x01", b"\x02" + bytes(60), b"\xff" + bytes(60), b"\x01" + bytes(27),
                                 b"\x00" + bytes(43), bytes(45), b"\x01" + bytes(28)])
def test_what_is_no_box_is_refused(box):
    refused(box)


@given(st.binary(max_size=120), st.lists(st.sampled_from([A, B, C]), max_size=3))
def test_any_bytes_are_refused(box, keys):
    with pytest.raises(WireError):
        Keyring(keys).decrypt(box, b"")


def test_padding_of_nothing_removes_nothing_and_padding_of_too_much_is_refused():
    assert Keyring([A]).decrypt(sealed_raw(bytes(16), 0), b"") == bytes(16)
    assert Keyring([A]).decrypt(sealed_raw(b"x" * 15 + b"\x10", 0), b"") == b""
    refused(sealed_raw(b"x" * 14 + b"\x01", 0))      # authentic, but no whole block
    refused(sealed_raw(b"x" * 15 + b"\x11", 0))
    refused(sealed_raw(b"x" * 15 + b"\xff", 0))


def test_keys_stay_in_order_without_duplicates():
    ring = Keyring([A, B])
    ring.add(C)
    ring.add(A)
    assert ring.keys == [A, B, C] and ring.primary == A
    ring.use(C)
    assert ring.keys == [C, A, B] and len(ring) == 3
    ring.remove(A)
    ring.remove(A)
    assert ring.keys == [C, B]


def test_a_removed_key_opens_nothing_any_more():
    ring = Keyring([A, B])
    box = Keyring([B]).encrypt(b"hello", b"", NONCE)
    assert ring.decrypt(box, b"") == b"hello"
    ring.remove(B)
    with pytest.raises(WireError):
        ring.decrypt(box, b"")


def test_the_first_key_added_becomes_the_primary():
    ring = Keyring()
    assert ring.primary is None and not ring
    ring.add(B)
    assert ring.primary == B and ring


def test_impossible_changes_are_refused_and_change_nothing():
    ring = Keyring([A, B])
    for change, key in ((ring.remove, A), (ring.use, C), (ring.add, b"short"), (ring.add, b"x" * 33)):
        with pytest.raises(ValueError):
            change(key)
    assert ring.keys == [A, B]


def test_a_copy_of_the_keys_does_not_change_the_ring():
    ring = Keyring([A])
    ring.keys.append(B)
    assert ring.keys == [A]


def test_nothing_is_encrypted_into_an_empty_box():
    with pytest.raises(AssertionError):
        Keyring([A]).encrypt(b"", b"", NONCE)


def test_cryptography_is_imported_by_the_first_use_of_a_key_only():
    program = (
        "import sys, gossipd.wire.stream, gossipd.wire.secure as s\n"
        "ring = s.Keyring([b'a' * 16])\n"
        "assert not any(name.startswith('cryptography') for name in sys.modules), 'too early'\n"
        "assert 'gossipd.wire.lzw' not in sys.modules\n"
        "ring.encrypt(b'x', b'', bytes(12))\n"
        "assert 'cryptography' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
