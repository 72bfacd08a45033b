"""The keyring and its AES-GCM boxes (spec memberlist §6.2, §16). Nonces are handed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gossipd.errors import WireError
from gossipd.wire.reasons import DECRYPT_FAILED

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_SIZES = (16, 24, 32)    # bytes: AES-128, AES-192, AES-256
NONCE_SIZE = 12
TAG_SIZE = 16
VERSION_PADDED = 0          # PKCS#7, written by nodes that speak memberlist protocol 1
VERSION_PLAIN = 1           # what we write
_BLOCK = 16
_OVERHEAD = (1 + NONCE_SIZE + TAG_SIZE + _BLOCK, 1 + NONCE_SIZE + TAG_SIZE)
OVERHEAD = _OVERHEAD[VERSION_PLAIN]


def encrypted_length(plain_length: int, version: int = VERSION_PLAIN) -> int:
    """Bytes of the box for so many bytes of plaintext."""
    if version == VERSION_PADDED:
        plain_length -= plain_length % _BLOCK
    return plain_length + _OVERHEAD[version]


class Keyring:
    """Keys in order, without duplicates. The first is the primary: it seals; all of them open, in this order."""

    __slots__ = ("_ciphers", "_keys")

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._keys: list[bytes] = []
        self._ciphers: dict[bytes, AESGCM] = {}
        for key in keys:
            self.add(key)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def keys(self) -> list[bytes]:
        """Primary first. A copy."""
        return list(self._keys)

    @property
    def primary(self) -> bytes | None:
        return self._keys[0] if self._keys else None

    def add(self, key: bytes) -> None:
        """Append; one that is there already stays where it is. Raises ValueError if it is no AES key."""
        if len(key) not in KEY_SIZES:
            raise ValueError(f"a key has 16, 24 or 32 bytes, not {len(key)}")
        if key not in self._keys:
            self._keys.append(key)

    def use(self, key: bytes) -> None:
        """Make it the primary. Raises ValueError if it is not on the ring."""
        if key not in self._keys:
            raise ValueError("that key is not on the keyring")
        self._keys.remove(key)
        self._keys.insert(0, key)

    def remove(self, key: bytes) -> None:
        """Raises ValueError for the primary; a key that is not there is none of our business."""
        if key == self.primary:
            raise ValueError("the primary key cannot be removed")
        if key in self._keys:
            self._keys.remove(key)
            self._ciphers.pop(key, None)

    def encrypt(self, plain: bytes, aad: bytes, nonce: bytes, version: int = VERSION_PLAIN) -> bytes:
        """version || nonce || ciphertext || tag, by the primary key. The ring must not be empty, nor `plain`."""
        assert plain, "an encrypted empty message crashes peers"
        if version == VERSION_PADDED:
            pad = _BLOCK - len(plain) % _BLOCK
            plain += bytes([pad]) * pad
        return bytes([version]) + nonce + self._cipher(self._keys[0]).encrypt(nonce, plain, aad)

    def decrypt(self, box: bytes, aad: bytes, removed: Sequence[bytes] = ()) -> bytes:
        """The plaintext, by the first key that authenticates; keys that were `removed` come last. Raises WireError."""
        if not box or box[0] > VERSION_PLAIN:
            raise WireError(DECRYPT_FAILED, f"encryption version {box[0]}" if box else "nothing there")
        if len(box) < _OVERHEAD[box[0]]:
            raise WireError(DECRYPT_FAILED, f"only {len(box)} bytes")
        plain = self._open(box, aad, removed)
        return _unpad(plain) if box[0] == VERSION_PADDED else plain

    def _open(self, box: bytes, aad: bytes, removed: Sequence[bytes]) -> bytes:
        from cryptography.exceptions import InvalidTag

        nonce, sealed = box[1:1 + NONCE_SIZE], box[1 + NONCE_SIZE:]
        for key in self._keys:
            try:
                return self._cipher(key).decrypt(nonce, sealed, aad)
            except InvalidTag:
                pass
        for key in removed:
            try:
                return _new_cipher(key).decrypt(nonce, sealed, aad)
            except InvalidTag:
                pass
        raise WireError(DECRYPT_FAILED, "no installed key fits")

    def _cipher(self, key: bytes) -> AESGCM:
        cipher = self._ciphers.get(key)
        if cipher is None:
            cipher = self._ciphers[key] = _new_cipher(key)
        return cipher


def _new_cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 30 ms, for those who encrypt

    return AESGCM(key)


def _unpad(plain: bytes) -> bytes:
    """As many bytes off the end as the last one says, 0 included: the reference does not look and crashes (§20 H6)."""
    if not plain or plain[-1] > len(plain):
        raise WireError(DECRYPT_FAILED, "bad padding")
    return plain[:len(plain) - plain[-1]]
