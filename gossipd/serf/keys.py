"""Encryption keys of the whole cluster, changed and listed by queries (spec serf §9.1-9.3)."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence

from gossipd.commands import ChangeKeys, KeyOutcome, QueryAnswer, QueryOutcome
from gossipd.effects import DEBUG, ERROR, INFO, Effect, Notice, Reply
from gossipd.errors import CommandError, WireError
from gossipd.serf.answers import INTERNAL, Answers, Question
from gossipd.serf.keeping import Save, Turns
from gossipd.serf.messages import (
    KeyResponse,
    QueryResponse,
    decode_key_request,
    decode_key_response,
    encode_key_request,
    encode_key_response,
)
from gossipd.serf.queries import Ask, Queries
from gossipd.swim.upper import Lower
from gossipd.wire.secure import KEY_SIZES, Keyring

INSTALL, USE, REMOVE, LIST = "install", "use", "remove", "list"
QUERY_OF = {INSTALL: "_serf_install-key", USE: "_serf_use-key", REMOVE: "_serf_remove-key", LIST: "_serf_list-keys"}
ACTION_OF = {query: action for action, query in QUERY_OF.items()}
FAILED_TO = {INSTALL: "install key", USE: "change primary key", REMOVE: "remove key"}
LISTED_BYTES_MIN = 25               # a listed key is no shorter than this


SaveKeys = Save[Sequence[bytes]]
"""Of the keys in use, primary first."""


def keys_after(action: str, key: bytes, keys: list[bytes]) -> list[bytes]:
    """The ring after the change. Raises CommandError, in Serf's words, if it is not possible."""
    if action == INSTALL:
        if len(key) not in KEY_SIZES:
            raise CommandError("key size must be 16, 24 or 32 bytes")
        return keys if key in keys else [*keys, key]
    if action == USE:
        if key not in keys:
            raise CommandError("Requested key is not in the keyring")
        return [key, *(other for other in keys if other != key)]
    if keys and key == keys[0]:
        raise CommandError("Removing the primary key is not allowed")
    return [other for other in keys if other != key]


