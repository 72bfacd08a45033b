"""Names, tags, reasons and payloads of any bytes: gossipctl writes text, and JSON that strict parsers take."""

from __future__ import annotations

import json
import subprocess

import pytest

from gossipd.commands import ChangeKeys, KeyOutcome, QueryAnswer, QueryOutcome, StartQuery
from gossipd.events import MemberEvent, QueryEvent, UserEvent
from tests.support.require import need_program
from tests.unit.rpc.fakes import a_member

BYTES = "a\udc80\udcff\ud7ff\x00\x1b[2J\x9b\u202e\"\\\n\u2028"
SHOWN = "a\\x80\\xff\ud7ff\x00\x1b[2J\x9b\u202e\"\\\n\u2028"
NOT_UTF8 = b"\xff\x00\xc3("
LINK = {"Interface": BYTES, "Family": "ipv4", "Trouble": BYTES}
SEEN = {"Name": BYTES, "Addr": b"\x7f\0\0\1", "Port": 7946, "Interfaces": [BYTES], "Source": "127.0.0.1", "Heard": 1.0,
        "Expires": 2.0, "Status": "waiting", "Failures": 0}


@pytest.fixture
def hostile(daemon):
    backend = daemon.backend
    member = a_member(BYTES, 11, tags={BYTES: BYTES, "role": "\udcfe"}, reason=BYTES)
    backend.name, backend.member_list, backend.tags = BYTES, [member], {BYTES: BYTES}
    backend.parts = [QueryAnswer(BYTES, ack=True), QueryAnswer(BYTES, NOT_UTF8)]
    backend.results[StartQuery] = QueryOutcome([BYTES], [BYTES], [BYTES]), ""
    backend.results[ChangeKeys] = KeyOutcome(1, 1, 1, {BYTES: BYTES}, {BYTES: 1}, {BYTES: 1}, [BYTES], [BYTES]), BYTES
    backend.sightings = {"Cluster": BYTES, "Links": [LINK], "Seen": [SEEN]}
    daemon.events = [MemberEvent("member-join", [member]), UserEvent(BYTES, NOT_UTF8, 3, True),
                     QueryEvent(900, BYTES, NOT_UTF8, 3, BYTES, 9.0)]
    return daemon


COMMANDS = [
    ("members",), ("info",), ("tags", "list"), ("discover",), ("query", "q"), ("reachability",), ("keys", "list"),
    ("keys", "use", "AAECAwQFBgcICQoLDA0ODw=="), ("events",), ("event", "e"), ("join", "x"),
]
MAY_FAIL = (0, 1, 4, 6)


def strings(value):
    if isinstance(value, dict):
        return [text for item in value.items() for part in item for text in strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in strings(part)]
    return [value] if isinstance(value, str) else []


def documents(words, output):
    return list(map(json.loads, output.removesuffix("\n").split("\n") if "jsonl" in words else [output]))


@pytest.mark.parametrize("words", [(*words, "-o", "jsonl" if words == ("events",) else "json") for words in COMMANDS],
                         ids=lambda words: " ".join(words))
def test_json_says_any_bytes_as_text(ctl, hostile, words):
    code, out, err = ctl(*words)
    assert code in MAY_FAIL and "Traceback" not in err
    found = [text for document in documents(words, out) for text in strings(document)]
    assert all(text.isprintable() or SHOWN in text for text in found)
    "".join(found).encode()     # raises if half a pair is left
    assert SHOWN in found or words[0] in ("event", "join")


def test_jq_takes_it(ctl, hostile):
    jq = need_program("jq", "that jq reads gossipctl's JSON")
    for words in (("members", "-o", "json"), ("events", "-o", "jsonl"), ("query", "q", "-o", "json")):
        output = ctl(*words)[1]
        done = subprocess.run([jq, "-c", "."], input=output.encode(), capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert documents((*words, "jsonl"), done.stdout.decode()) == documents(words, output)
        assert "�".encode() not in done.stdout


@pytest.mark.parametrize("format", ["table", "wide", "name"])
def test_tables_of_members_obey_nobody(ctl, hostile, format):
    code, out, err = ctl("members", "-o", format)
    assert (code, err) == (0, "") and out.replace("\n", "").isprintable() and "a\\x80\\xff" in out


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] != "members"], ids=" ".join)
def test_what_people_read_obeys_nobody(ctl, hostile, words):
    code, out, err = ctl(*words)
    assert code in MAY_FAIL
    assert (out + err).replace("\n", "").replace("\t", "").isprintable()


def test_an_error_in_json_says_any_bytes_as_text(ctl, daemon):
    daemon.backend.refuse = BYTES
    code, out, err = ctl("keys", "list", "-o", "json")
    assert code == 1
    assert BYTES[0] in err and all(text.encode() for line in err.splitlines() for text in strings(json.loads(line)))


@pytest.mark.parametrize("tags", [{"\udcff": "1", "\\xff": "2"}, {"": "\udcff"}])
def test_tags_that_look_alike_are_no_error(ctl, daemon, tags):
    daemon.backend.member_list = [a_member("alpha", 11, tags=tags)]
    assert json.loads(ctl("members", "-o", "json")[1])["members"][0]["tags"]
