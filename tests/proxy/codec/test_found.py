"""Inputs that the codecs once read differently, from each other, from h11 or from what the rules promise."""

import pytest

from milliroute.proxy.codec.h1 import CODECS, FAST, REFERENCE, H1Codec
from milliroute.proxy.codec.h1_body import MAX_TRAILER_BYTES
from milliroute.proxy.message import CHUNKED, UNTIL_CLOSE
from tests.proxy.codec.feeding import Accepted, Refused, h11_chunks, meaning, read_body, read_request, read_response

on_both_codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


@on_both_codecs
@pytest.mark.parametrize(
    "fields", [b"Content-Length: 5\r\ncontent-length: 5\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length: 5,5\r\n"]
)
def test_equal_content_lengths_that_h11_makes_one_of_are_refused(codec: H1Codec, fields: bytes) -> None:
    assert read_request(codec, HEAD + fields + b"\r\n") == Refused(400)
    assert read_response(codec, b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n") == Refused(502)


@on_both_codecs
def test_transfer_encoding_twice_is_malformed_and_not_unknown(codec: H1Codec) -> None:
    assert read_request(codec, HEAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n") == Refused(400)


def test_a_response_of_over_100_fields_is_refused_by_the_scanner_too() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + b"x: y\r\n" * 100 + b"\r\n"
    assert read_response(FAST, data) == read_response(REFERENCE, data) == Refused(502)


@on_both_codecs
@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (b"Content-Length:\t05 ", b"Content-Length: 5"),
        (b"Content-Length: 00", b"Content-Length: 0"),
        (b"Transfer-Encoding:\tCHUNKED", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked\t", b"Transfer-Encoding: chunked"),
    ],
)
def test_a_framing_field_of_odd_spelling_goes_on_in_its_plain_one(codec: H1Codec, sent: bytes, passed: bytes) -> None:
    for found in (
        read_request(codec, HEAD + sent + b"\r\n\r\n"),
        read_response(codec, b"HTTP/1.1 200 OK\r\n" + sent + b"\r\n\r\n"),
    ):
        assert isinstance(found, Accepted)
        assert b"\r\n" + passed + b"\r\n" in found.head.wire


def test_the_spelling_of_the_framing_field_itself_counts_and_not_of_one_that_quotes_it() -> None:
    data = HEAD + b"X: transfer-encoding: chunked\r\nTransfer-Encoding: Chunked\r\n\r\n"
    found = read_request(FAST, data)
    assert isinstance(found, Accepted)
    assert b"\r\nTransfer-Encoding: chunked\r\n" in found.head.wire
    assert meaning(found) == meaning(read_request(REFERENCE, data))


def test_an_expectation_from_http10_is_not_passed_on_as_one_of_http11() -> None:
    found = read_request(FAST, b"POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\n\r\n")
    assert isinstance(found, Accepted)
    assert found.head.fields() == [(b"host", b"a")]


@on_both_codecs
def test_connection_cannot_take_an_expectation_away_that_the_client_waits_for(codec: H1Codec) -> None:
    found = read_request(codec, HEAD + b"Connection: expect\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert isinstance(found, Accepted)
    assert (b"expect", b"100-continue") in found.head.fields()


@on_both_codecs
def test_an_order_in_the_spelling_of_cgi_does_not_come_from_a_client(codec: H1Codec) -> None:
    found = read_request(codec, HEAD + b"L5d_Client_Id: me\r\n\r\n")
    assert isinstance(found, Accepted)
    assert found.head.fields() == [(b"host", b"a")]


@on_both_codecs
def test_http2_settings_of_a_response_stay_on_this_hop(codec: H1Codec) -> None:
    found = read_response(codec, b"HTTP/1.1 204 No Content\r\nHTTP2-Settings: A\r\n\r\n")
    assert isinstance(found, Accepted)
    assert found.head.fields() == []


@on_both_codecs
def test_a_connection_that_ends_the_body_is_not_used_again(codec: H1Codec) -> None:
    found = codec.response(b"HTTP/1.1 200 OK\r\n\r\n", b"GET", False)
    assert found is not None
    assert (found[0].length, found[0].is_reusable) == (UNTIL_CLOSE, False)


@on_both_codecs
@pytest.mark.parametrize("data", [b"5 ;a\r\nhello\r\n0\r\n\r\n", b"5\t;a\r\nhello\r\n0\r\n\r\n"])
def test_white_space_before_an_extension_which_h11_refuses_is_refused(codec: H1Codec, data: bytes) -> None:
    assert h11_chunks(data) is None
    assert read_body(codec.body(CHUNKED), [data]).is_done is None


@on_both_codecs
@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("trailers", [b"x: " + b"y" * MAX_TRAILER_BYTES + b"\r\n", b"x: y\r\n" * 101])
def test_too_many_trailers_are_refused_also_when_they_come_at_once(
    codec: H1Codec, decode: bool, trailers: bytes
) -> None:
    data = b"0\r\n" + trailers + b"\r\n"
    for pieces in ([data], [data[:50], data[50:]]):
        assert read_body(codec.body(CHUNKED, decode=decode), pieces).is_done is None


@on_both_codecs
@pytest.mark.parametrize("name", [b"Transfer-Encoding: gzip", b"Content-Length: abc", b"l5d-client-id: me"])
def test_a_forbidden_trailer_is_dropped_even_where_h11_raises_on_it(codec: H1Codec, name: bytes) -> None:
    assert read_body(codec.body(CHUNKED), [b"0\r\n" + name + b"\r\nx: y\r\n\r\n"]).is_done
    forwarded = read_body(codec.body(CHUNKED), [b"0\r\n" + name + b"\r\nx: y\r\n\r\n"]).forwarded
    assert h11_chunks(forwarded) == (b"", [(b"x", b"y")], b"")


@on_both_codecs
def test_an_empty_body_is_done_before_anything_comes(codec: H1Codec) -> None:
    body = codec.body(0)
    assert body.is_done
    assert body.feed(b"next") == (b"", b"next")


@on_both_codecs
@pytest.mark.parametrize("part", [b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 102, b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 8000])
def test_too_many_fields_are_refused_before_the_head_ends(codec: H1Codec, part: bytes) -> None:
    assert read_request(codec, part) == Refused(431)
