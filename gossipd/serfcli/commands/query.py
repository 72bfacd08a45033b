"""serf query, reachability"""

from __future__ import annotations

from time import monotonic

from gossipd.client import Answer, ClientError, ConnectionLost, Query
from gossipd.serfcli.commands.cluster import name_and_payload
from gossipd.serfcli.commands.members import tag_expressions
from gossipd.serfcli.dial import SerfClient, reason
from gossipd.serfcli.flags import Flags
from gossipd.serfcli.output import EXIT_FAILED, EXIT_OK, Failed, say
from gossipd.serfcli.text import go_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PING = "_serf_ping"         # nobody answers it but by the ack
RELAY_FACTOR_MAX = 255
SENDING = "Error sending query: "
WHY_LESS = "This could mean Serf gossip packets are being lost due to a misconfiguration or network issue."
WHY_MORE = "Members that were taken for failed have answered: failure detection may suffer from the network."
WHY_TWICE = "A member that answers twice shares its name with another one: check that names are unique."
TIPS = """
Troubleshooting tips:
* Ensure that the bind addr:port is accessible by all other nodes
* If an advertise address is set, ensure it routes to the bind address
* Check that no nodes are behind a NAT
* If nodes are behind firewalls or iptables, check that Serf traffic is permitted (UDP and TCP)
* Verify networking equipment is functional"""


def run_query(flags: Flags, connect: Callable[[], SerfClient]) -> int:
    tags = tag_expressions(flags)
    name, payload = name_and_payload(flags, "A query")
    relay_factor = flags.whole("relay-factor")
    if not 0 <= relay_factor <= RELAY_FACTOR_MAX:
        raise Failed(f"Relay factor must be between 0 and {RELAY_FACTOR_MAX}")
    ack, format = not flags.switch("no-ack"), flags.given.get("format", "text")
    with connect() as client:
        if format not in ("text", "json"):
            raise Failed(f"Invalid format: {format}")
        try:
            query = client.query(name, payload, nodes=flags.texts("node"), tags=tags, ack=ack,
                                 relay_factor=relay_factor, timeout_s=flags.seconds("timeout"))
        except ClientError as error:
            raise Failed(SENDING + reason(error)) from None
        try:
            (_show_json if format == "json" else _show_text)(name, query, ack)
        except KeyboardInterrupt:
            return EXIT_FAILED
    return EXIT_OK


def answers(query: Query) -> Iterator[Answer]:
    """Until the query is over; when the agent ends, so does it."""
    try:
        yield from query
    except ConnectionLost:
        pass


def _show_text(name: str, query: Query, ack: bool) -> None:
    say(f"Query '{name}' dispatched")
    for answer in answers(query):
        if answer.ack:
            say(f"Ack from '{answer.node}'")
        else:
            say(f"Response from '{answer.node}': {payload_text(answer).removesuffix(chr(10))}")
    if ack:
        say(f"Total Acks: {len(query.acked)}")
    say(f"Total Responses: {len(query.answered)}")


def _show_json(name: str, query: Query, ack: bool) -> None:
    responses = {answer.node: payload_text(answer) for answer in answers(query) if not answer.ack}
    say(go_json({"Acks": list(query.acked) or None, "Responses": dict(sorted(responses.items()))}))


def payload_text(answer: Answer) -> str:
    payload = answer.payload or b""
    return payload if isinstance(payload, str) else payload.decode("utf-8", "surrogateescape")


def run_reachability(flags: Flags, connect: Callable[[], SerfClient]) -> int:
    verbose = flags.switch("verbose")
    with connect() as client:
        try:
            members = client.members()
        except ClientError as error:
            raise Failed(f"Error getting members: {reason(error)}") from None
        live = [member.name for member in members if member.status == "alive"]
        say(f"Total members: {len(members)}, live members: {len(live)}")
        say("Starting reachability test...")
        begun = last = monotonic()
        try:
            query = client.query(PING)
        except ClientError as error:
            raise Failed(SENDING + reason(error)) from None
        reached: list[str] = []
        try:
            for answer in answers(query):
                last = monotonic()
                if verbose:
                    say(f"\tAck from '{answer.node}'")
                if answer.node in reached:
                    say(f"Duplicate response from '{answer.node}'\n{WHY_TWICE}")
                    return EXIT_FAILED
                reached.append(answer.node)
        except KeyboardInterrupt:
            say("Test interrupted")
            return EXIT_FAILED
    if verbose:
        say(f"Query time: {monotonic() - begun:.2f} sec, time to last response: {last - begun:.2f} sec")
    return _verdict(live, reached)


def _verdict(live: list[str], reached: list[str]) -> int:
    if len(reached) == len(live):
        say("Successfully contacted all live nodes")
        return EXIT_OK
    if len(reached) > len(live):
        _list("Received more acks than live nodes! Acks from non-live nodes:",
              [name for name in reached if name not in live], WHY_MORE)
    else:
        _list("Received less acks than live nodes! Missing acks from:",
              [name for name in live if name not in reached], WHY_LESS)
    say(TIPS)
    return EXIT_FAILED


def _list(heading: str, names: list[str], why: str) -> None:
    for line in (heading, *(f"\t{name}" for name in names), why):
        say(line)
