"""duration: Go's grammar, whole milliseconds."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milliroute.control.errors import DurationError
from milliroute.control.manifest import duration


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("60s", 60_000),
        ("500ms", 500),
        ("1m30s", 90_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
        ("1.5h", 5_400_000),
        (".5s", 500),
        ("0", 0),
        ("0s", 0),
        ("1ns", 1),
        ("744h", duration.MAX_MS),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, milliseconds: int) -> None:
    assert duration.parse_ms(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["", "60", "-1s", "1w", "1 s", "s", "1s1", "NaNs", "745h", "٣s", "1s\n", "9" * 70 + "s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(DurationError, match="want a duration up to 744h"):
        duration.parse_ms(text)


@given(st.text(max_size=80))
def test_any_text_is_a_duration_or_a_documented_error(text: str) -> None:
    with contextlib.suppress(DurationError):
        assert 0 <= duration.parse_ms(text) <= duration.MAX_MS
