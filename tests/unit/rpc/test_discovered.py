"""The RPC command `discovered`, which only gossipd has."""

from __future__ import annotations

import pytest

from tests.unit.rpc.fakes import Client


@pytest.mark.parametrize("ask", [True, False])
def test_it_answers_what_the_backend_knows(ask):
    client = Client()
    client.backend.sightings = {"Cluster": "app", "Links": [], "Seen": [{"Name": "b", "Heard": 1.5}]}
    assert client.ask({"Command": "discovered", "Seq": 5}, {"Ask": ask}) == [
        {"Error": "", "Seq": 5}, client.backend.sightings]
    assert client.backend.asked_to_discover is ask
