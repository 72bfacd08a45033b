"""Tags in a node's metadata (spec serf §3)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from gossipd.errors import CommandError, WireError
from gossipd.swim.config import META_BYTES_MAX
from gossipd.wire.codec import pack, take_str, unpack_map

TAGS_SINCE = 3
"""The first protocol version that carries a tag map. Before, metadata is the bare value of the tag `role`."""
CACHE = 4096
_MAP_FOLLOWS = b"\xff"


def encode_tags(tags: Mapping[str, str], protocol: int) -> bytes:
    """Metadata for these tags: the same bytes for the same tags, or else peers see updates that are none.

    Raises CommandError if they need more than 512 bytes.
    """
    if protocol < TAGS_SINCE:
        meta = tags.get("role", "").encode("utf-8", "surrogateescape")
    else:
        raw = {_raw(key): _raw(value) for key, value in tags.items()}
        meta = _MAP_FOLLOWS + pack(dict(sorted(raw.items())))
    if len(meta) > META_BYTES_MAX:
        raise CommandError(f"Encoded length of tags exceeds limit of {META_BYTES_MAX} bytes",
                           f"they need {len(meta)}")
    return meta


@lru_cache(maxsize=CACHE)
def decode_tags(meta: bytes) -> Mapping[str, str]:
    """The tags in a peer's metadata, in the peer's order. Shared between callers: copy before changing.

    An undecodable map yields no tags, anything that is not a map is the old form: a role, even if empty.
    """
    if not meta.startswith(_MAP_FOLLOWS):
        return {"role": meta.decode("utf-8", "surrogateescape")}
    try:
        fields = unpack_map(meta[1:])
        return {key.decode("utf-8", "surrogateescape"): take_str(fields, key) for key in fields
                if isinstance(key, bytes)}
    except WireError:
        return {}


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
