"""Matches of Gateway API rules: whole path elements, values as they are, the first parameter of a name."""

import pytest

from milliroute.proxy.codec.h2_rules import RequestVerdict
from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.heads.message_h2 import H2RequestHead
from milliroute.proxy.routing.matching import Matcher, RouteMatcher, matcher
from milliroute.proxy.state import HeaderMatchState, MatchState
from tests.proxy.tables import request


def takes(state: MatchState, path: str, *fields: str, method: str = "GET") -> bool:
    return matcher(state).takes(request(path, *fields, method=method))


@pytest.mark.parametrize(
    ("path", "is_taken"),
    [("/a", True), ("/a/", True), ("/a/b", True), ("/a?b", True), ("/ab", False), ("/", False), ("/A", False)],
)
def test_a_prefix_is_of_whole_elements(path: str, is_taken: bool) -> None:
    assert takes(MatchState(path_prefix="/a"), path) is is_taken


@pytest.mark.parametrize(
    ("path", "is_taken"), [("/a", True), ("/a?b=c", True), ("/a/", False), ("/a/b", False), ("/ab", False)]
)
def test_an_exact_path_is_the_whole_path(path: str, is_taken: bool) -> None:
    assert takes(MatchState(path_exact="/a"), path) is is_taken


def test_a_regular_expression_of_a_route_is_anchored_at_both_ends() -> None:
    state = MatchState(path_full_regex="/v[0-9]")
    assert takes(state, "/v1?x")
    assert not takes(state, "/v1/x")
    assert takes(MatchState(path_regex="/v[0-9]"), "/v1/x"), "SMI's is not"


def test_a_plain_value_is_compared_as_it_is() -> None:
    state = MatchState(headers=[HeaderMatchState("x-a", "", "a.c")])
    assert takes(state, "/", "X-A: a.c")
    assert not takes(state, "/", "X-A: abc")
    assert not takes(state, "/")
    assert not takes(state, "/", "X-A: a.c", "X-A: d"), "several fields are one list"


def test_all_parts_must_hold() -> None:
    state = MatchState(path_prefix="/a", methods=["PUT"], headers=[HeaderMatchState("x", "y+")])
    assert takes(state, "/a", "x: yy", method="PUT")
    assert not takes(state, "/a", "x: yy")
    assert not takes(state, "/b", "x: yy", method="PUT")
    assert not takes(state, "/a", "x: z", method="PUT")


@pytest.mark.parametrize(
    ("query", "is_taken"),
    [
        ("?p=1", True),
        ("?a=b&p=1", True),
        ("?p=%31", True),
        ("?%70=1", True),
        ("?p=1&p=2", True),
        ("?p=2&p=1", False),
        ("?P=1", False),
        ("?p", False),
        ("", False),
        ("?xp=1", False),
    ],
)
def test_the_first_parameter_of_a_name_decides(query: str, is_taken: bool) -> None:
    assert takes(MatchState(query=[HeaderMatchState("p", "", "1")]), "/" + query) is is_taken


def h2(*fields: tuple[bytes, bytes]) -> H2RequestHead:
    verdict = RequestVerdict(b"GET", b"/", b"reviews:80", b"http", b"")
    return H2RequestHead(verdict, [Field(name, value) for name, value in fields], True)


def test_crumbs_of_a_cookie_are_one_value_over_http2() -> None:
    state = MatchState(headers=[HeaderMatchState("cookie", "(.*; )?b=2(;.*)?")])
    assert matcher(state).takes(h2((b"cookie", b"a=1"), (b"cookie", b"b=2")))


def test_the_authority_of_http2_is_the_host() -> None:
    state = MatchState(path_prefix="", headers=[HeaderMatchState("host", "", "reviews:80")])
    assert matcher(state).takes(h2((b":authority", b"reviews:80")))


def test_what_only_smi_says_is_matched_as_before() -> None:
    assert isinstance(matcher(MatchState("/a", ["GET", "PUT"])), Matcher)
    assert isinstance(matcher(MatchState(path_exact="/a")), RouteMatcher)
