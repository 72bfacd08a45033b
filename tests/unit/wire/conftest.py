"""How much hypothesis does here. No deadline: the machine that runs the tests may be busy with other things."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("wire", deadline=None, max_examples=60)
settings.load_profile("wire")
