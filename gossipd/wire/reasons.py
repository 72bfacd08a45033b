"""Why bytes from a peer were refused: the whole set of words that `WireError.reason` takes in this package."""

from __future__ import annotations

GARBAGE = "garbage"                         # not MessagePack, or not in the shape the message has
TRUNCATED = "truncated"                     # ends before the message does
BAD_TYPE = "bad type"                       # a message type that is unknown, or has no business here
BAD_FIELD = "bad field"                     # a value of the wrong type, out of range or too long
BAD_CRC = "bad crc"
BAD_LZW = "bad lzw"
BAD_ALGORITHM = "bad compression algorithm"
WRONG_LABEL = "wrong label"
DECRYPT_FAILED = "decrypt failed"
PLAINTEXT_REFUSED = "plaintext refused"     # we have a key, the peer did not use one
NO_KEY = "no key"                           # the peer used a key, we have none
TOO_LARGE = "too large"                     # one of the caps on bytes, parts or entries
TOO_DEEP = "too deep"                       # layers within layers
CLOSED = "closed"                           # a stream that ended before its first byte
