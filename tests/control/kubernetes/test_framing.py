"""source.kubernetes.framing: the same lines, however the bytes are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milliroute.control.source.kubernetes import framing
from milliroute.control.source.kubernetes.framing import Lines, LineTooLongError

LINES = st.lists(st.binary(min_size=1, max_size=20).filter(lambda b: b"\n" not in b and b.strip() != b""), max_size=8)


@given(LINES, st.lists(st.integers(min_value=0, max_value=200), max_size=10), st.binary(max_size=5))
def test_cuts_change_nothing_and_what_is_not_ended_is_not_given(
    wanted: list[bytes], cuts: list[int], tail: bytes
) -> None:
    data = b"".join(line + b"\n" for line in wanted) + tail.replace(b"\n", b"")
    places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    lines = Lines()
    found = [line for a, b in pairwise(places) for line in lines.feed(data[a:b])]
    assert found == wanted


def test_empty_lines_say_nothing() -> None:
    assert Lines().feed(b"\n \r\n{}\n\n") == [b"{}"]


def test_a_line_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_LINE_BYTES", 10)
    lines = Lines()
    lines.feed(b"0123456789")
    with pytest.raises(LineTooLongError):
        lines.feed(b"0")
