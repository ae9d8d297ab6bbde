"""source.yaml: positions, bounds, and every error of a file at once."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milliroute.control.manifest.nodes import Fields, Items, Node, Scalar
from milliroute.control.source import yaml


def parse(text: str) -> yaml.Parsed:
    return yaml.parse(text.encode(), "f.yaml")


def plain(node: Node) -> object:
    """A node as dicts, lists and texts."""
    if isinstance(node, Fields):
        return {key: plain(value) for key, value in node.nodes.items()}
    return [plain(value) for value in node.nodes] if isinstance(node, Items) else node.text


def documents(text: str) -> list[object]:
    parsed = parse(text)
    assert parsed.errors == ()
    return [plain(node) for node in parsed.documents]


def only_error(text: str) -> str:
    (error,) = parse(text).errors
    return error


def test_each_value_knows_its_line_and_column() -> None:
    (root,) = parse("# head\na:\n  - b\n  - c: d\n").documents
    assert isinstance(root, Fields)
    items = root.nodes["a"]
    assert isinstance(items, Items)
    assert [(node.line, node.column) for node in items.nodes] == [(3, 5), (4, 5)]


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "---\n---\n# x\n", "\ufeff"])
def test_an_empty_file_has_no_documents_and_no_errors(text: str) -> None:
    assert documents(text) == []


def test_a_byte_order_mark_is_accepted() -> None:
    assert documents("\ufeffa: 1") == [{"a": "1"}]


def test_json_is_read_with_its_tabs_and_escapes() -> None:
    assert documents('{\n\t"a": "\\u00e9\\/",\n\t"b": [1]\n}') == [{"a": "é/", "b": ["1"]}]


def test_quotes_make_a_null_a_text() -> None:
    (root,) = parse("[~, null, '', 'null', '~']").documents
    assert isinstance(root, Items)
    assert [isinstance(node, Scalar) and node.is_null for node in root.nodes] == [True, True, False, False, False]


def test_a_duplicate_key_is_an_error_with_both_lines() -> None:
    assert only_error("a: 1\nb: 2\n'a': 3\n") == "f.yaml:3:1: duplicate key (saw 'a' again, first at line 1)"


def test_a_tab_as_indentation_is_named_as_such() -> None:
    assert only_error("a:\n\tb: 1\n") == "f.yaml:2:1: YAML syntax: indented by a tab (saw a tab, want spaces)"


def test_what_is_not_utf8_is_named_with_its_byte() -> None:
    (error,) = yaml.parse(b"a: 1\nb: \xff\n", "f.yaml").errors
    assert error == "f.yaml:2:4: not UTF-8 text (saw byte 0xff, want UTF-8)"


@pytest.mark.parametrize("content", ["a: 1\n".encode("utf-16"), "a: 1\n".encode("utf-16")[:-1]])
def test_utf_16_is_refused_by_its_name_and_never_read_with_guesses(content: bytes) -> None:
    parsed = yaml.parse(content, "f.yaml")
    assert parsed == yaml.Parsed((), ("f.yaml:1:1: not UTF-8 text (saw UTF-16, want UTF-8)",))


def test_a_control_character_is_an_error() -> None:
    assert "f.yaml:1:" in only_error("a: \x07")
    assert "f.yaml:1:" in only_error("a: \x00b")


def test_after_a_syntax_error_the_next_document_is_read() -> None:
    parsed = parse("a: 'x\n---\nb: 1\n---\nc: [1\n---\nd: 1\nd: 2\n")
    assert [plain(node) for node in parsed.documents] == [{"b": "1"}, {"d": "1"}]
    assert [error.split(":")[1] for error in parsed.errors] == ["2", "6", "8"]
    assert "begun at line 1" in parsed.errors[0]


def test_a_bomb_of_aliases_is_refused() -> None:
    names = "abcdefghi"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join(['*' + old] * 9)}]" for old, new in itertools.pairwise(names)]
    assert "aliases expand too far" in only_error("\n".join(lines))


def test_an_alias_inside_its_own_anchor_is_refused() -> None:
    assert only_error("a: &a [*a]").startswith("f.yaml:1:8: unknown alias")


def test_aliases_and_merge_keys_work_within_bounds() -> None:
    text = "base: &b {x: 1, y: 2}\none: *b\ntwo:\n  <<: *b\n  y: 3\n"
    assert documents(text) == [{"base": {"x": "1", "y": "2"}, "one": {"x": "1", "y": "2"}, "two": {"x": "1", "y": "3"}}]


def test_an_anchor_of_another_document_is_unknown() -> None:
    assert "unknown alias" in only_error("a: &a 1\n---\nb: *a\n")


@pytest.mark.parametrize("text", ["[" * 5000, "{a: " * 5000, "- " * 5000, "? " * 5000])
def test_endless_nesting_is_refused_and_does_not_crash(text: str) -> None:
    assert parse(text).errors


def test_a_document_beyond_a_bound_costs_no_more_than_the_bound_and_hides_no_other() -> None:
    # libyaml needs hours for these brackets when it is let: its time grows with the square of the depth.
    parsed = parse("[" * 2_000_000 + "\n---\nb: 1\n")
    assert [plain(node) for node in parsed.documents] == [{"b": "1"}]
    assert parsed.errors == ("f.yaml:1:65: nested too deeply (want at most 64 levels)",)


def test_a_key_that_is_no_text_is_an_error() -> None:
    assert only_error("? [a]\n: 1\n") == "f.yaml:1:3: bad key (saw a list of 1, want a text)"


def test_a_file_beyond_the_bound_is_refused_unread() -> None:
    (error,) = yaml.parse(b"#" * (yaml.MAX_FILE_BYTES + 1), "f.yaml").errors
    assert error.startswith("f.yaml: file too large")


def test_one_file_reports_a_bounded_number_of_errors() -> None:
    assert len(parse("a: [\n---\n" * 100).errors) == yaml.MAX_ERRORS


@settings(max_examples=300)
@given(st.text(alphabet="ab:-[]{}&*!?|>'\"#%\n\t ,~<.\x00\ufeff", max_size=60))
def test_any_text_is_read_or_refused_with_a_position(text: str) -> None:
    for error in parse(text).errors:
        assert error.startswith("f.yaml:")
        assert "\n" not in error


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    assert isinstance(yaml.parse(content, "f.yaml"), yaml.Parsed)
