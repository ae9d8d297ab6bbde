"""HTTP/1.1: heads and chunked bodies. Both codecs must agree, and keep what they promise to whoever reads on."""

import random

from milliroute.proxy.codec.h1 import FAST, REFERENCE
from milliroute.proxy.message import CHUNKED, RequestHead, ResponseHead
from tests.conformance.corpus import cases, text
from tests.fuzz.target import Target
from tests.proxy.codec import promises
from tests.proxy.codec.feeding import Accepted, cuttings, meaning, read_body, read_request, read_response

_METHODS = (b"GET", b"HEAD", b"POST")
_WORDS = (
    b"content-length: 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: ",
    b"host: a\r\n",
    b"HTTP/1.1",
    b";",
)


def _request(data: bytes) -> None:
    fast = read_request(FAST, data)
    assert meaning(fast) == meaning(read_request(REFERENCE, data))
    if isinstance(fast, Accepted):
        assert isinstance(fast.head, RequestHead)
        promises.check_passed_on(fast.head, data)
        promises.check_request_again(fast.head, data)


def _response(data: bytes) -> None:
    """The first byte says what was asked."""
    method, may_upgrade, data = _METHODS[data[:1][0] % 3] if data else b"GET", data[:1] > b"\x80", data[1:]
    fast = read_response(FAST, data, method, may_upgrade)
    assert meaning(fast) == meaning(read_response(REFERENCE, data, method, may_upgrade))
    if isinstance(fast, Accepted):
        assert isinstance(fast.head, ResponseHead)
        promises.check_passed_on(fast.head, data)
        promises.check_response_again(fast.head, data, method, may_upgrade)


def _chunks(data: bytes) -> None:
    pieces = cuttings(random.Random(len(data)), data)
    decoded = read_body(FAST.body(CHUNKED, decode=True), pieces[0])
    for cut in pieces:
        for codec in (FAST, REFERENCE):
            assert read_body(codec.body(CHUNKED, decode=True), cut) == decoded
            passed = read_body(codec.body(CHUNKED), cut)
            assert (passed.is_done, passed.rest) == (decoded.is_done, decoded.rest)
            if passed.is_done:
                promises.check_trailers(passed.forwarded, decoded.forwarded, data)


def _seeds(name: str, prefix: bytes = b"") -> list[bytes]:
    sent = (text(case["send"]) for case in cases(name))
    return [prefix + data for data in sent if len(data) < 500]


TARGETS = (
    Target("h1-request", lambda: _seeds("requests"), _request, _WORDS),
    Target("h1-response", lambda: _seeds("responses", b"\0") + _seeds("responses", b"\1"), _response, _WORDS),
    Target(
        "h1-chunks", lambda: _seeds("bodies"), _chunks, (b"0\r\n\r\n", b"5;a=b\r\n", b"ffffffffffffffff", b"x: y\r\n")
    ),
)
