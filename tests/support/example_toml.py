"""The commented example of all settings, made from the schema: `python -m tests.support.example_toml` prints it."""

from __future__ import annotations

import textwrap

from gossipd.config.handlers import HANDLER_SETTINGS
from gossipd.config.handlers import SECTION as HANDLER
from gossipd.config.schema import SECTIONS, SETTINGS, Setting

HEAD = """\
# Settings of gossipd: all of them, with their defaults. See gossipd.toml(5).
#
# Every *.toml file of this directory is read, in the order of the names, and what comes later wins; tags add up. So
# leave this file as it is, and put your settings into one of your own. `gossipd --config DIR --check` checks them.
#
# A duration is a string such as "1.5s", "200ms" or "1h30m", or a number of seconds.
"""

ABOUT = {
    "swim": "Membership and failure detection. The defaults are the lan profile's; network.profile changes some.",
    "serf": "What Serf adds: events, queries, memory of members.",
    "handler": "A script for events; any number of these. See gossipd-handlers(7).",
}

HANDLER_EXAMPLES = {"on": '["member-join", "user:deploy"]', "run": '"/usr/local/bin/on-event"'}


def example() -> str:
    return HEAD + "".join(_section(name, settings) for name, settings in SETTINGS.items()) + _handlers()


def _section(name: str, settings: dict[str, Setting]) -> str:
    about = ABOUT.get(name) or SECTIONS[name].__doc__ or ""
    return f"\n\n{_comment(about)}#[{name}]\n" + "".join(_setting(key, about) for key, about in settings.items())


def _handlers() -> str:
    """There may be any number of these, and by default there is none: an example, commented out for good."""
    keys = "".join(f"\n{_comment(about.help)}# {key} = {HANDLER_EXAMPLES.get(key) or about.default_text()}\n"
                   for key, about in HANDLER_SETTINGS.items())
    return f"\n\n{_comment(ABOUT[HANDLER])}# [[{HANDLER}]]\n{keys}"


def _setting(key: str, setting: Setting) -> str:
    profiles = ", ".join(f"{profile} {value}" for profile, value in setting.by_profile().items())
    words = [setting.help, setting.kind.limits, f"By profile: {profiles}." if profiles else ""]
    return f"\n{_comment(' '.join(filter(None, words)))}#{key} = {setting.default_text()}\n"


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, 116))


if __name__ == "__main__":
    print(example(), end="")
