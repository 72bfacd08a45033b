"""docs/json.md, read as the schema that it is: does a document have what it says, and nothing else?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "json.md"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PLAIN = {"string": str, "boolean": bool, "null": type(None)}

Keys = dict[str, tuple[str, str]]
"""By key: its type, and in what variant it is there."""


def schemas(text: str) -> dict[str, Keys]:
    """By name, of every table of the document."""
    found: dict[str, Keys] = {}
    for name, rest in re.findall(r"^\| key of (?:an? )?([A-Z-]+) (.*\n(?:\|.*\n)+)", text, re.M):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in rest.splitlines()]
        with_variant = "in" in rows[0]
        assert name not in found, name
        found[name] = {key: (row[1], row[2] if with_variant else "all")
                       for row in rows[2:] for key in re.findall(r"`(\w+)`", row[0])}
    return found


SCHEMAS = schemas(DOCUMENT.read_text())


def wrong(value: Any, schema: str, variant: str = "all", where: str = "") -> list[str]:
    """What of `value` is not as the document says: empty if all is well."""
    where = where or schema
    if not isinstance(value, dict):
        return [f"{where}: no object"]
    keys = {key: type for key, (type, variants) in SCHEMAS[schema].items()
            if variants == "all" or variant in variants.split(", ")}
    problems = [f"{where}: {key} is missing" for key in keys.keys() - value.keys()]
    problems += [f"{where}: {key} is not documented" for key in value.keys() - keys.keys()]
    for key in keys.keys() & value.keys():
        problems += _wrong_type(value[key], keys[key], f"{where}.{key}")
    return problems


def _wrong_type(value: Any, type: str, where: str) -> list[str]:
    """Of alternatives, the last one that is not null names what is wrong."""
    problems = [_wrong_one(value, one, where) for one in type.split(" or ")]
    return [] if [] in problems else problems[0]


def _wrong_one(value: Any, type: str, where: str) -> list[str]:
    if type.startswith("array of "):
        if not isinstance(value, list):
            return [f"{where}: no array"]
        return [problem for number, one in enumerate(value)
                for problem in _wrong_type(one, type.removeprefix("array of "), f"{where}[{number}]")]
    if type.startswith("object of "):
        if not isinstance(value, dict):
            return [f"{where}: no object"]
        return [problem for key, one in value.items()
                for problem in _wrong_type(one, type.removeprefix("object of "), f"{where}.{key}")]
    if type in SCHEMAS:
        return wrong(value, type, value.get("type", "all") if type == "ANSWER" else "all", where)
    if type == "number":
        right = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif type == "moment":
        right = isinstance(value, str) and MOMENT.fullmatch(value) is not None
    else:
        right = isinstance(value, PLAIN[type])
    return [] if right else [f"{where}: {value!r} is no {type}"]