class KeyAnswers:
    """This node's part: change the ring, tell what is on it. Changes happen in the order in which they were asked for,
    each when it was kept."""

    def __init__(self, keyring: Keyring | None, save: SaveKeys, answers: Answers, local_name: str) -> None:
        self._keyring, self._answers, self._local_name = keyring, answers, local_name
        self._changes = Turns("keys", save)

    def answer(self, question: Question, now: float, out: list[Effect]) -> None:
        """Now or later."""
        action = ACTION_OF[question.query.name]
        response = self._listing(question, out) if action == LIST else self._begin(question, action, now, out)
        if response is not None:
            self._respond(question, response, now, out)

    def _respond(self, question: Question, response: KeyResponse, now: float, out: list[Effect]) -> None:
        """Perhaps under the new key already: whoever asked has both."""
        try:
            self._answers.answer(question, encode_key_response(response), now, out)
        except CommandError as error:
            out.append(Notice(DEBUG, f"key query not answered name={question.query.name!r}: {error.full}"))

    def _begin(self, question: Question, action: str, now: float, out: list[Effect]) -> KeyResponse | None:
        """None: the answer comes when the change was made."""
        try:
            key = decode_key_request(question.query.payload or b"")
        except WireError:
            return KeyResponse(False)
        if self._keyring is None or not self._keyring.keys:
            return _refused("No keyring to modify (encryption not enabled)", out)    # never made by a query
        _received(question, out)
        try:
            self._change(question, action, key, self._keyring, now, out)
        except CommandError as error:
            return _failed(action, str(error), out)
        return None

    def _change(self, question: Question, action: str, key: bytes, keyring: Keyring, now: float,
                out: list[Effect]) -> None:
        """Raises CommandError if nothing will come of it."""
        def after() -> list[bytes] | None:
            before = keyring.keys
            keys = keys_after(action, key, before)
            return None if keys == before else keys

        def over(failure: str, now: float, out: list[Effect]) -> None:
            if not failure:
                _apply(action, key, keyring)
            response = _failed(action, failure, out) if failure else KeyResponse(True)
            self._respond(question, response, now, out)

        self._changes.change(after, over, now, out)

    def _listing(self, question: Question, out: list[Effect]) -> KeyResponse:
        """All keys, or as many as fit the answer's limit."""
        if self._keyring is None or not self._keyring.keys:
            return _refused("Keyring is empty (encryption not enabled)", out)
        _received(question, out)
        keys = [b2a_base64(key, newline=False).decode() for key in self._keyring.keys]
        response = KeyResponse(True, "", keys, keys[0])
        shown = min(self._answers.response_bytes // LISTED_BYTES_MIN, len(keys))
        while not self._fits(question, response) and shown > 0:
            message = f"truncated key list response, showing first {shown} of {len(keys)} keys"
            response = KeyResponse(True, message, keys[:shown], keys[0])
            shown -= 1
        return response

    def _fits(self, question: Question, response: KeyResponse) -> bool:
        query, payload = question.query, encode_key_response(response)
        try:
            self._answers.check_size(QueryResponse(query.ltime, query.id, self._local_name, 0, payload))
        except CommandError:
            return False
        return True


# Who changes keys is of interest to operators, who look for Serf's words.

def _received(question: Question, out: list[Effect]) -> None:
    out.append(Notice(INFO, f"Received {question.query.name.removeprefix(INTERNAL)} query", as_serf=True))


def _refused(why: str, out: list[Effect]) -> KeyResponse:
    out.append(Notice(ERROR, why, as_serf=True))
    return KeyResponse(False, why)


def _failed(action: str, why: str, out: list[Effect]) -> KeyResponse:
    out.append(Notice(ERROR, f"Failed to {FAILED_TO[action]}: {why}", as_serf=True))
    return KeyResponse(False, why)


def _apply(action: str, key: bytes, keyring: Keyring) -> None:
    if action == INSTALL:
        keyring.add(key)
    elif action == USE:
        keyring.use(key)
    else:
        keyring.remove(key)


class KeyManager:
    """What users ask of all nodes. One change or listing at a time; others wait for their turn."""

    def __init__(self, lower: Lower, queries: Queries) -> None:
        self._lower, self._queries = lower, queries
        self._turns: list[ChangeKeys] = []
        self._running = False

    def change(self, command: ChangeKeys, now: float, out: list[Effect]) -> None:
        """Raises CommandError if the key does not fit into a query. What no node would do is for all of them to say."""
        if command.action not in QUERY_OF:
            raise CommandError(f"unknown key action {command.action!r}")
        if self._running:
            self._turns.append(command)
        else:
            self._begin(command, now, out)

    def _begin(self, command: ChangeKeys, now: float, out: list[Effect]) -> None:
        asked = [member.name for member in self._lower.members if member.is_up]
        outcome, missing = KeyOutcome(len(asked)), set(asked)

        def answered(answer: QueryAnswer, now: float, out: list[Effect]) -> None:
            _count(answer, outcome)
            missing.discard(answer.source)
            if not missing:
                self._queries.stop(answer.ltime, now)

        def over(heard: QueryOutcome, now: float, out: list[Effect]) -> None:
            outcome.silent = [name for name in asked if name not in heard.answered]
            out.append(Reply(command.id, outcome, _failure(outcome)))
            self._running = False
            while self._turns and not self._running:
                self._next(self._turns.pop(0), now, out)

        self._queries.ask(Ask(QUERY_OF[command.action], encode_key_request(command.key),
                              relay_factor=command.relay_factor), answered, over, now, out)
        self._running = True

    def _next(self, command: ChangeKeys, now: float, out: list[Effect]) -> None:
        try:
            self._begin(command, now, out)
        except CommandError as error:
            out.append(Reply(command.id, error=str(error)))


def _count(answer: QueryAnswer, outcome: KeyOutcome) -> None:
    outcome.responses += 1
    try:
        response = decode_key_response(answer.payload or b"")
    except WireError as error:
        outcome.errors += 1
        outcome.messages[answer.source] = f"Failed to decode key response: {error}"
        return
    if not response.result:
        outcome.errors += 1
        outcome.messages[answer.source] = response.message
        return
    if response.message:
        outcome.messages[answer.source] = response.message
    outcome.done.append(answer.source)
    for key in response.keys or ():
        outcome.keys[key] = outcome.keys.get(key, 0) + 1
    if response.primary:
        outcome.primaries[response.primary] = outcome.primaries.get(response.primary, 0) + 1


def _failure(outcome: KeyOutcome) -> str:
    if outcome.errors:
        return f"{outcome.errors}/{outcome.nodes} nodes reported failure"
    if outcome.silent:      # whoever else has answered
        return f"{outcome.nodes - len(outcome.silent)}/{outcome.nodes} nodes reported success"
    return ""
