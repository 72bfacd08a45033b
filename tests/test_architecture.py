"""docs/architecture.md lists every module, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def listed_modules() -> set[str]:
    """Paths below gossipd/ that the listing under "Packages" names."""
    text = (ROOT / "docs/architecture.md").read_text()
    listing = text.split("## Packages\n")[1].split("```")[1]
    found, directory, nested = set(), "", ""
    for line in listing.splitlines()[2:]:
        indent = len(line) - len(line.lstrip())
        name = line.split()[0] if line.strip() else ""
        if indent > 20:         # goes on from the line above
            found |= {f"{directory}{nested}{module}" for module in re.findall(r"\w+\.py", line)}
            continue
        directory = "" if indent == 2 else directory
        if name.endswith("/") and indent == 2:
            directory = name
        elif name.endswith("/"):
            nested = name
            found |= {f"{directory}{name}{module}" for module in re.findall(r"\w+\.py", line)}
        elif name.endswith(".py"):
            found.add(directory + name)
    return found


def test_the_listing_names_exactly_the_modules_that_exist():
    package = ROOT / "gossipd"
    exist = {str(path.relative_to(package)) for path in package.rglob("*.py")
             if path.name != "__init__.py" or path.parent == package}
    assert sorted(exist - listed_modules()) == [], "say in docs/architecture.md what these are for"
    assert sorted(listed_modules() - exist) == [], "these are gone"
