"""gossipctl completion: scripts by which bash, zsh and fish complete the command lines of gossipctl and gossipd.

They are made from gossipctl's table and gossipd's parser, and ask the daemon for the names of members (ASK).
"""

from __future__ import annotations

from gossipd.config.flags import FLAGS, parser
from gossipd.config.kinds import Choice
from gossipd.config.schema import SETTINGS
from gossipd.ctl.bashscript import make as make_bash
from gossipd.ctl.fishscript import make as make_fish
from gossipd.ctl.table import COMMANDS, FILES, FLAG, GLOBAL_OPTIONS, LIST, VALUE, Option
from gossipd.ctl.zshscript import make as make_zsh

PROGRAMS = ("gossipctl", "gossipd")
FILE_VALUES = ("PATH", "FILE", "FILE|DIR", "SPEC")      # in gossipd's help


def script(shell: str, program: str = "gossipctl") -> str:
    """For bash, zsh or fish."""
    make = {"bash": make_bash, "zsh": make_zsh, "fish": make_fish}[shell]
    return make(program, list(GLOBAL_OPTIONS), COMMANDS) if program == "gossipctl" else make(
        program, daemon_options(), {})


def daemon_options() -> list[Option]:
    """gossipd's, in the words of gossipctl's table."""
    options = []
    for action in parser()._actions:
        names, value = " ".join(action.option_strings), str(action.metavar or "")
        kind = FLAG if action.nargs == 0 else LIST if "repeatable" in (action.help or "") else VALUE
        options.append(Option(names, value, action.help or "", kind, _choices(action.option_strings[-1]),
                              FILES if value in FILE_VALUES else ""))
    return options


def _choices(flag: str) -> tuple[str, ...]:
    if flag not in FLAGS:
        return ()
    section, key, _, _ = FLAGS[flag]
    kind = SETTINGS[section][key].kind
    return kind.words if isinstance(kind, Choice) else ()
