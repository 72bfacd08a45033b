"""gossipctl info."""

from __future__ import annotations

import sys

from gossipd.client import Client
from gossipd.ctl.arguments import Arguments
from gossipd.ctl.jsontext import json_text
from gossipd.ctl.output import BOLD, EXIT_OK, colored, colors_wanted, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run_info(arguments: Arguments, connect: Callable[[], Client]) -> int:
    with connect() as client:
        stats = client.stats()
    stats = {section: dict(sorted(stats[section].items())) for section in sorted(stats)}
    sys.stdout.write(json_text(stats) if arguments.text("output") == "json" else _text(stats))
    return EXIT_OK


def _text(stats: dict[str, dict[str, str]]) -> str:
    paint = colors_wanted()
    lines = []
    for section, values in stats.items():
        lines.append(colored(printable(section), BOLD) if paint else printable(section))
        wide = max(map(len, values), default=0)
        lines += [f"  {printable(key):{wide}}  {printable(value)}".rstrip() for key, value in values.items()]
    return "\n".join(lines) + "\n"
