"""Both codecs by properties: any bytes at all, drip-fed heads, and what goes on is read again as what came in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milliroute.proxy.codec.h1 import CODECS, FAST, REFERENCE, H1Codec
from milliroute.proxy.codec.rules import MAX_HEAD_BYTES, MAX_TARGET_BYTES
from milliroute.proxy.message import CHUNKED, UNTIL_CLOSE, RequestHead, ResponseHead
from tests.proxy.codec import promises
from tests.proxy.codec.bodies import well_formed
from tests.proxy.codec.feeding import Accepted, Refused, meaning, read_body, read_request, read_response
from tests.proxy.codec.heads import HOP_FIELDS, LENGTHS, METHODS, PLAIN_FIELDS, SPECIAL, TARGETS
from tests.sizes import cases

many = settings(derandomize=True, deadline=None, max_examples=cases(800))
on_both_codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)

# Bytes near to a message find more than random ones.
_words = st.sampled_from((
    b"GET / HTTP/1.1\r\n", b"Host: a\r\n", b"HTTP/1.1 200 OK\r\n", b"\r\n\r\n", b"5\r\nhello\r\n", b"0\r\n", *SPECIAL,
    *LENGTHS,
))  # fmt: skip
anything = st.one_of(st.binary(max_size=200), st.lists(st.one_of(_words, st.binary(max_size=5))).map(b"".join))

_names = st.from_regex(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,12}", fullmatch=True)
_values = st.from_regex(rb"[\t\x20-\x7e\x80-\xff]{0,20}", fullmatch=True)
_fields = st.one_of(
    st.tuples(_names, _values).map(b":".join), st.sampled_from(PLAIN_FIELDS + HOP_FIELDS), st.sampled_from(LENGTHS)
)
_lines = st.lists(_fields, max_size=6).map(lambda lines: b"".join(line + b"\r\n" for line in lines) + b"\r\n")
requests = st.builds(
    lambda method, target, version, lines: method + b" " + target + version + b"Host: a\r\n" + lines,
    st.one_of(_names, st.sampled_from(METHODS)),
    st.one_of(st.sampled_from(TARGETS), st.from_regex(rb"/[\x21-\x7e]{0,20}", fullmatch=True)),
    st.sampled_from((b" HTTP/1.1\r\n", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n")),
    _lines,
)
responses = st.builds(
    lambda status, reason, lines: b"HTTP/1.1 %d %s\r\n%s" % (status, reason, lines),
    st.integers(100, 620),
    _values,
    _lines,
)


@many
@given(anything)
def test_any_bytes_are_a_request_or_a_refusal_and_the_same_to_both(data: bytes) -> None:
    assert meaning(read_request(FAST, data)) == meaning(read_request(REFERENCE, data))


@many
@given(anything, st.sampled_from((b"GET", b"HEAD")), st.booleans())
def test_any_bytes_are_a_response_or_a_refusal_and_the_same_to_both(data: bytes, method: bytes, asked: bool) -> None:
    assert meaning(read_response(FAST, data, method, asked)) == meaning(read_response(REFERENCE, data, method, asked))


@many
@given(anything, st.sampled_from((CHUNKED, UNTIL_CLOSE, 0, 3)), st.booleans())
def test_any_bytes_are_a_body_or_a_refusal_and_the_same_to_both(data: bytes, length: int, decode: bool) -> None:
    fast = read_body(FAST.body(length, decode=decode), [data, data])
    reference = read_body(REFERENCE.body(length, decode=decode), [data, data])
    assert (fast.is_done, fast.rest) == (reference.is_done, reference.rest)


@pytest.mark.slow
@many
@given(requests)
def test_a_structured_request_means_the_same_to_both_and_to_the_next_hop(data: bytes) -> None:
    fast = read_request(FAST, data)
    assert meaning(fast) == meaning(read_request(REFERENCE, data))
    if isinstance(fast, Accepted) and isinstance(fast.head, RequestHead):
        promises.check_passed_on(fast.head, data)
        promises.check_request_again(fast.head, data)
        assert all(read_request(FAST, data[:size]) is None for size in range(fast.end))


@pytest.mark.slow
@many
@given(responses, st.sampled_from((b"GET", b"HEAD")))
def test_a_structured_response_means_the_same_to_both_and_to_the_next_hop(data: bytes, method: bytes) -> None:
    fast = read_response(FAST, data, method)
    assert meaning(fast) == meaning(read_response(REFERENCE, data, method))
    if isinstance(fast, Accepted) and isinstance(fast.head, ResponseHead):
        promises.check_passed_on(fast.head, data)
        promises.check_response_again(fast.head, data, method, False)
        assert all(read_response(FAST, data[:size], method) is None for size in range(fast.end))


@on_both_codecs
@settings(derandomize=True, deadline=None, max_examples=200)
@given(body=well_formed(), cut=st.integers(0, 400), rest=st.binary(max_size=8))
def test_a_well_formed_body_goes_on_with_its_payload(
    codec: H1Codec, body: tuple[bytes, bytes], cut: int, rest: bytes
) -> None:
    sent, payload = body[0] + rest, body[1]
    passed = read_body(codec.body(CHUNKED), [sent[:cut], sent[cut:]])
    assert passed.is_done
    assert passed.rest == rest
    promises.check_trailers(passed.forwarded, payload, sent)
    assert read_body(codec.body(CHUNKED, decode=True), [sent[:cut], sent[cut:]]).forwarded == payload


@on_both_codecs
def test_a_head_is_incomplete_until_its_last_byte(codec: H1Codec) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
    assert {read_request(codec, head[:size]) for size in range(len(head))} == {None}
    assert isinstance(read_request(codec, head), Accepted)


@on_both_codecs
@pytest.mark.parametrize(
    ("part", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: a\nY", 400),
        (b"\x16\x03\x01\x02\x00", 400),  # TLS to a plain port
        (b"GET / HTTP/1.1\r\nX : ", 400),
        (b"GET / HTTP/1.1\r\n ", 400),
        (b"GET / HTTP/1.1\r\nnocolon\r\n", 400),
        (b"GET / HTTP/9.9\r\n", 505),
        (b"GET /\r\n", 400),
        (b"GET /" + b"x" * (MAX_TARGET_BYTES + 20), 414),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD_BYTES, 431),
        (b"x" * (MAX_HEAD_BYTES + 1), 414),
    ],
)
def test_what_can_never_become_a_request_is_refused_at_once(codec: H1Codec, part: bytes, status: int) -> None:
    assert read_request(codec, part) == Refused(status)


@on_both_codecs
@pytest.mark.parametrize(
    "part", [b"x", b"HTTP/2", b"HTTP/1.1 200 OK\r\nX : ", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 33000]
)
def test_what_can_never_become_a_response_is_refused_at_once(codec: H1Codec, part: bytes) -> None:
    assert read_response(codec, part) == Refused(502)


@on_both_codecs
def test_a_long_target_is_named_as_the_fault_also_in_a_head_that_is_too_long(codec: H1Codec) -> None:
    target = b"/" + b"x" * MAX_TARGET_BYTES
    assert read_request(codec, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n") == Refused(414)
    assert read_request(codec, b"GET " + target * 5 + b" HTTP/1.1\r\nHost: a\r\n\r\n") == Refused(414)


@on_both_codecs
def test_pipelined_requests_are_read_one_by_one(codec: H1Codec) -> None:
    data = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.0\r\n\r\n"
    first = codec.request(data)
    assert first is not None
    second = codec.request(data[first[1] :])
    assert second is not None
    assert (first[0].target, second[0].target) == (b"/1", b"/2")
    assert first[1] + second[1] == len(data)


def test_the_codecs_are_chosen_by_name() -> None:
    assert CODECS == {"fast": FAST, "reference": REFERENCE}
