"""Peers that cannot talk with us because their settings are others than ours: what an administrator should look at."""

from __future__ import annotations

from gossipd.wire.reasons import DECRYPT_FAILED, NO_KEY, PLAINTEXT_REFUSED, WRONG_LABEL

HINT_INTERVAL_S = 60.0      # for each peer
CLOSED = "closed"           # an exchange that the peer ended without a word, in the words of `Node.exchange_done`
_HINTS = {
    WRONG_LABEL: "label mismatch: it has another label than this node, or one of us has none",
    # a version of encryption that does not exist is a message type
    f"{DECRYPT_FAILED}: encryption version": "not encrypted, while this node encrypts",
    DECRYPT_FAILED: "encrypted by a key that this node does not have",
    PLAINTEXT_REFUSED: "not encrypted, while this node encrypts",
    NO_KEY: "encrypted, while this node has no key",
    CLOSED: "perhaps a label mismatch: nodes with another label close without a word",
}


def hint(trouble: str) -> str:
    """The likely cause, for a `WireError` or a failed exchange in words; "" if it has nothing to do with settings."""
    return next((text for start, text in _HINTS.items() if trouble.startswith(start)), "")
