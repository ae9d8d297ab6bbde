"""Guards as tables of cases: who asks, from where, for what, and whether they are let in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milliroute.proxy.guard.access import LOG_EVERY_S, Access
from milliroute.proxy.guard.paths import is_normal
from milliroute.proxy.message import RequestHead
from milliroute.proxy.routing.matching import matcher
from milliroute.proxy.state import (
    AuthenticationState,
    AuthorizationState,
    GuardState,
    HeaderMatchState,
    MatchState,
    NetworkState,
)
from tests.proxy.tables import request

WEB = "web.shop.serviceaccount.identity.linkerd.cluster.local"
SPIFFE = "spiffe://cluster.local/ns/shop/sa/web"


class Asker:
    def __init__(self, client_ip: str = "10.0.0.1", *identities: str) -> None:
        self.client_ip = client_ip
        self.identities = identities


def identities(*names: str) -> AuthenticationState:
    return AuthenticationState("who", identities=list(names))


def networks(cidr: str, *excepts: str) -> AuthenticationState:
    return AuthenticationState("where", [NetworkState(cidr, list(excepts))])


def allowing(*required: AuthenticationState, matches: list[MatchState] | None = None) -> AuthorizationState:
    return AuthorizationState("default/some", list(required), matches or [])


def access(*authorizations: AuthorizationState, is_audit: bool = False) -> Access:
    return Access("reviews.default", [GuardState("Server", "default/reviews", list(authorizations), is_audit)])


def lets_in(judge: Access, asker: Asker | None = None, path: str = "/", method: str = "GET", *fields: str) -> bool:
    return judge.judge(asker or Asker(), request(path, *fields, method=method)) is None


def test_a_guard_without_authorizations_lets_nobody_in() -> None:
    denied = access().judge(Asker("127.0.0.1", SPIFFE), request())
    assert denied is not None
    assert (denied.status, denied.grpc_status, denied.label) == (403, 7, "denied")


def test_a_denial_names_no_policy_to_strangers() -> None:
    denied = access().judge(Asker(), request())
    assert denied is not None
    assert "reviews" not in denied.text


@pytest.mark.parametrize(
    ("cidr", "excepts", "client", "is_in"),
    [
        ("10.0.0.0/8", (), "10.255.255.255", True),
        ("10.0.0.0/8", (), "11.0.0.0", False),
        ("10.0.0.0/8", ("10.1.0.0/16",), "10.1.2.3", False),
        ("10.0.0.0/8", ("10.1.0.0/16",), "10.2.0.0", True),
        ("0.0.0.0/0", (), "::1", False),
        ("::/0", (), "127.0.0.1", False),
        ("10.0.0.0/8", (), "::ffff:10.0.0.1", True),
        ("::/0", (), "::ffff:10.0.0.1", False),
        ("fe80::/10", (), "fe80::1%eth0", True),
        ("0.0.0.0/0", (), "unknown", False),
        ("0.0.0.0/0", (), "", False),
    ],
)
def test_a_network_takes_its_addresses_and_not_those_that_it_excepts(
    cidr: str, excepts: tuple[str, ...], client: str, is_in: bool
) -> None:
    assert lets_in(access(allowing(networks(cidr, *excepts))), Asker(client)) is is_in


@pytest.mark.parametrize(
    ("wanted", "shown", "is_in"),
    [
        ("*", (), False),
        ("*", (WEB,), True),
        (WEB, (WEB,), True),
        (WEB, ("other." + WEB,), False),
        (WEB, (WEB + ".evil.example",), False),
        ("*.shop.serviceaccount.identity.linkerd.cluster.local", (WEB,), True),
        ("*.shop.serviceaccount.identity.linkerd.cluster.local", ("evilshop.serviceaccount.identity",), False),
        ("*.b", ("b",), False),
        ("*.b", ("spiffe://x/a.b",), False),
        (SPIFFE, ("x.example", SPIFFE), True),
        (SPIFFE, (SPIFFE + "/more",), False),
        ("spiffe://cluster.local/ns/shop/*", (SPIFFE,), True),
        ("spiffe://cluster.local/ns/shop/*", ("spiffe://cluster.local/ns/shopping/sa/web",), False),
        ("spiffe://cluster.local/ns/shop/*", ("spiffe://cluster.local/ns/shop",), False),
    ],
)
def test_an_identity_is_whole_or_under_its_wildcard(wanted: str, shown: tuple[str, ...], is_in: bool) -> None:
    assert lets_in(access(allowing(identities(wanted))), Asker("10.0.0.1", *shown)) is is_in


def test_all_authentications_of_one_authorization_must_take_the_client() -> None:
    judge = access(allowing(networks("10.0.0.0/8"), identities(SPIFFE)))
    assert lets_in(judge, Asker("10.0.0.1", SPIFFE))
    assert not lets_in(judge, Asker("10.0.0.1"))
    assert not lets_in(judge, Asker("11.0.0.1", SPIFFE))


def test_several_authorizations_are_alternatives() -> None:
    judge = access(allowing(networks("10.0.0.0/8")), allowing(identities(SPIFFE)))
    assert lets_in(judge, Asker("10.0.0.1"))
    assert lets_in(judge, Asker("11.0.0.1", SPIFFE))
    assert not lets_in(judge, Asker("11.0.0.1"))


def test_an_authentication_without_networks_and_identities_takes_nobody() -> None:
    assert not lets_in(access(allowing(AuthenticationState("gone"))), Asker("10.0.0.1", SPIFFE))


def test_an_authorization_that_requires_nothing_takes_everybody() -> None:
    assert lets_in(access(allowing()))


def test_a_request_must_pass_all_guards() -> None:
    open_guard = GuardState("Server", "default/a", [allowing()])
    closed_guard = GuardState("Server", "default/b", [allowing(identities(SPIFFE))])
    judge = Access("reviews.default", [open_guard, closed_guard])
    assert lets_in(judge, Asker("10.0.0.1", SPIFFE))
    assert not lets_in(judge, Asker("10.0.0.1"))


@pytest.mark.parametrize(
    ("path", "method", "fields", "is_in"),
    [
        ("/api", "GET", (), True),
        ("/api/items?x=/admin", "GET", (), True),
        # SMI anchors at the start only.
        ("/api-secret", "GET", (), True),
        ("/other/api", "GET", (), False),
        ("/api", "POST", (), False),
        ("/api", "get", (), False),
        ("/open", "POST", ("x-role: admin",), True),
        ("/open", "POST", ("x-role: administrator",), False),
        ("/open", "POST", ("x-role: admin", "x-role: guest"), False),
        ("/open", "POST", (), False),
    ],
)
def test_matches_are_alternatives_and_all_parts_of_one_must_hold(
    path: str, method: str, fields: tuple[str, ...], is_in: bool
) -> None:
    by_path = MatchState("/api", ["GET"])
    by_header = MatchState("/open", ["*"], [HeaderMatchState("X-Role", "admin")])
    assert lets_in(access(allowing(matches=[by_path, by_header])), None, path, method, *fields) is is_in


@pytest.mark.parametrize(
    "path",
    [
        "/api/../admin", "/api/./x", "/api/..", "/api/.", "//api", "/api//x", "/api/%2e%2e/admin", "/api/%2E./x",
        "/api%2fadmin", "/api%2Fadmin", "/api%5cadmin", "/api\\admin", "/api%00", "/api%0a", "/api;x", "/api;/../admin",
        "/api%3b", "/api%252e", "/%61pi", "/api%7e", "/api%", "/api%zz", "/api%c0%af", "/api%ff", "*", "", "api",
        "http://x/api", "/api\xff", '/api"', "/api#x", "/api%7f", "/api x",
    ],
)  # fmt: skip
def test_a_path_that_can_be_read_in_two_ways_is_let_in_by_no_match_by_path(path: str) -> None:
    judge = access(allowing(matches=[MatchState(".*")]))
    head = request("/api")
    head.target = path.encode("latin-1")
    denied = judge.judge(Asker(), head)
    assert denied is not None
    assert "normal form" in denied.text
    assert access(allowing()).judge(Asker(), head) is None, "where no policy looks at paths it is none of ours"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?x",
        "/api?x=//",
        "/api",
        "/api/",
        "/a.b/..c/.d/e..",
        "/a%20b",
        "/%C3%A9",
        "/a:b@c,d+e=f&g!$'()*~_-",
        "/x?a=/../;%2f",
    ],
)
def test_ordinary_paths_are_in_normal_form(path: str) -> None:
    assert is_normal(path.encode())


def test_a_path_of_8_kib_is_judged_in_linear_time() -> None:
    assert is_normal(b"/a" * 4096)
    assert not is_normal(b"/a" * 4096 + b";")
    assert not is_normal(b"/" * 8192)


@given(
    st.lists(st.sampled_from(("GET", "POST", "*")), max_size=2, unique=True),
    st.sampled_from(("", "/", "/a.*", "/api", "/.*", "/a[bc]", "/a/[0-9]+.*")),
    st.sampled_from((b"GET", b"POST", b"PUT")),
    st.lists(st.sampled_from((b"/", b"a", b"pi", b".", b"%2f", b"?", b"c", b"1", b";")), max_size=6).map(b"".join),
)
def test_a_match_takes_what_the_same_match_of_a_route_takes_if_the_path_is_in_normal_form(
    methods: list[str], expression: str, method: bytes, target: bytes
) -> None:
    match = MatchState(path_regex=expression, methods=methods)
    head = RequestHead(method, b"/" + target, b"a", b"")
    judged = access(allowing(networks("0.0.0.0/0"), matches=[match])).judge(Asker(), head)
    is_judgeable = not expression or is_normal(head.target)
    assert (judged is None) == (is_judgeable and matcher(match).takes(head))


@pytest.mark.parametrize(
    "match", [MatchState(path_prefix="/a"), MatchState(path_exact="/a"), MatchState(path_full_regex="/a")]
)
def test_every_kind_of_path_in_a_match_narrows_it(match: MatchState) -> None:
    """Also those that no control service sends yet: what is not read must not be taken for no condition."""
    judge = access(allowing(matches=[match]))
    assert [lets_in(judge, path=path) for path in ("/a", "/b", "/a/../b")] == [True, False, False]


def test_connections_that_are_not_http_are_let_in_without_matches_only() -> None:
    assert access(allowing()).judge(Asker(), None) is None
    assert access(allowing(matches=[MatchState(methods=["*"])])).judge(Asker(), None) is not None
    tcp_only = access(AuthorizationState("tcp", is_tcp_only=True))
    assert tcp_only.judge(Asker(), None) is None
    assert tcp_only.judge(Asker(), request()) is not None


def test_an_audit_lets_in_and_counts_whom_it_would_have_denied() -> None:
    judge = access(allowing(identities(SPIFFE)), is_audit=True)
    assert lets_in(judge)
    assert lets_in(judge, Asker("10.0.0.1", SPIFFE))
    counted = {(delta.verdict, delta.authorization): delta.count for delta in judge.tally.take()}
    assert counted == {("audit", ""): 1, ("allow", "default/some"): 1}


def test_what_was_decided_is_counted_once_and_survives_a_new_table() -> None:
    old = access(allowing(networks("10.0.0.0/8")))
    lets_in(old)
    new = Access("reviews.default", [GuardState("Server", "default/reviews")], old)
    lets_in(new)
    (allowed, denied) = new.tally.take()
    assert (allowed.verdict, allowed.count, denied.verdict, denied.count) == ("allow", 1, "deny", 1)
    assert (denied.authority, denied.kind, denied.guard) == ("reviews.default", "Server", "default/reviews")
    assert new.tally.take() == []


def test_denials_are_one_line_in_ten_seconds_with_their_number_and_the_last_of_them() -> None:
    judge = access()
    lets_in(judge, Asker("10.0.0.9", SPIFFE), "/a")
    (line,) = judge.tally.lines(100.0)
    assert line == (f"reviews.default: 1 denied by Server default/reviews, the last: GET /a from 10.0.0.9, {SPIFFE}")
    for number in range(5):
        lets_in(judge, Asker("10.0.0.9"), f"/b{number}\x1b[2J")
    assert judge.tally.lines(100.0 + LOG_EVERY_S - 0.1) == []
    (line,) = judge.tally.lines(100.0 + LOG_EVERY_S)
    assert ": 5 denied by Server default/reviews, the last: GET /b4?[2J from 10.0.0.9" in line
    assert judge.tally.lines(200.0) == []


def test_a_guard_that_cannot_be_judged_by_is_refused_when_the_table_is_built() -> None:
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 network"):
        access(allowing(networks("10.0.0.0/33")))
