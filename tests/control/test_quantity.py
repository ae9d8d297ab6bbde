"""quantity: the grammar of Kubernetes, exactly, against fractions."""

import contextlib
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milliroute.control import quantity
from milliroute.control.errors import QuantityError

SUFFIXES = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "k": Fraction(1000),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "e3": Fraction(1000),
    "E-3": Fraction(1, 1000),
    "e+2": Fraction(100),
}

numbers = st.one_of(
    st.integers(0, 10**12).map(str),
    st.tuples(st.integers(0, 10**6), st.integers(0, 10**9)).map(lambda n: f"{n[0]}.{n[1]}"),
    st.integers(0, 10**9).map(lambda n: f".{n}"),
    st.integers(0, 10**6).map(lambda n: f"{n}."),
)


def value(number: str) -> Fraction:
    return Fraction(f"0{number}".rstrip("."))


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("900m", 900_000),
        ("1", 1_000_000),
        ("1e3", 1_000_000_000),
        ("1k", 1_000_000_000),
        ("0.1", 100_000),
        ("+.5", 500_000),
        ("5.", 5_000_000),
        ("1Ki", 1_024_000_000),
        ("-0", 0),
        ("0e99999", 0),
        ("1e12", 10**18),
    ],
)
def test_texts_of_tutorials_have_their_exact_value(text: str, micro: int) -> None:
    assert quantity.parse(text) == micro


@given(numbers, st.sampled_from(sorted(SUFFIXES)))
def test_every_quantity_is_its_fraction_rounded_up_to_a_micro(number: str, suffix: str) -> None:
    exact = value(number) * SUFFIXES[suffix]
    if exact > quantity.MAX_UNITS:
        with pytest.raises(QuantityError, match="too large"):
            quantity.parse(number + suffix)
    else:
        assert quantity.parse(number + suffix) == ceil(exact * quantity.MICRO)


@pytest.mark.parametrize("text", ["1n", "0.0000001", "1e-900", ".000000000000000000000000000000001"])
def test_a_weight_above_zero_never_becomes_zero(text: str) -> None:
    assert quantity.parse(text) == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        (" ", "empty"),
        ("-1", "negative"),
        ("-1n", "negative"),
        ("NaN", "not a finite number"),
        (".nan", "not a finite number"),
        ("-.inf", "not a finite number"),
        ("Infinity", "not a finite number"),
        ("1e13", "too large"),
        ("1E", "too large"),
        ("1e99999999999", "too large"),
        ("1K", "bad"),
        ("1e", "bad"),
        ("1.2.3", "bad"),
        (".", "bad"),
        ("m", "bad"),
        ("1 ", "bad"),
        ("1\n", "bad"),
        ("0x10", "bad"),
        ("1_000", "bad"),
        ("٣", "bad"),
        ("1" * 65, "bad"),
    ],
)
def test_what_is_no_quantity_says_what_was_seen_and_wanted(text: str, complaint: str) -> None:
    with pytest.raises(QuantityError, match=complaint) as caught:
        quantity.parse(text)
    assert caught.value.saw in text
    assert "900m" in str(caught.value)


@given(st.text(max_size=80))
def test_any_text_is_a_quantity_or_a_documented_error(text: str) -> None:
    with contextlib.suppress(QuantityError):
        assert 0 <= quantity.parse(text) <= quantity.MAX_UNITS * quantity.MICRO


@given(st.integers(0, quantity.MAX_UNITS * quantity.MICRO))
def test_a_formatted_weight_reads_back_as_itself(micro: int) -> None:
    assert quantity.parse(quantity.format_micro(micro)) == micro


def test_formatting_takes_the_largest_unit_that_stays_whole() -> None:
    assert [quantity.format_micro(m) for m in (0, 1, 900_000, 1_500_000, 2_000_000)] == [
        "0",
        "1u",
        "900m",
        "1500m",
        "2",
    ]
