"""Reading regular expressions as Go's regexp package does (RE2 syntax): from text to a tree, which `regex` runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from gossipd.errors import GossipdError

PATTERN_CHARS_MAX = 4096
REPEAT_MAX = 1000               # Go's limit, for nested repeats their product
DEPTH_MAX = 100                 # of groups; Go allows 1000, but this parser calls itself
FOLD_WORK = 4                   # what looking at a character costs more where case does not count


class RegexError(GossipdError):
    """The expression cannot be used, or took too much work. A person reads the text."""


# --- the tree: tuples, first what they are ---------------------------------------------------------------------------

Predicate = Callable[[str], bool]
Node = tuple[Any, ...]
"""("char", predicate, the character if it is literal, work) ("assert", kind) ("cat", nodes) ("alt", nodes)
("repeat", node, least, most or -1)."""

EMPTY: Node = ("cat", ())

BEGIN_TEXT, END_TEXT, BEGIN_LINE, END_LINE, WORD_EDGE, NO_WORD_EDGE = "A", "z", "^", "$", "b", "B"

_PERL = {"d": "0-9", "s": "\t\n\f\r ", "w": "0-9A-Za-z_"}
_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": "\x00-\x7f", "blank": "\t ", "cntrl": "\x00-\x1f\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": "!-/:-@[-`{-~", "space": "\t-\r ",
    "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}
_ESCAPES = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ASSERTIONS = {"A": BEGIN_TEXT, "z": END_TEXT, "b": WORD_EDGE, "B": NO_WORD_EDGE}
_CATEGORIES = frozenset(
    "C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs".split())


def _spans(text: str) -> Predicate:
    """A predicate for ranges and characters written like `0-9_`; a "-" stands between two characters only."""
    pairs, i = [], 0
    while i < len(text):
        if text[i + 1:i + 2] == "-" and i + 2 < len(text):
            pairs.append((text[i], text[i + 2]))
            i += 3
        else:
            pairs.append((text[i], text[i]))
            i += 1
    return _between(pairs)


def _between(pairs: list[tuple[str, str]]) -> Predicate:
    lows, highs = _merged(pairs)
    if len(lows) == 1:
        low, high = lows[0], highs[0]
        return lambda c: low <= c <= high

    def matches(c: str) -> bool:
        at = bisect_right(lows, c)
        return at > 0 and c <= highs[at - 1]
    return matches


def _merged(pairs: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Where the spans begin and end, in order, without overlaps."""
    lows: list[str] = []
    highs: list[str] = []
    for low, high in sorted(pairs):
        if highs and low <= highs[-1]:
            highs[-1] = max(high, highs[-1])
        else:
            lows.append(low)
            highs.append(high)
    return lows, highs


def _not(inner: Predicate) -> Predicate:
    return lambda c: not inner(c)


def _folded(inner: Predicate) -> Predicate:
    """`inner` for any case of a character (Unicode simple folding, as far as Python's case maps give it)."""
    return lambda c: any(inner(form) for form in _forms(c))


@lru_cache(1024)
def _forms(c: str) -> tuple[str, ...]:
    lower, upper = c.lower(), c.upper()
    return tuple(dict.fromkeys(form for form in (c, lower, upper, upper.lower(), lower.upper()) if len(form) == 1))


def _category(name: str) -> Predicate:
    from unicodedata import category  # 1 MB that only expressions with \p need

    return lambda c: category(c).startswith(name)


