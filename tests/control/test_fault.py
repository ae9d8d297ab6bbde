"""The annotation milliroute.io/fault."""

import pytest

from milliroute.control.manifest.fault import FaultError, parse
from milliroute.control.model import Fault, FaultPart, HeaderMatch


def test_each_kind_with_and_without_a_share() -> None:
    assert parse("delay=200ms 10%") == Fault(delay=FaultPart(100_000, 200))
    assert parse("abort=503") == Fault(abort=FaultPart(1_000_000, 503))
    assert parse("reset 0.5%") == Fault(reset=FaultPart(5000))
    assert parse("bandwidth=64Ki 50%") == Fault(bandwidth=FaultPart(500_000, 65_536))


@pytest.mark.parametrize(("text", "bytes_per_s"), [("100", 100), ("2k", 2000), ("1M", 1_000_000), ("1Mi", 1_048_576)])
def test_bandwidth_is_in_bytes_a_second(text: str, bytes_per_s: int) -> None:
    assert parse(f"bandwidth={text}") == Fault(bandwidth=FaultPart(1_000_000, bytes_per_s))


def test_what_was_written_is_kept_for_people() -> None:
    assert parse("delay=1s   5%;abort=503").text == "delay=1s 5%;abort=503"


def test_clauses_are_parted_by_semicolons_and_matches_all_hold() -> None:
    found = parse("abort=500 1%; leaf=reviews-v2; path=/api/; header=X-Test:yes|no")
    assert found == Fault(
        abort=FaultPart(10_000, 500), leaf="reviews-v2", path_regex="/api/", headers=(HeaderMatch("x-test", "yes|no"),)
    )


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", "clauses such as"),
        ("leaf=a", "clauses such as"),
        ("explode 10%", "clauses such as"),
        ("delay 10%", "a duration"),
        ("delay=5 10%", "a duration"),
        ("abort=100", "a status from 200 to 599"),
        ("abort=5000", "a status from 200 to 599"),
        ("abort=503 101%", "a share from 0% to 100%"),
        ("abort=503 x%", "a share from 0% to 100%"),
        ("abort=503 10", "clauses such as"),
        ("reset=1", "reset, or reset with a share"),
        ("bandwidth=64Gi", "bytes in a second"),
        ("bandwidth=0", "bytes in a second"),
        ("bandwidth=2000M", "bytes in a second"),
        ("bandwidth", "bytes in a second"),
        ("abort=503; path=(", "RE2 syntax"),
        ("abort=503; header=x", "header=NAME:REGEX"),
        ("abort=503; leaf=A_B", "the name of a backend"),
    ],
)
def test_what_cannot_be_read_says_what_was_wanted(text: str, want: str) -> None:
    with pytest.raises(FaultError) as caught:
        parse(text)
    assert want in caught.value.want
