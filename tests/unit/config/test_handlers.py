from __future__ import annotations

import pytest

from gossipd.config.flags import parse
from gossipd.config.handlers import HANDLER_SETTINGS
from gossipd.config.toml import Source, load, merge
from gossipd.errors import ConfigError
from gossipd.hooks import TIMEOUT_S, Hook


def hooks(*tables: object) -> tuple[Hook, ...]:
    return merge([Source({"handler": list(tables)})]).hooks


def test_a_table_is_one_handler_whatever_it_hears():
    assert hooks({"on": ["member-join", "user:a,b", "query:"], "run": "x.sh --a=b", "timeout": "5s"}, {"run": "y"}) == (
        Hook((("member-join", ""), ("user", "a,b"), ("query", "")), "x.sh --a=b", 5.0),
        Hook((("*", ""),), "y", TIMEOUT_S),
    )


def test_handlers_of_all_files_and_flags_add_up_in_their_order(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(f'[[handler]]\nrun = "{name}"\n')
    arguments = parse(["--config", str(tmp_path), "--event-handler", "user=c=d", "--event-handler=member-join,query=e"])
    assert [(hook.filters, hook.script) for hook in load(arguments.paths, arguments.flags).hooks] == [
        ((("*", ""),), "a"), ((("*", ""),), "b"), ((("user", ""),), "c=d"),
        ((("member-join", ""),), "e"), ((("query", ""),), "e"),
    ]


def test_everything_wrong_with_handlers_is_reported_with_file_and_line(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text('[[handler]]\nrun = "fine"\non = ["user"]\n\n[[handler]]\nrnu = "x"\n'
                    '[[handler]]\non = "user"\nrun = " "\n'
                    '[[handler]]\nrun = "x"\non = ["user", "bogus"]\ntimeout = 0\n')
    with pytest.raises(ConfigError) as refusal:
        load([str(file)])
    assert [line.removeprefix(f"{file}:").partition(": expected")[0] for line in str(refusal.value).splitlines()] == [
        "6: handler.rnu: unknown setting; there are on, run, timeout",
        "5: handler: run is missing, a command for /bin/sh",
        "8: handler.on", "9: handler.run", "12: handler.on", "13: handler.timeout",
    ]


@pytest.mark.parametrize(("value", "complaint"), [
    ({"run": "x"}, "handler: expected tables, [[handler]]"),
    (["x"], "handler: expected a table, [[handler]]"),
    ([{"run": "a\0b"}], "handler.run: expected a command for /bin/sh"),
    ([{"run": "x", "on": [1]}], "handler.on: expected " + HANDLER_SETTINGS["on"].kind.expected),
    ([{"run": "x", "on": []}], "handler.on: expected " + HANDLER_SETTINGS["on"].kind.expected),
])
def test_what_is_no_handler_is_refused(value, complaint):
    with pytest.raises(ConfigError) as refusal:
        merge([Source({"handler": value})])
    assert str(refusal.value) == complaint


def test_a_bad_spec_is_refused_with_the_flag_and_serfs_words():
    arguments = parse(["--event-handler", "user=x", "--event-handler", "bogus=x.sh"])
    with pytest.raises(ConfigError) as refusal:
        load(arguments.paths, arguments.flags)
    assert str(refusal.value) == "--event-handler: Invalid event script: Event 'bogus' invoking 'x.sh'"


def test_a_near_miss_of_the_table_is_told_its_name():
    with pytest.raises(ConfigError, match=r"handlers: unknown section; did you mean handler\?"):
        merge([Source({"handlers": []})])


def test_defaults_read_as_they_are_shown():
    import tomllib

    for key in ("on", "timeout"):
        about = HANDLER_SETTINGS[key]
        assert about.kind.read(tomllib.loads(f"x = {about.default_text()}")["x"]) == about.default
