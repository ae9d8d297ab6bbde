"""The annotation milliroute.io/rate-limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milliroute.control.manifest.rate_limit import RateLimitError, parse
from milliroute.control.model import Rate, RateLimit
from tests.control.building import SPLIT, errors, objects


def test_a_rate_is_of_all_clients_and_its_burst_as_many_as_it_has() -> None:
    assert parse("100/s") == RateLimit(total=Rate(100, 1000, 100), text="100/s")
    assert parse("600/m") == RateLimit(total=Rate(600, 60_000, 600), text="600/m")
    assert parse("5/h") == RateLimit(total=Rate(5, 3_600_000, 5), text="5/h")


def test_a_rate_may_be_per_client() -> None:
    assert parse("10/s per client") == RateLimit(client=Rate(10, 1000, 10), text="10/s per client")


def test_a_burst_is_of_the_rate_before_it() -> None:
    found = parse("100/s; burst=200; 10/s  per client;burst=1;")
    assert (found.total, found.client) == (Rate(100, 1000, 200), Rate(10, 1000, 1))
    assert found.text == "100/s; burst=200; 10/s per client;burst=1;"


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", "rates such as 100/s"),
        ("100", "rates such as"),
        ("100/d", "rates such as"),
        ("-1/s", "rates such as"),
        ("1.5/s", "rates such as"),
        ("10/s per user", "rates such as"),
        ("burst=5", "rates such as"),
        ("0/s", "a whole number from 1 to 1000000"),
        ("1000001/s", "a whole number from 1 to 1000000"),
        ("10/s; burst=0", "a whole number from 1 to 1000000"),
        ("10/s; 20/m", "one rate of all clients, and one per client"),
        ("10/s per client; 20/m per client", "one rate of all clients"),
    ],
)
def test_what_cannot_be_read_says_what_was_wanted(text: str, want: str) -> None:
    with pytest.raises(RateLimitError) as caught:
        parse(text)
    assert want in caught.value.want


@given(st.text(alphabet="0123456789/smh; burst=perclient", max_size=40))
def test_any_text_is_a_limit_with_a_rate_or_a_documented_error(text: str) -> None:
    try:
        found = parse(text)
    except RateLimitError:
        return
    assert found.total or found.client
    assert parse(found.text) == found


def test_it_stands_on_a_split_and_on_a_service() -> None:
    annotated = SPLIT.replace(
        "  name: reviews\n", "  name: reviews\n  annotations: {milliroute.io/rate-limit: 5/s}\n", 1
    )
    (split,) = objects(annotated).splits
    assert split.rate_limit == parse("5/s")
    manifest = "apiVersion: v1\nkind: Service\nmetadata: {name: a, annotations: {milliroute.io/rate-limit: 6/s}}\n"
    (service,) = objects(manifest).services
    assert service.rate_limit == parse("6/s")


def test_a_bad_one_is_an_error_with_its_place() -> None:
    manifest = "apiVersion: v1\nkind: Service\nmetadata: {name: a, annotations: {milliroute.io/rate-limit: often}}\n"
    (error,) = errors(manifest)
    assert error.startswith("f.yaml:3:")
    assert "milliroute.io/rate-limit: unknown clause (saw 'often', want rates such as 100/s" in error
