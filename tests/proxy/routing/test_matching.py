"""Matches of HTTPRouteGroups and the keys of sticky splits, read from a request's head."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milliroute.proxy.routing.matching import Matcher, sticky_key
from milliroute.proxy.state import HeaderMatchState, MatchState, StickyState
from tests.proxy.tables import request


def test_match_without_parts_takes_everything() -> None:
    assert Matcher(MatchState()).takes(request("/any", method="PATCH"))


@pytest.mark.parametrize(
    ("regex", "path", "is_taken"),
    [
        ("/api", "/api", True),
        ("/api", "/api/v1", True),
        ("/api", "/v1/api", False),
        ("/api$", "/api/v1", False),
        (".*/v1", "/api/v1", True),
        ("/a|/b", "/b/c", True),
    ],
)
def test_path_is_anchored_at_its_start_only(regex: str, path: str, is_taken: bool) -> None:
    assert Matcher(MatchState(path_regex=regex)).takes(request(path)) is is_taken


@given(
    st.text("ab/-%", max_size=6),
    st.sampled_from(["", ".*"]),
    st.text("ab/-%?", max_size=8).map(lambda text: "/" + text),
)
def test_a_plain_prefix_takes_what_the_same_expression_takes_by_re2(prefix: str, rest: str, target: str) -> None:
    by_re2 = Matcher(MatchState(path_regex=f"(?:{prefix + rest})"))
    assert Matcher(MatchState(path_regex=prefix + rest)).takes(request(target)) is by_re2.takes(request(target))


def test_path_is_matched_without_the_query() -> None:
    matcher = Matcher(MatchState(path_regex="/api$"))
    assert matcher.takes(request("/api?x=/other"))
    assert not matcher.takes(request("/other?x=/api"))


def test_any_of_the_methods_is_enough() -> None:
    matcher = Matcher(MatchState(methods=["GET", "HEAD"]))
    assert matcher.takes(request(method="HEAD"))
    assert not matcher.takes(request(method="POST"))


def test_star_among_the_methods_means_any() -> None:
    assert Matcher(MatchState(methods=["GET", "*"])).takes(request(method="PUT"))


def test_header_name_is_case_insensitive_and_its_value_is_not() -> None:
    matcher = Matcher(MatchState(headers=[HeaderMatchState("X-User", "Alice")]))
    assert matcher.takes(request("/", "x-USER: Alice"))
    assert not matcher.takes(request("/", "X-User: alice"))


def test_header_regex_must_match_the_whole_value() -> None:
    matcher = Matcher(MatchState(headers=[HeaderMatchState("x-user", "al.")]))
    assert not matcher.takes(request("/", "x-user: alice"))


def test_fields_of_one_name_are_matched_as_one_list() -> None:
    matcher = Matcher(MatchState(headers=[HeaderMatchState("accept", "a, b")]))
    assert matcher.takes(request("/", "accept: a", "accept: b"))


def test_all_parts_of_a_match_must_hold() -> None:
    headers = [HeaderMatchState("a", "1"), HeaderMatchState("b", "2")]
    matcher = Matcher(MatchState("/api", ["GET"], headers))
    assert matcher.takes(request("/api", "a: 1", "b: 2"))
    assert not matcher.takes(request("/api", "a: 1"))
    assert not matcher.takes(request("/other", "a: 1", "b: 2"))
    assert not matcher.takes(request("/api", "a: 1", "b: 2", method="POST"))


def test_expression_that_re2_does_not_take_raises() -> None:
    with pytest.raises(Exception, match=r"perl operator|invalid"):
        Matcher(MatchState(path_regex="(?<=a)b"))


def test_expression_that_backtracks_elsewhere_is_answered_at_once() -> None:
    assert not Matcher(MatchState(path_regex="/(a+)+$")).takes(request("/" + "a" * 5000 + "b"))


def test_sticky_key_is_the_value_of_the_header() -> None:
    assert sticky_key(StickyState(header="X-User"), request("/", "x-user: alice"), "10.0.0.1") == b"alice"


def test_sticky_key_is_the_cookie_in_any_cookie_field() -> None:
    head = request("/", "Cookie: a=1", "cookie: b=2; id=alice")
    assert sticky_key(StickyState(cookie="id"), head, "10.0.0.1") == b"alice"


def test_sticky_key_is_the_client_address() -> None:
    assert sticky_key(StickyState(client_ip=True), request(), "10.0.0.1") == b"10.0.0.1"


def test_request_without_the_header_or_cookie_has_no_sticky_key() -> None:
    assert sticky_key(StickyState(header="x-user"), request("/", "x-other: a"), "10.0.0.1") is None
    assert sticky_key(StickyState(cookie="id"), request("/", "cookie: other=a"), "10.0.0.1") is None
