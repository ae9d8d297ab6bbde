"""What rules change in heads, and where redirects lead; each head in both versions of HTTP."""

import pytest

from milliroute.proxy.codec.h2_rules import RequestVerdict
from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.heads.message_h2 import H2RequestHead, H2ResponseHead
from milliroute.proxy.heads.replies import error_reply
from milliroute.proxy.heads.rewriting import Filters, HeaderEdit, Redirect, changed_target, redressed
from milliroute.proxy.message import RequestHead, ResponseHead
from milliroute.proxy.state import FiltersState, HeaderChangeState, PathChangeState, RedirectState, RewriteState

CHANGE = HeaderChangeState(set=[("x-set", "new")], add=[("x-add", "2")], remove=["x-gone"])
FIELDS = [("X-Set", "a"), ("x-set", "b"), ("X-Add", "1"), ("X-Gone", "c"), ("x-kept", "d")]
CHANGED = [(b"x-add", b"1"), (b"x-kept", b"d"), (b"x-set", b"new"), (b"x-add", b"2")]


def h1(target: str = "/", host: str = "reviews") -> RequestHead:
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in FIELDS), "", ""]
    return RequestHead(b"GET", target.encode(), host.encode(), "\r\n".join(lines).encode())


def h2(target: str = "/", host: str = "reviews", scheme: str = "http") -> H2RequestHead:
    verdict = RequestVerdict(b"GET", target.encode(), host.encode(), scheme.encode(), b"")
    pseudo = [(":method", "GET"), (":scheme", scheme), (":path", target), (":authority", host)]
    fields = [Field(n.lower().encode(), v.encode()) for n, v in (*pseudo, *FIELDS)]
    return H2RequestHead(verdict, fields, True)


HEADS = pytest.mark.parametrize("make", [h1, h2])


@HEADS
def test_a_change_removes_sets_and_adds(make: type[RequestHead]) -> None:
    head = make()  # type: ignore[call-arg]  # a function
    HeaderEdit(CHANGE).apply(head)
    assert [field for field in head.fields() if field[0] != b"host"] == CHANGED


def test_a_change_of_a_response_leaves_its_status_line() -> None:
    wire = "HTTP/1.1 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in FIELDS) + "\r\n"
    head = ResponseHead(200, wire.encode(), 0, True)
    HeaderEdit(CHANGE).apply(head)
    assert head.wire.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.wire.endswith(b"\r\n\r\n")
    assert head.fields() == CHANGED


def test_a_change_of_an_http2_response_leaves_its_status() -> None:
    fields = [Field(b":status", b"200"), *(Field(n.lower().encode(), v.encode()) for n, v in FIELDS)]
    head = H2ResponseHead(200, fields)
    HeaderEdit(CHANGE).apply(head)
    assert head.fields() == CHANGED
    assert [field.name for field in fields][:2] == [b":status", b"x-set"], "the list may be shared"


@pytest.mark.parametrize(
    ("change", "target", "wanted"),
    [
        (PathChangeState("/x"), "/a/b?c=d", "/x?c=d"),
        (PathChangeState("/x", True, "/a"), "/a/b", "/x/b"),
        (PathChangeState("/x", True, "/a"), "/a", "/x"),
        (PathChangeState("/x/", True, "/a"), "/a/b", "/x/b"),
        (PathChangeState("/", True, "/a"), "/a/b", "/b"),
        (PathChangeState("/", True, "/a"), "/a", "/"),
        (PathChangeState("/", True, "/a"), "/a?q", "/?q"),
        (PathChangeState("/x", True, ""), "/b/", "/x/b/"),
        (PathChangeState("/x"), "*", "*"),
    ],
)
def test_a_path_is_replaced_and_its_query_stays(change: PathChangeState, target: str, wanted: str) -> None:
    assert changed_target(change, target.encode()) == wanted.encode()


@HEADS
def test_a_rewrite_changes_target_and_host_everywhere(make: type[RequestHead]) -> None:
    head = make("/a/b?c", "reviews")  # type: ignore[call-arg, arg-type]  # a function
    filters = Filters(FiltersState(rewrite=RewriteState("inner.test", PathChangeState("/x", True, "/a"))))
    assert filters.url is not None
    filters.url.apply(head)
    assert (head.target, head.host) == (b"/x/b?c", b"inner.test")
    wire = head.h1_wire()
    assert wire.startswith(b"GET /x/b?c HTTP/1.1\r\n")
    assert wire.lower().count(b"\r\nhost:") == 1
    assert b"\r\nhost: inner.test\r\n" in wire.lower()
    if isinstance(head, H2RequestHead):
        pseudo = {field[0]: field[1] for field in ((f.name, f.value) for f in head._fields) if field[0][:1] == b":"}
        assert (pseudo[b":path"], pseudo[b":authority"]) == (b"/x/b?c", b"inner.test")


@HEADS
def test_each_leaf_sees_the_request_with_its_own_changes_only(make: type[RequestHead]) -> None:
    head = make()  # type: ignore[call-arg]  # a function
    one, two = (Filters(FiltersState(request=HeaderChangeState(set=[("x-leaf", name)]))) for name in ("1", "2"))
    first = redressed(head, one)
    second = redressed(first, two)
    third = redressed(second, None)
    found = [[value for name, value in made.fields() if name == b"x-leaf"] for made in (first, second, third)]
    assert found == [[b"1"], [b"2"], []]
    assert third is head


@pytest.mark.parametrize(
    ("state", "target", "host", "location"),
    [
        (RedirectState(scheme="https"), "/a?b", "reviews:8080", "https://reviews/a?b"),
        (RedirectState(hostname="new.test"), "/a", "reviews", "http://new.test/a"),
        (RedirectState(hostname="new.test"), "/a", "reviews:8080", "http://new.test:8080/a"),
        (RedirectState(port=80), "/a", "reviews:8080", "http://reviews/a"),
        (RedirectState(port=8443, scheme="https"), "/a", "reviews", "https://reviews:8443/a"),
        (RedirectState(scheme="https", port=443), "/a", "[::1]:80", "https://[::1]/a"),
        (RedirectState(port=81), "/", "[::1]", "http://[::1]:81/"),
        (RedirectState(path=PathChangeState("/x", True, "/a")), "/a/b?c", "reviews", "http://reviews/x/b?c"),
        (RedirectState(scheme="https"), "*", "reviews", "https://reviews/"),
    ],
)
def test_a_redirect_changes_what_it_names(state: RedirectState, target: str, host: str, location: str) -> None:
    for head in (h1(target, host), h2(target, host)):
        assert Redirect(state).answer(head).location == location.encode()


def test_a_redirect_of_a_request_by_tls_stays_with_https() -> None:
    assert Redirect(RedirectState(port=8443)).answer(h2("/", "a", "https")).location == b"https://a:8443/"


def test_the_answer_is_a_redirect_without_a_body() -> None:
    head = h1("/a")
    reply = error_reply(Redirect(RedirectState(scheme="https", status=308)).answer(head), head, closes=False)
    assert reply == (b"HTTP/1.1 308 Permanent Redirect\r\nlocation: https://reviews/a\r\ncontent-length: 0\r\n\r\n")
