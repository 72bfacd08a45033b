"""The manual pages made from the program's own tables; `python -m tests.support.manual` writes them to man/."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from gossipd.config.handlers import HANDLER_SETTINGS
from gossipd.config.handlers import SECTION as HANDLER
from gossipd.config.schema import SECTIONS, SETTINGS, Setting
from gossipd.ctl.help import ENVIRONMENT, EXIT_CODES
from gossipd.ctl.table import COMMANDS, GLOBAL_OPTIONS, Command, Option
from tests.support.example_toml import ABOUT

MAN = Path(__file__).resolve().parent.parent.parent / "man"

SETTINGS_HEAD = r"""
.Dd November 23, 2026
.Dt GOSSIPD.TOML 5
.Os
.Sh NAME
.Nm gossipd.toml
.Nd settings of gossipd
.Sh DESCRIPTION
Settings of
.Xr gossipd 8
are TOML.
Every file given with
.Fl -config ,
and every
.Pa *.toml
file of a directory given so, is read in order; what comes later wins, tags
and handlers add up, and flags win over files.
The system's service reads
.Pa /etc/gossipd .
.Pp
An unknown key, a wrong type or a value out of range is refused, with file,
line and key; all of them are reported at
once.
.Pp
A duration is a string such as
.Ql 1.5s ,
.Ql 200ms
or
.Ql 1h30m
(units ns, us, ms, s, m, h), or a number of seconds.
An address is a host or numeric address, with a port where it is not the usual
one: host, host:port, [v6]:port.
.Sh SETTINGS
The defaults are given with each key.
"""

SETTINGS_TAIL = r"""
.Sh FILES
.Bl -tag -width Ds
.It Pa /etc/gossipd/gossipd.toml
All settings with their defaults, as comments.
.El
.Sh EXAMPLES
.Bd -literal -offset indent
[node]
name = "web1"
tags = { role = "web", zone = "north" }

[network]
bind = "192.0.2.10"

[join]
seeds = ["192.0.2.11", "192.0.2.12"]

[swim]
suspicion_mult = 5

[[handler]]
on = ["member-join", "member-leave", "member-failed"]
run = "/usr/local/bin/update-balancer"
timeout = "10s"
.Ed
.Sh SEE ALSO
.Xr gossipctl 1 ,
.Xr gossipd-handlers 7 ,
.Xr gossipd 8
"""


GOSSIPCTL_HEAD = r"""
.Dd November 23, 2026
.Dt GOSSIPCTL 1
.Os
.Sh NAME
.Nm gossipctl
.Nd ask or command gossipd
.Sh SYNOPSIS
.Nm
.Ar COMMAND
.Op Ar OPTION ...
.Op Ar ARGUMENT ...
.Sh DESCRIPTION
.Nm
asks or commands the
.Xr gossipd 8
that runs on this machine, or another one, or a Serf agent.
Results go to standard output, errors to standard error.
.Pp
Without an option or environment variable that names a daemon it is the
system's, at
.Pa /run/gossipd/rpc.sock ,
or else the one that this user started.
"""

GOSSIPCTL_TAIL = r"""
.Sh SEE ALSO
.Xr gossipd.toml 5 ,
.Xr gossipd 8
"""


def settings_page() -> str:
    """gossipd.toml(5)."""
    sections = "".join(_section(name, settings) for name, settings in SETTINGS.items())
    handlers = _section(HANDLER, HANDLER_SETTINGS).replace(f"[{HANDLER}]", f"[[{HANDLER}]]", 1)
    return SETTINGS_HEAD.lstrip("\n") + sections + handlers + SETTINGS_TAIL.lstrip("\n")


def gossipctl_page() -> str:
    """gossipctl(1)."""
    return "".join((
        GOSSIPCTL_HEAD.lstrip("\n"),
        "The options of all commands may stand before or after the command:\n",
        _options(GLOBAL_OPTIONS),
        ".Sh COMMANDS\n",
        *map(_command, COMMANDS.values()),
        ".Sh ENVIRONMENT\n", _list((f"Ev {name}", text) for name, text in ENVIRONMENT),
        ".Sh EXIT STATUS\n", _list(EXIT_CODES),
        GOSSIPCTL_TAIL.lstrip("\n"),
    ))


def _command(command: Command) -> str:
    usage = " ".join(filter(None, [command.name, _escaped(command.arguments)]))
    examples = "".join(f"# {what}\n{_escaped(line)}\n" for line, what in command.examples)
    return "".join((
        f".Ss {usage}\\&\n", _text(f"{_sentence(command.summary)} {command.about}".strip()),
        _options(command.options) if command.options else "",
        f".Bd -literal -offset indent\n{examples}.Ed\n",
    ))


def _options(options: Iterable[Option]) -> str:
    return _list((" , ".join(f"Fl {name[1:]}" for name in option.names)
                  + (f" Ar {option.metavar}" if option.metavar else ""), option.help) for option in options)


def _list(entries: Iterable[tuple[str, str]]) -> str:
    items = "".join(f".It {term}\n{_text(_sentence(text))}" for term, text in entries)
    return f".Bl -tag -width Ds\n{items}.El\n"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _section(name: str, settings: dict[str, Setting]) -> str:
    about = _text(ABOUT.get(name) or SECTIONS[name].__doc__ or "")
    items = "".join(_setting(key, setting) for key, setting in settings.items())
    return f".Ss [{name}]\\&\n{about}.Bl -tag -width Ds\n{items}.El\n"


def _setting(key: str, setting: Setting) -> str:
    profiles = ", ".join(f"{profile} {value}" for profile, value in setting.by_profile().items())
    default = f"Default by profile: {profiles}." if profiles else ""
    words = " ".join(filter(None, [setting.help, setting.kind.limits, default]))
    return f".It Cm {key} No = {_escaped(setting.default_text())}\n{_text(words)}"


def _text(words: str) -> str:
    """A new line for each sentence, as mdoc wants it."""
    sentences = words.replace(". ", ".\n").split("\n")
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, 78, break_on_hyphens=False)]
    return "".join(f"{_escaped(line)}\n" for line in lines)


def _escaped(text: str) -> str:
    safe = text.replace("\\", "\\e").replace('"', "\\(dq").replace("'", "\\(aq")
    return "\\&" + safe if safe.startswith(".") else safe


PAGES = {"gossipd.toml.5": settings_page, "gossipctl.1": gossipctl_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (MAN / name).write_text(page())
