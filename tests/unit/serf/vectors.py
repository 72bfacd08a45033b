"""Where the golden data of the Serf layer lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[2] / "vectors" / "serf"


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def raw(value: dict[str, str] | None) -> bytes | None:
    """A byte field as the vectors write it."""
    return None if value is None else bytes.fromhex(value["hex"])
