"""gossipctl query, reachability."""

from __future__ import annotations

import sys
from time import monotonic

from gossipd.client import Answer, Client, Query
from gossipd.ctl.arguments import Arguments, UsageError, seconds, whole_number
from gossipd.ctl.jsontext import json_line, json_text
from gossipd.ctl.output import EXIT_NOTHING, EXIT_OK, EXIT_PARTLY, complain, printable, table
from gossipd.ctl.payload import payload_argument, payload_json, payload_lines
from gossipd.ctl.progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PING = "_serf_ping"         # nobody answers it but by the ack
RELAY_FACTOR_MAX = 255


def run_query(arguments: Arguments, connect: Callable[[], Client]) -> int:
    assert arguments.command is not None
    return (_query if arguments.command.name == "query" else _reachability)(arguments, connect)


# query

def _query(arguments: Arguments, connect: Callable[[], Client]) -> int:
    nodes, tags = arguments.texts("node"), arguments.tag_filters()
    timeout_s, relay_factor = seconds(arguments.text("timeout"), 0.0), _relay_factor(arguments)
    name, payload, ack = arguments.words[0], payload_argument(arguments), not arguments.flag("no_ack")
    format = arguments.text("output")
    answers: list[dict[str, object]] = []
    query: Query | None = None
    with connect() as client, Progress(
            lambda: f"{len(query.acked)} acked, {len(query.answered)} answered" if query else "asking") as progress:
        begun = monotonic()
        query = client.query(name, payload, nodes=nodes, tags=tags, ack=ack, relay_factor=relay_factor,
                             timeout_s=timeout_s)
        for answer in query:
            if format == "json":
                answers += [] if answer.ack else [_answer_json(answer, begun)]
                continue
            progress.hide()
            sys.stdout.write(json_line(_answer_json(answer, begun)) if format == "jsonl" else _answer_text(answer))
            sys.stdout.flush()
        silent = _silent(client, query, nodes, tags)
    outcome = {"acked": query.acked, "answered": query.answered, "silent": silent, "duration_ms": _since(begun)}
    if format == "json":
        sys.stdout.write(json_text({"name": name, "answers": answers, **outcome}))
    elif format == "jsonl":
        sys.stdout.write(json_line({"type": "done", **outcome}))
    else:
        sys.stdout.write(_summary(query, silent, ack))
    return _verdict(query, silent, tags)


def _relay_factor(arguments: Arguments) -> int:
    text = arguments.text("relay_factor") or "0"
    factor = whole_number(text, RELAY_FACTOR_MAX)
    if factor < 0:
        raise UsageError(f"option --relay-factor: {text!r} is not a number from 0 to {RELAY_FACTOR_MAX}",
                         arguments.command)
    return factor


def _since(begun: float) -> float:
    return round((monotonic() - begun) * 1000, 3)


def _answer_json(answer: Answer, begun: float) -> dict[str, object]:
    """docs/json.md says what these mean; keys are only ever added."""
    kind = "ack" if answer.ack else "answer"
    return {"type": kind, "node": answer.node, **payload_json(answer.payload), "after_ms": _since(begun)}


def _answer_text(answer: Answer) -> str:
    name = printable(answer.node)
    if answer.ack:
        return f"ack     {name}\n"
    first, *others = payload_lines(answer.payload)
    return f"answer  {name}  {first}".rstrip() + "\n" + "".join(f"{' ' * (len(name) + 10)}{line}\n" for line in others)


def _summary(query: Query, silent: list[str] | None, ack: bool) -> str:
    rows: list[tuple[str, list[str] | None]] = [("acked", query.acked)] if ack else []
    rows += [("answered", query.answered), ("neither", silent)]
    return "\n" + "".join(
        f"{word:8}    ?\n" if names is None
        else f"{word:8}  {len(names):3}  {printable(', '.join(sorted(names)))}".rstrip() + "\n"
        for word, names in rows)


def _verdict(query: Query, silent: list[str] | None, tags: dict[str, str]) -> int:
    heard = query.acked or query.answered
    if silent is None:
        who = "who else was asked" if heard else "nobody answered; who was asked"
        complain(f"{who} cannot be told: {_obscure(tags)}")
        return EXIT_PARTLY
    if not (heard or silent):
        complain("no live member matches")
        return EXIT_NOTHING
    return EXIT_PARTLY if silent else EXIT_OK


def _silent(client: Client, query: Query, nodes: list[str], tags: dict[str, str]) -> list[str] | None:
    """Who was asked and did neither; None if that cannot be told, as members may read an expression in other ways.

    Serf's agent does not say, nor does gossipd of an expression that takes it too much work: then it is who would
    match now.
    """
    if query.silent is not None:
        return query.silent
    from gossipd.regex import Regex
    from gossipd.regexparser import RegexError

    try:
        expressions = {tag: Regex(expression) for tag, expression in tags.items()}
        asked = [member.name for member in client.members(status="alive") if (not nodes or member.name in nodes)
                 and all(regex.search(member.tags.get(tag, "")) for tag, regex in expressions.items())]
    except RegexError:
        return None
    heard = {*query.acked, *query.answered}
    return [name for name in asked if name not in heard]


def _obscure(tags: dict[str, str]) -> str:
    """Why it cannot be told whom these expressions ask."""
    from gossipd.regex import Regex
    from gossipd.regexparser import RegexError

    for expression in tags.values():
        try:
            Regex(expression)
        except RegexError as error:
            return f"expression {expression!r}: {error}"
    return "the expressions take too much work"


# reachability

def _reachability(arguments: Arguments, connect: Callable[[], Client]) -> int:
    write_json = arguments.text("output") == "json"
    query: Query | None = None
    with connect() as client, Progress(lambda: f"{len(query.acked)} reached" if query else "asking"):
        client.stats()      # the connection is there when the clock starts
        begun = monotonic()
        query = client.query(PING, timeout_s=seconds(arguments.text("timeout"), 0.0))
        reached = [(answer.node, _since(begun)) for answer in query]
        silent = _silent(client, query, [], {}) or []       # without expressions it can be told
    duration_ms = _since(begun)
    if write_json:
        records = [{"node": name, "after_ms": after_ms} for name, after_ms in reached]
        sys.stdout.write(json_text({"reached": records, "silent": silent, "duration_ms": duration_ms}))
    else:
        rows = [[printable(name), f"{after_ms:.1f}ms"] for name, after_ms in reached]
        sys.stdout.write(table(["NODE", "AFTER"], rows + [[printable(name), "not heard of"] for name in silent]))
    if silent:
        complain(f"{len(silent)} of {len(silent) + len(reached)} live members were not heard of")
        return EXIT_PARTLY
    return EXIT_OK
