"""Regular expressions as Go's regexp package reads them (RE2 syntax), in time linear in the text.

Serf filters members and queries by expressions that anybody in the cluster may send. Python's `re` backtracks, and
reads some of them differently. Here an expression becomes a small machine whose states are found as they are needed
and remembered, so each character of a text is looked at once; how much work one expression may cause is bounded.

    Regex("^web$").search("web-1")      # False; raises RegexError for what Go refuses

Not understood, and refused: Unicode script names (`\\p{Greek}`). Bytes that are not UTF-8 count as U+FFFD each.
"""

from __future__ import annotations

from typing import Any

from gossipd.regexparser import (
    BEGIN_LINE,
    BEGIN_TEXT,
    END_LINE,
    END_TEXT,
    REPEAT_MAX,
    WORD_EDGE,
    Node,
    Parser,
    RegexError,
)

PROGRAM_MAX = 10_000            # instructions
WORK_MAX = 200_000
"""Instructions visited while new states are found, over the life of one Regex: about 50 ms. What was found is free."""
STATE_WORK = 8                  # what finding a state costs besides: bounds their number, and so the memory

# --- the machine -----------------------------------------------------------------------------------------------------

_CHAR, _SPLIT, _JUMP, _ASSERT, _MATCH = range(5)
Instruction = tuple[int, Any, Any]
"""(_CHAR, predicate, work) (_SPLIT, where, where) (_JUMP, where, -) (_ASSERT, kind, -) (_MATCH, -, -)."""


class _Compiler:
    def __init__(self) -> None:
        self.program: list[Instruction] = []
        self._emitted = 0

    def emit(self, node: Node) -> None:
        self._emitted += 1
        if self._emitted > PROGRAM_MAX or len(self.program) > PROGRAM_MAX:
            raise RegexError("expression too large")
        kind = node[0]
        if kind == "char":
            self.program.append((_CHAR, node[1], node[3]))
        elif kind == "assert":
            self.program.append((_ASSERT, node[1], None))
        elif kind == "cat":
            for part in node[1]:
                self.emit(part)
        elif kind == "alt":
            self._alternatives(node[1])
        else:
            self._repeat(*node[1:])

    def _alternatives(self, branches: tuple[Node, ...]) -> None:
        jumps = []
        for branch in branches[:-1]:
            split = self._hole()
            self.emit(branch)
            jumps.append(self._hole())
            self.program[split] = (_SPLIT, split + 1, len(self.program))
        self.emit(branches[-1])
        for jump in jumps:
            self.program[jump] = (_JUMP, len(self.program), None)

    def _repeat(self, node: Node, least: int, most: int) -> None:
        for _ in range(least):
            self.emit(node)
        if most < 0:
            split = self._hole()
            self.emit(node)
            self.program.append((_JUMP, split, None))
            self.program[split] = (_SPLIT, split + 1, len(self.program))
            return
        splits = []
        for _ in range(most - least):
            splits.append(self._hole())
            self.emit(node)
        for split in splits:
            self.program[split] = (_SPLIT, split + 1, len(self.program))

    def _hole(self) -> int:
        self.program.append((_MATCH, None, None))
        return len(self.program) - 1


