"""Answers of our own, by the table of design section 7."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milliroute.proxy import errors
from milliroute.proxy.codec.h1 import CODECS
from milliroute.proxy.heads.replies import error_reply
from milliroute.proxy.message import RequestHead
from tests.proxy.codec.feeding import Accepted, read_response

PLAIN = RequestHead(b"GET", b"/", b"a", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
GRPC = RequestHead(b"POST", b"/s/m", b"a", b"POST /s/m HTTP/1.1\r\nContent-Type: Application/gRPC+proto\r\n\r\n")


@pytest.mark.parametrize(
    ("error", "status", "grpc_status"),
    [
        (errors.RequestRefused("x"), 400, 13),
        (errors.RequestRefused("x", status=431), 431, 13),
        (errors.RequestRefused("x", status=505), 505, 13),
        (errors.BadResponse("x"), 502, 14),
        (errors.NoRoute("x"), 404, 5),
        (errors.NoBackend("x"), 503, 14),
        (errors.ConnectFailed("x"), 502, 14),
        (errors.ConnectTimeout("x"), 504, 4),
        (errors.UpstreamFailed("x"), 502, 14),
        (errors.UpstreamTimeout("x"), 504, 4),
        (errors.ProxyError("x"), 500, 13),
    ],
)
def test_each_error_has_its_status_for_http_and_for_grpc(
    error: errors.ProxyError, status: int, grpc_status: int
) -> None:
    assert error_reply(error, PLAIN, closes=False).startswith(b"HTTP/1.1 %d " % status)
    reply = error_reply(error, GRPC, closes=False)
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\ngrpc-status: %d\r\n" % grpc_status in reply


def test_an_error_has_an_empty_body_and_its_reason_in_a_field() -> None:
    assert error_reply(errors.NoBackend("no ready endpoint"), PLAIN, closes=False) == (
        b"HTTP/1.1 503 Service Unavailable\r\nl5d-proxy-error: no ready endpoint\r\ncontent-length: 0\r\n\r\n"
    )


@pytest.mark.parametrize("head", [None, PLAIN, GRPC])
def test_the_end_of_the_connection_is_said(head: RequestHead | None) -> None:
    assert b"\r\nconnection: close\r\n" in error_reply(errors.RequestRefused("x"), head, closes=True)
    assert b"connection" not in error_reply(errors.RequestRefused("x"), head, closes=False)


def test_a_grpc_message_is_percent_encoded() -> None:
    reply = error_reply(errors.NoRoute("100% a: b"), GRPC, closes=False)
    assert b"\r\ngrpc-message: 100%25 a%3A b\r\n" in reply


@settings(derandomize=True, deadline=None, max_examples=200)
@given(text=st.text(), head=st.sampled_from((None, PLAIN, GRPC)), closes=st.booleans())
def test_no_text_of_an_error_breaks_the_answer(text: str, head: RequestHead | None, closes: bool) -> None:
    reply = error_reply(errors.BadResponse(text), head, closes=closes)
    for codec in CODECS.values():
        found = read_response(codec, reply)
        assert isinstance(found, Accepted)
        assert (found.end, found.head.length) == (len(reply), 0)
    connection = h11.Connection(h11.CLIENT)
    connection.receive_data(reply)
    assert isinstance(connection.next_event(), h11.Response)
