"""The reference reader writes every head anew, by the rules, whatever way it came."""

import pytest

from milliroute.proxy.codec.h1_reference import check_partial, parse_request, parse_response
from milliroute.proxy.errors import BadResponse, RequestRefused


def test_a_head_is_written_with_one_space_and_the_names_as_sent() -> None:
    head = parse_request(b"GET / HTTP/1.1\r\nHOST:a\r\nX-y: \t z \r\n\r\n")
    assert head.wire == b"GET / HTTP/1.1\r\nHOST: a\r\nX-y: z\r\n\r\n"


def test_http10_goes_on_as_http11_that_closes() -> None:
    head = parse_request(b"GET / HTTP/1.0\r\n\r\n")
    assert head.wire == b"GET / HTTP/1.1\r\nHost: \r\n\r\n"
    assert head.is_http10
    assert head.wants_close


@pytest.mark.parametrize("host", [b"a", b"a/b,c"])
def test_the_authority_of_an_absolute_form_stands_for_any_host(host: bytes) -> None:
    head = parse_request(b"GET http://B:80/x HTTP/1.1\r\nX: y\r\nHost: " + host + b"\r\n\r\n")
    assert head.wire == b"GET /x HTTP/1.1\r\nHost: B:80\r\nX: y\r\n\r\n"
    assert head.host == b"b:80"


def test_a_refusal_says_what_was_wrong() -> None:
    with pytest.raises(RequestRefused, match="line feed by itself"):
        parse_request(b"GET / HTTP/1.1\r\nHost: a\n\r\n")
    with pytest.raises(RequestRefused, match=r"forbidden byte .*x00"):
        parse_request(b"GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n")
    with pytest.raises(RequestRefused, match="folded"):
        parse_request(b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n")


def test_an_interim_response_has_no_body_and_names_none() -> None:
    head = parse_response(b"HTTP/1.1 103 Early\r\nLink: x\r\nContent-Length: 5\r\n\r\n", b"GET", may_upgrade=False)
    assert (head.status, head.length) == (103, 0)
    assert head.wire == b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"


def test_101_passes_only_where_it_was_asked_for() -> None:
    head = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    passed = parse_response(head, b"GET", may_upgrade=True)
    assert passed.fields() == [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]
    with pytest.raises(BadResponse):
        parse_response(head, b"GET", may_upgrade=False)


@pytest.mark.parametrize(
    "part", [b"", b"\r", b"GET", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nX", b"G / HTTP/1.1\r\nX: y\r\n"]
)
def test_a_beginning_that_may_become_good_is_waited_for(part: bytes) -> None:
    check_partial(part, RequestRefused)
