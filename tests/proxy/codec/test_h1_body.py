"""Bodies pass with their payload, and where their message ends is never in doubt."""

import pytest

from milliroute.proxy.codec.h1 import CODECS, H1Codec
from milliroute.proxy.codec.h1_body import (
    MAX_EXTENSION_BYTES,
    MAX_EXTENSIONS_BYTES,
    CloseBody,
    LengthBody,
    allowed_trailers,
    make_body,
)
from milliroute.proxy.errors import ProtocolError
from milliroute.proxy.message import CHUNKED, UNTIL_CLOSE
from tests.proxy.codec.feeding import Reading, read_body

on_both_codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


@on_both_codecs
@pytest.mark.parametrize("pieces", [[b"hello!!"], [b"he", b"llo!", b"!"], [b"hello", b"!!"], [b"", b"hello", b"!!"]])
def test_a_length_ends_a_body_however_it_is_cut(codec: H1Codec, pieces: list[bytes]) -> None:
    assert read_body(codec.body(5), pieces) == Reading(True, b"hello", b"!!")


@on_both_codecs
def test_a_body_that_is_cut_off_has_not_ended(codec: H1Codec) -> None:
    for length, part in ((5, b"hell"), (CHUNKED, CHUNKS[:-1])):
        body = codec.body(length)
        body.feed(part)
        assert not body.is_done
        assert not body.feed_eof()


@on_both_codecs
def test_the_end_of_the_connection_ends_only_a_body_framed_by_it(codec: H1Codec) -> None:
    body = codec.body(UNTIL_CLOSE)
    assert body.feed(CHUNKS) == (CHUNKS, b"")
    assert not body.is_done
    assert body.feed_eof()
    assert body.is_done


@on_both_codecs
def test_chunks_taken_apart_go_on_without_trailers(codec: H1Codec) -> None:
    sent = b"5;x\r\nhello\r\n0\r\nX: y\r\n\r\nnext"
    assert read_body(codec.body(CHUNKED, decode=True), [sent]) == Reading(True, b"hello", b"next")


def test_plain_chunks_go_on_as_they_came() -> None:
    assert read_body(make_body(CHUNKED), [b"005\r\nhello\r\n0\r\n\r\n"]).forwarded == b"005\r\nhello\r\n0\r\n\r\n"


def test_a_part_of_a_chunk_goes_on_before_the_rest_comes() -> None:
    body = make_body(CHUNKED)
    assert body.feed(b"5\r\nhel") == (b"5\r\nhel", b"")
    assert body.feed(b"lo\r") == (b"lo", b"")
    assert body.feed(b"\n0\r\n\r\n") == (b"\r\n0\r\n\r\n", b"")


def test_the_last_chunk_goes_on_only_with_its_whole_trailers() -> None:
    body = make_body(CHUNKED)
    assert body.feed(b"0\r\nX: y\r\n") == (b"", b"")
    assert body.feed(b"\r\n") == (b"0\r\nX: y\r\n\r\n", b"")


@on_both_codecs
def test_extensions_are_bounded_by_chunk_and_by_message(codec: H1Codec) -> None:
    longest = b"1;" + b"x" * (MAX_EXTENSION_BYTES - 1) + b"\r\ny\r\n"
    fitting = MAX_EXTENSIONS_BYTES // MAX_EXTENSION_BYTES
    assert read_body(codec.body(CHUNKED), [longest * fitting]).is_done is False
    assert read_body(codec.body(CHUNKED), [longest * (fitting + 1)]).is_done is None
    assert read_body(codec.body(CHUNKED), [b"1;" + b"x" * MAX_EXTENSION_BYTES + b"\r\n"]).is_done is None


@on_both_codecs
def test_a_size_line_that_never_ends_is_refused_at_its_limit(codec: H1Codec) -> None:
    assert read_body(codec.body(CHUNKED), [b"5;" + b"x" * 300]).is_done is None
    assert read_body(codec.body(CHUNKED), [b"0" * 17]).is_done is None


@on_both_codecs
def test_nothing_after_a_wrong_chunk_end_goes_on(codec: H1Codec) -> None:
    body = codec.body(CHUNKED)
    body.feed(b"5\r\nhello\r")
    with pytest.raises(ProtocolError, match="CRLF"):
        body.feed(b"X")


def test_forbidden_trailers_are_left_out() -> None:
    assert allowed_trailers(b"Host: a\r\nX: y\r\nL5D-a: b\r\n\r\n") == b"X: y\r\n\r\n"
    assert allowed_trailers(b"\r\n") == b"\r\n"


def test_the_kind_of_body_follows_from_the_length() -> None:
    assert isinstance(make_body(5), LengthBody)
    assert isinstance(make_body(UNTIL_CLOSE), CloseBody)
