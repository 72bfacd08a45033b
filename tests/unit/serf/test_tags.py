from __future__ import annotations

import pytest

from gossipd.errors import CommandError
from gossipd.serf.tags import decode_tags, encode_tags
from tests.unit.serf.vectors import load

VECTORS = load("tags.json")["tags"]
SPOKEN = [v for v in VECTORS if "delegate_version_spoken" in v]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_metadata_of_the_reference_gives_its_tags(vector):
    seen = {"role": vector["tags"]["role"]} if vector["name"] == "proto2_drops_other_tags" else vector["tags"]
    assert decode_tags(bytes.fromhex(vector["hex"])) == seen


@pytest.mark.parametrize("vector", [v for v in SPOKEN if v.get("fits_512", True)], ids=lambda v: v["name"])
def test_tags_are_encoded_as_the_reference_does_up_to_their_order(vector):
    meta = encode_tags(vector["tags"], vector["delegate_version_spoken"])
    assert sorted(meta) == sorted(bytes.fromhex(vector["hex"]))
    assert vector.get("encoded_len", len(meta)) == len(meta)


def test_the_order_in_which_tags_were_given_does_not_show():
    assert encode_tags({"b": "2", "a": "1"}, 5) == encode_tags({"a": "1", "b": "2"}, 5)
    assert encode_tags({"é": "1", "z": "2"}, 5)[2:4] == b"\xa1z"     # by bytes, not by letters


def test_513_bytes_are_refused_naming_limit_and_size():
    with pytest.raises(CommandError, match="^Encoded length of tags exceeds limit of 512 bytes$") as refused:
        encode_tags({"k": "v" * 506}, 5)
    assert refused.value.full == f"{refused.value}: they need 513"


def test_names_and_values_that_are_no_utf_8_come_back_unchanged():
    meta = b"\xff\x81\xa2\xff\xfe\xa1\x80"
    tags = decode_tags(meta)
    assert encode_tags(tags, 5) == meta


def test_a_peers_map_with_keys_that_are_no_text_yields_the_rest():
    assert dict(decode_tags(b"\xff\x83\x01\xa1a\xa4role\xa3web\xc0\xa1b")) == {"role": "web"}
