"""JSON of an API server: numbers as written, nothing that is no JSON, and objects that are nested beyond all reason."""

import msgspec
import pytest

from milliroute.control.source.kubernetes import answers, tree
from milliroute.control.source.kubernetes.answers import BadAnswerError
from tests.control.kubernetes.building import SPLIT, dumped, split

VERSION = "v1alpha1"


def nested(levels: int) -> bytes:
    """A split with a field of so many levels, which a definition may leave open."""
    return dumped(split("deep"))[:-1] + b', "more": ' + b'["\\"{", ' * levels + b"1" + b"]" * levels + b"}"


def test_numbers_are_written_again_as_they_were_read() -> None:
    assert tree.encoded(tree.decoded(b'{"b": 1.50e3, "a": [7, 0.10]}')) == b'{"a":[7,0.10],"b":1.50e3}'


@pytest.mark.parametrize("data", [b'{"a": "\xb1"}', b"", b"[" * 5000, b'{"a": ' * 5000 + b"\xff", b"]" * 5000])
def test_what_is_no_json_is_one_error(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        tree.decoded(data)
    with pytest.raises(BadAnswerError, match="not JSON"):
        answers.entry_of(data, SPLIT, VERSION)


@pytest.mark.parametrize("name", ["", "a\nb", 5, None])
def test_what_has_no_name_that_fits_into_a_line_is_no_object(name: object) -> None:
    with pytest.raises(BadAnswerError, match="an object without a name"):
        answers.entry_of(dumped({"metadata": {"name": name}}), SPLIT, VERSION)


def test_a_number_is_no_text() -> None:
    assert tree.text(tree.decoded(b"0.5")) == ""


@pytest.mark.parametrize("levels", [tree.MAX_DEPTH, 500, 5000])
def test_an_object_too_deep_is_its_writers_mistake_and_the_others_of_a_list_are_read(levels: int) -> None:
    body = b'{"metadata": {"resourceVersion": "7"}, "items": [%b, %b]}' % (nested(levels), dumped(split("other")))
    deep, other = answers.page(body, SPLIT, VERSION).entries
    assert (deep.key, deep.value) == (("shop", "deep"), None)
    assert deep.errors == ("TrafficSplit shop/deep: nested too deeply (saw more, want at most 64 levels)",)
    assert other.value is not None


def test_an_object_within_the_levels_is_read_to_its_end() -> None:
    (error,) = answers.entry_of(nested(tree.MAX_DEPTH - 1), SPLIT, VERSION).errors or ("",)
    assert "nested" not in error
