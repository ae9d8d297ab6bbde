"""names: one key for all the ways to write an authority."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milliroute.control import names
from milliroute.control.errors import AuthorityError

LABELS = st.sampled_from(
    ["reviews", "svc", "cluster", "local", "default", "a", "b-1", "x_y", "10", "Shop", "cluster.local"]
)


@pytest.mark.parametrize(
    "authority",
    [
        "reviews",
        "reviews.",
        "Reviews.Shop",
        "reviews.shop.",
        "reviews.shop.svc",
        "reviews.shop.svc.cluster.local",
        "REVIEWS.shop.svc.cluster.local.",
    ],
)
@pytest.mark.parametrize("port", ["", ":9080"])
def test_all_ways_to_write_a_service_have_one_key(authority: str, port: str) -> None:
    assert names.canonical(authority + port, "shop") == "reviews.shop" + port


@pytest.mark.parametrize(
    ("authority", "key"),
    [
        ("api.example.com", "api.example.com"),
        ("pod-0.reviews.shop.svc.cluster.local", "pod-0.reviews.shop.svc.cluster.local"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("[::1]", "[::1]"),
        ("[2001:DB8:0::1]:080", "[2001:db8::1]:80"),
        ("api.example.com:", "api.example.com"),
    ],
)
def test_any_other_host_is_itself(authority: str, key: str) -> None:
    assert names.canonical(authority, "shop") == key


def test_a_bare_name_without_a_namespace_is_in_default() -> None:
    assert names.canonical("reviews", "") == "reviews.default"


def test_the_cluster_domain_may_be_another() -> None:
    assert names.canonical("reviews.shop.svc.corp.example", "x", "corp.example") == "reviews.shop"
    assert names.canonical("reviews.shop.svc.cluster.local", "x", "corp.example") == "reviews.shop.svc.cluster.local"


@pytest.mark.parametrize(
    "authority",
    [
        "",
        " ",
        "a b",
        ".",
        ":80",
        "a..b",
        ".a",
        "a:0",
        "a:65536",
        "a:http",
        "a:-1",
        "a:1:2",
        "a:٣",
        "[::1",
        "::1",
        "[::1%eth0]",
        "[::1]80",
        "[1.2.3.4]",
        "user@host",
        "a/b",
        "a\n",
        "-a",
        "müller",
        "\u212aelvin",
        "a" * 64,
        ".".join(["a" * 60] * 5),
        "a" * 1000,
    ],
)
def test_junk_is_no_authority(authority: str) -> None:
    with pytest.raises(AuthorityError, match=r"saw .* want "):
        names.canonical(authority, "shop")


@given(st.lists(LABELS, min_size=1, max_size=6), st.sampled_from(["", ".", ":80", ".:443", ":"]), LABELS, LABELS)
def test_a_key_is_its_own_key_in_every_namespace(labels: list[str], tail: str, one: str, other: str) -> None:
    key = names.canonical(".".join(labels) + tail, one.split(".")[0].lower())
    assert names.canonical(key, other.split(".")[0].lower()) == key


@given(st.text(max_size=300), st.text(max_size=10))
def test_any_text_is_an_authority_or_a_documented_error(authority: str, namespace: str) -> None:
    try:
        key = names.canonical(authority, namespace)
    except AuthorityError:
        return
    host, port = names.split_port(key)
    assert key == (host if port is None else f"{host}:{port}")
    assert len(key) <= names.MAX_AUTHORITY_CHARS


@pytest.mark.parametrize(
    ("key", "parts"),
    [("a.b", ("a.b", None)), ("a.b:80", ("a.b", 80)), ("[::1]", ("[::1]", None)), ("[::1]:80", ("[::1]", 80))],
)
def test_a_key_splits_into_host_and_port(key: str, parts: tuple[str, int | None]) -> None:
    assert names.split_port(key) == parts
