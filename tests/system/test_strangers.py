"""Two nodes whose settings do not match: the log of each says what to look at, and not again and again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gossipd.client import ClientError
from tests.support.processes import Lab, wait_until

KEY, OTHER_KEY = "AAAAAAAAAAAAAAAAAAAAAA==", "AQEBAQEBAQEBAQEBAQEBAQ=="
SOON_S = 5.0
LABEL = "label mismatch"
UNKNOWN_KEY = "encrypted by a key that this node does not have"
PLAIN = "not encrypted, while this node encrypts"
NO_KEY = "encrypted, while this node has no key"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def label(text: str) -> dict[str, Any]:
    return {"encryption": {"label": text}}


def key(text: str) -> dict[str, Any]:
    return {"encryption": {"key": text}}


@pytest.mark.parametrize(("ours", "theirs", "we_say", "they_say"), [
    (label("x"), label("y"), LABEL, LABEL),
    (label("x"), {}, LABEL, LABEL),
    ({}, label("y"), LABEL, LABEL),
    (key(KEY), key(OTHER_KEY), UNKNOWN_KEY, UNKNOWN_KEY),
    (key(KEY), {}, PLAIN, NO_KEY),
    ({}, key(OTHER_KEY), NO_KEY, PLAIN),
], ids=["labels", "label and none", "none and label", "keys", "key and none", "none and key"])
def test_both_logs_say_once_what_does_not_match(lab, ours, theirs, we_say, they_say):
    a, b = lab.gossipd("a", settings=ours), lab.gossipd("b", settings=theirs)
    lab.start(a, b)
    for _ in range(5):
        with a.client() as client, pytest.raises(ClientError):
            client.join([b.gossip])
    # whoever is dialled sees an address of the machine, not the one that is bound
    for agent, source, hint in ((a, f" to={b.gossip} ", we_say), (b, " source=127.", they_say)):
        wait_until(lambda agent=agent, hint=hint: hint in agent.log_text(), f"{agent} says: {hint}", SOON_S)
        lines = [line for line in agent.log_text().splitlines() if "hint=" in line]
        assert len(lines) == 1 and source in lines[0], agent.log_text()