def _check_repeats(node: Node, left: int) -> None:
    """Refuse nested counts whose product is above REPEAT_MAX, as Go does."""
    kind = node[0]
    if kind == "repeat":
        count = max(node[2], node[3])
        if count > left:
            raise RegexError("invalid repeat count")
        _check_repeats(node[1], left // count if count > 1 else left)
    elif kind in ("cat", "alt"):
        for part in node[1]:
            _check_repeats(part, left)


_EDGE, _NEWLINE, _WORD, _OTHER = range(4)
"""What stands beside a position: the text's edge, or this kind of character."""


def _kind(c: str) -> int:
    if c == "\n":
        return _NEWLINE
    return _WORD if c.isascii() and (c.isalnum() or c == "_") else _OTHER


def _holds(assertion: object, before: int, after: int) -> bool:
    if assertion == BEGIN_TEXT:
        return before == _EDGE
    if assertion == END_TEXT:
        return after == _EDGE
    if assertion == BEGIN_LINE:
        return before in (_EDGE, _NEWLINE)
    if assertion == END_LINE:
        return after in (_EDGE, _NEWLINE)
    return ((before == _WORD) != (after == _WORD)) == (assertion == WORD_EDGE)


class _State:
    """Where the machine may stand between two characters, and what it stands behind."""

    __slots__ = ("places", "before", "next", "matches_at_end")

    def __init__(self, places: tuple[int, ...], before: int) -> None:
        self.places, self.before = places, before
        self.next: dict[str, _State] = {}
        self.matches_at_end: bool | None = None     # not known yet


_MATCHED = _State((), _OTHER)
_LOST = _State((), _OTHER)


class Regex:
    """A compiled expression. Raises RegexError if Go's regexp would refuse it, or it is too large."""

    def __init__(self, pattern: str, work_max: int = WORK_MAX) -> None:
        tree = Parser(pattern).parse()
        _check_repeats(tree, REPEAT_MAX)
        parts = _flat(tree)
        self._anchored = bool(parts) and parts[0] == ("assert", BEGIN_TEXT)
        self._literal = _literal_between(parts)
        self._at_end = bool(parts) and parts[-1] == ("assert", END_TEXT)
        self._work = work_max
        self._program: list[Instruction] = []
        if self._literal is None:
            compiler = _Compiler()
            compiler.emit(tree)
            self._program = [*compiler.program, (_MATCH, None, None)]
            self._start = _State((0,), _EDGE)
            self._states: dict[tuple[tuple[int, ...], int], _State] = {((0,), _EDGE): self._start}

    @property
    def size(self) -> int:
        """Instructions: what it takes in memory and to compile."""
        return len(self._program)

    def search(self, text: str) -> bool:
        """Whether the expression matches anywhere in `text`. Raises RegexError once it took too much work."""
        if not text.isascii():
            text = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
        if self._literal is not None:
            return self._find_literal(self._literal, text)
        state = self._start
        for c in text:
            following = state.next.get(c)
            if following is None:
                following = self._step(state, c)
            if following is _MATCHED:
                return True
            if following is _LOST:
                return False
            state = following
        if state.matches_at_end is None:
            state.matches_at_end = self._reachable(state, _EDGE)[1]
        return state.matches_at_end

    def _find_literal(self, literal: str, text: str) -> bool:
        if self._anchored:
            return text == literal if self._at_end else text.startswith(literal)
        return text.endswith(literal) if self._at_end else literal in text

    def _step(self, state: _State, c: str) -> _State:
        kind = _kind(c)
        characters, matched = self._reachable(state, kind)
        if matched:
            following = _MATCHED
        else:
            program = self._program
            self._charge(sum(program[at][2] for at in characters))
            places = {at + 1 for at in characters if program[at][1](c)}
            if not self._anchored:
                places.add(0)
            following = self._state(tuple(sorted(places)), kind) if places else _LOST
        state.next[c] = following
        return following

    def _state(self, places: tuple[int, ...], before: int) -> _State:
        known = self._states.get((places, before))
        if known is None:
            known = self._states[places, before] = _State(places, before)
        return known

    def _reachable(self, state: _State, after: int) -> tuple[list[int], bool]:
        """The character instructions reachable without taking one, and whether the end of the program is."""
        program, seen, todo, characters = self._program, set(state.places), list(state.places), []
        matched = False
        while todo:
            at = todo.pop()
            op, x, y = program[at]
            targets: tuple[int, ...] = ()
            if op == _CHAR:
                characters.append(at)
            elif op == _SPLIT:
                targets = x, y
            elif op == _JUMP:
                targets = x,
            elif op == _MATCH:
                matched = True
                break
            elif _holds(x, state.before, after):
                targets = at + 1,
            for target in targets:
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        self._charge(len(seen) + STATE_WORK)
        return characters, matched

    def _charge(self, work: int) -> None:
        self._work -= work
        if self._work < 0:
            raise RegexError("expression takes too much work")


def _flat(node: Node) -> list[Node]:
    if node[0] != "cat":
        return [node]
    return [inner for part in node[1] for inner in _flat(part)]


def _literal_between(parts: list[Node]) -> str | None:
    """The text of an expression that is only text, perhaps between ^ and $. Most are."""
    inner = parts[bool(parts) and parts[0] == ("assert", BEGIN_TEXT):]
    inner = inner[:len(inner) - (bool(inner) and inner[-1] == ("assert", END_TEXT))]
    if all(part[0] == "char" and part[2] for part in inner):
        return "".join(str(part[2]) for part in inner)
    return None