class Parser:
    """Recursive descent over the pattern; the flags i, m and s are those in force at this point."""

    def __init__(self, pattern: str) -> None:
        if len(pattern) > PATTERN_CHARS_MAX:
            raise RegexError(f"expression longer than {PATTERN_CHARS_MAX} characters")
        if any("\ud800" <= c <= "\udfff" for c in pattern):
            raise RegexError("expression is not UTF-8")
        self._pattern, self._at, self._depth = pattern, 0, 0
        self._fold = self._multiline = self._dot_all = False
        self._names: set[str] = set()

    def parse(self) -> Node:
        node = self._alternatives()
        if self._at < len(self._pattern):
            raise RegexError("unexpected )")
        return node

    def _peek(self, what: str) -> bool:
        return self._pattern.startswith(what, self._at)

    def _take(self, what: str) -> bool:
        if self._peek(what):
            self._at += len(what)
            return True
        return False

    def _next(self) -> str:
        if self._at >= len(self._pattern):
            raise RegexError("expression ends too early")
        self._at += 1
        return self._pattern[self._at - 1]

    def _until(self, end: str, what: str) -> str:
        stop = self._pattern.find(end, self._at)
        if stop < 0:
            raise RegexError(f"missing {end} after {what}")
        text, self._at = self._pattern[self._at:stop], stop + len(end)
        return text

    # expression := sequence ("|" sequence)*

    def _alternatives(self) -> Node:
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else ("alt", tuple(branches))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._at < len(self._pattern) and not self._peek("|") and not self._peek(")"):
            if self._take("\\Q"):
                parts += self._quoted()
                continue
            atom = self._atom()
            if atom is not None:
                parts.append(self._repeated(atom))
        return parts[0] if len(parts) == 1 else ("cat", tuple(parts))

    def _quoted(self) -> list[Node]:
        stop = self._pattern.find("\\E", self._at)
        end = len(self._pattern) if stop < 0 else stop
        parts = [self._literal(c) for c in self._pattern[self._at:end]]
        self._at = end if stop < 0 else end + 2
        if parts:
            parts[-1] = self._repeated(parts[-1])
        return parts

    def _repeated(self, atom: Node) -> Node:
        span = self._repeat()
        if span is None:
            return atom
        self._take("?")         # lazy: whether something matches does not depend on it
        if self._repeat() is not None:
            raise RegexError("invalid nested repetition operator")
        return ("repeat", atom, *span)

    def _repeat(self) -> tuple[int, int] | None:
        """Take one of * + ? {n} {n,} {n,m}. Other braces are literal."""
        if self._take("*"):
            return 0, -1
        if self._take("+"):
            return 1, -1
        if self._take("?"):
            return 0, 1
        return self._counted()

    def _counted(self) -> tuple[int, int] | None:
        stop = self._pattern.find("}", self._at)
        if not self._peek("{") or stop < 0:
            return None
        low, comma, high = self._pattern[self._at + 1:stop].partition(",")
        if not _is_number(low) or (high and not _is_number(high)):
            return None
        self._at = stop + 1
        least = int(low[:5])
        most = least if not comma else int(high[:5]) if high else -1
        if max(least, most) > REPEAT_MAX or 0 <= most < least:
            raise RegexError("invalid repeat count")
        return least, most

    def _atom(self) -> Node | None:
        """None for a group that only sets flags."""
        if self._repeat() is not None:
            raise RegexError("missing argument to repetition operator")
        c = self._next()
        if c == "(":
            return self._group()
        if c == "[":
            return self._char_class()
        if c == "\\":
            return self._escape()
        if c == "^":
            return ("assert", BEGIN_LINE if self._multiline else BEGIN_TEXT)
        if c == "$":
            return ("assert", END_LINE if self._multiline else END_TEXT)
        if c == ".":
            return ("char", (lambda _: True) if self._dot_all else (lambda c: c != "\n"), "", 0)
        return self._literal(c)

    def _literal(self, c: str) -> Node:
        alone = _between([(c, c)])
        if self._fold and (c.lower() != c or c.upper() != c):
            return ("char", _folded(alone), "", FOLD_WORK)
        return ("char", alone, c, 0)

    def _group(self) -> Node | None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise RegexError("expression nests too deeply")
        outer = self._fold, self._multiline, self._dot_all
        if self._take("?"):
            if self._take("P<"):
                self._name_group()
            elif not self._set_flags():
                self._depth -= 1
                return None     # (?i): the flags hold until the enclosing group ends
        node = self._alternatives()
        if not self._take(")"):
            raise RegexError("missing closing )")
        self._fold, self._multiline, self._dot_all = outer
        self._depth -= 1
        return ("cat", (node,))

    def _name_group(self) -> None:
        name = self._until(">", "group name")
        if not (name.isascii() and name.replace("_", "a").isalnum()) or name in self._names:
            raise RegexError("invalid named capture")
        self._names.add(name)

    def _set_flags(self) -> bool:
        """After `(?`: flags up to `:` (True, a group follows) or `)` (False)."""
        on, given = True, False
        while True:
            c = self._next()
            if c in ":)":
                if not on and not given:
                    raise RegexError("invalid or unsupported Perl syntax")
                return c == ":"
            if c == "-" and on:
                on, given = False, False
                continue
            if c == "i":
                self._fold = on
            elif c == "m":
                self._multiline = on
            elif c == "s":
                self._dot_all = on
            elif c != "U":      # U swaps greedy and lazy
                raise RegexError("invalid or unsupported Perl syntax")
            given = True

    def _escape(self) -> Node:
        if self._at < len(self._pattern) and self._pattern[self._at] in _ASSERTIONS:
            return ("assert", _ASSERTIONS[self._next()])
        predicate = self._escaped_class()
        return self._literal(self._escaped_char()) if predicate is None else ("char", predicate, "", self._work(1))

    def _escaped_class(self) -> Predicate | None:
        """After a backslash: \\d, \\pL and their like, or None without taking anything."""
        c = self._pattern[self._at:self._at + 1]
        if c and c in "dswDSW":
            self._at += 1
            spans = _spans(_PERL[c.lower()])
            return self._cased(spans) if c.islower() else _not(self._cased(spans))
        if c and c in "pP":
            self._at += 1
            return self._property(negated=c == "P")
        return None

    def _property(self, negated: bool) -> Predicate:
        name = self._until("}", "\\p{") if self._take("{") else self._next()
        if name.startswith("^"):
            name, negated = name[1:], not negated
        if name != "Any" and name not in _CATEGORIES:
            raise RegexError(f"unknown character class {name}")
        predicate = self._cased(_category("" if name == "Any" else name))
        return _not(predicate) if negated else predicate

    def _cased(self, predicate: Predicate) -> Predicate:
        return _folded(predicate) if self._fold else predicate

    def _escaped_char(self) -> str:
        """After a backslash: the one character meant."""
        c = self._next()
        if c in _ESCAPES:
            return _ESCAPES[c]
        if c == "x":
            digits = self._until("}", "\\x{") if self._take("{") else self._next() + self._next()
            return _code_point(digits, 16)
        if c == "0" or (c in "1234567" and self._pattern[self._at:self._at + 1] in tuple("01234567")):
            digits = c
            while len(digits) < 3 and self._pattern[self._at:self._at + 1] in tuple("01234567"):
                digits += self._next()
            return _code_point(digits, 8)
        if c.isascii() and not c.isalnum() and c != "_":
            return c
        raise RegexError(f"invalid escape sequence \\{c}")

    def _char_class(self) -> Node:
        negated = self._take("^")
        pairs: list[tuple[str, str]] = []
        classes: list[Predicate] = []
        first = True
        while first or not self._peek("]"):
            first = False
            if self._peek("[:") and ":]" in self._pattern[self._at:]:
                self._at += 2
                classes.append(self._posix_class())
                continue
            if self._take("\\"):
                named = self._escaped_class()
                if named is not None:
                    classes.append(named)
                    continue
                low = self._escaped_char()
            else:
                low = self._next()
            pairs.append((low, self._range_end(low)))
        self._take("]")
        inside = self._cased(_between(pairs))
        matches: Predicate = (lambda c: inside(c) or any(one(c) for one in classes)) if classes else inside
        return ("char", _not(matches) if negated else matches, "", self._work(1 + len(classes)))

    def _work(self, predicates: int) -> int:
        """What a class of so many named ones and spans costs."""
        return predicates * (FOLD_WORK if self._fold else 1)

    def _range_end(self, low: str) -> str:
        if not self._peek("-") or self._peek("-]"):
            return low
        self._at += 1
        high = self._escaped_char() if self._take("\\") else self._next()
        if high < low:
            raise RegexError("invalid character class range")
        return high

    def _posix_class(self) -> Predicate:
        name = self._until(":]", "[:")
        negated = name.startswith("^")
        if name.lstrip("^") not in _POSIX or name.startswith("^^"):
            raise RegexError(f"invalid character class range [:{name}:]")
        predicate = self._cased(_spans(_POSIX[name.lstrip("^")]))
        return _not(predicate) if negated else predicate


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _code_point(digits: str, base: int) -> str:
    if digits.strip("0123456789abcdefABCDEF") or not digits:
        raise RegexError("invalid escape sequence")
    value = int(digits[-12:], base)
    if value > 0x10FFFF:
        raise RegexError("invalid escape sequence")
    return chr(value)
