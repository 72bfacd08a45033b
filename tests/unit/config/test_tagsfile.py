from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.config.schema import Config, NodeSection
from gossipd.config.tagsfile import parse_tags, read_tags, restore_tags, tags_text
from gossipd.errors import ConfigError

SPECIAL = 'a"\\\\b\\f<>&\n\t\b\f\x01\x7f\u2028é'


def test_the_text_is_byte_for_byte_serfs():
    """As a Serf 0.9.4 agent wrote it."""
    assert tags_text({"b": "2", "a": "<é>\u2028\b\f\x7f"}) == (
        '{\n  "a": "\\u003cé\\u003e\\u2028\\u0008\\u000c\x7f",\n  "b": "2"\n}')
    assert tags_text({}) == "{}"


def test_backslashes_before_letters_are_no_escapes():
    assert json.loads(tags_text({SPECIAL: SPECIAL})) == {SPECIAL: SPECIAL}


@given(st.dictionaries(st.text(), st.text()))
def test_any_tags_are_read_as_they_were_written(tags):
    whole = {key: value for key, value in tags.items() if "\ud800" > max(key + value, default="") or not any(
        "\ud800" <= c <= "\udfff" for c in key + value)}
    assert parse_tags(tags_text(whole), "x") == whole


def test_bytes_that_are_no_text_are_lost_as_in_serf():
    assert parse_tags(tags_text({"a": "\udcff"}), "x") == {"a": "\ufffd"}


@pytest.mark.parametrize(("text", "tags"), [
    ("null", {}), ("{}", {}), (' {"a": null}\n', {"a": ""}), ('{"a": "1", "a": "2"}', {"a": "2"}),
    ('{"": "\\ud800"}', {"": "\ufffd"})])
def test_what_serf_takes_is_taken(text, tags):
    assert parse_tags(text, "x") == tags


@pytest.mark.parametrize("text", ["", "[]", '"x"', "5", '{"a": 1}', '{"a": {}}', '{"a": true}', "{}x", "{", 9999 * "["])
def test_what_serf_refuses_is_refused_by_name(text):
    with pytest.raises(ConfigError, match=r"^x\.json: ") as refusal:
        parse_tags(text, "x.json")
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_no_error_and_leaves_the_tags(tmp_path):
    path = str(tmp_path / "none")
    config = replace(Config(), node=NodeSection(tags_file=path))
    assert read_tags(path) is None and restore_tags(config) is config


def test_the_tags_of_the_file_are_the_nodes(tmp_path):
    (tmp_path / "tags").write_text('{"a": "1"}')
    config = replace(Config(), node=NodeSection(tags_file=str(tmp_path / "tags")))
    assert restore_tags(config).serf_config().tags == {"a": "1"}
