"""The two HTTP/1 codecs behind one interface: `fast` tries the scanner first, `reference` asks h11 for every message.

In comes what a connection has buffered, out comes a head and where it ends, or None while it is incomplete. Limits and
what counts as malformed are the same for both.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from milliroute.proxy.codec import h1_body, h1_reference, h1_scan, rules
from milliroute.proxy.errors import BadResponse, ProtocolError, RequestRefused
from milliroute.proxy.message import RequestHead, ResponseHead


class MakeBody(Protocol):
    def __call__(self, length: int, *, decode: bool = False) -> h1_body.Body: ...


class H1Codec(NamedTuple):
    """request(buf), request_telling(buf), response(buf, method, may_upgrade), body(length, decode=...).

    request_telling is request and sets head.said as well. They raise RequestRefused, response raises BadResponse, a
    body's feed raises ProtocolError.
    """

    request: Callable[[bytes], tuple[RequestHead, int] | None]
    request_telling: Callable[[bytes], tuple[RequestHead, int] | None]
    response: Callable[[bytes, bytes, bool], tuple[ResponseHead, int] | None]
    body: MakeBody


def _fast_request(buf: bytes) -> tuple[RequestHead, int] | None:
    return h1_scan.scan_request(buf) or _reference_request(buf)


def _fast_request_telling(buf: bytes) -> tuple[RequestHead, int] | None:
    return h1_scan.scan_request(buf, True) or _reference_request_telling(buf)


def _fast_response(buf: bytes, method: bytes, may_upgrade: bool) -> tuple[ResponseHead, int] | None:
    return h1_scan.scan_response(buf, method) or _reference_response(buf, method, may_upgrade)


def _reference_request(buf: bytes) -> tuple[RequestHead, int] | None:
    start = 0
    while buf.startswith(b"\r\n", start):  # RFC 9112 section 2.2: empty lines before a request are ignored
        start += 2
    if start > 8:
        raise RequestRefused("empty lines in the place of a request")
    end = _end_of_head(buf, start, RequestRefused)
    return None if end < 0 else (h1_reference.parse_request(buf[start:end]), end)


def _reference_request_telling(buf: bytes) -> tuple[RequestHead, int] | None:
    parsed = _reference_request(buf)
    if parsed is not None:
        parsed[0].said = None  # or less: whoever reads on finds out
    return parsed


def _reference_response(buf: bytes, method: bytes, may_upgrade: bool) -> tuple[ResponseHead, int] | None:
    end = _end_of_head(buf, 0, BadResponse)
    return None if end < 0 else (h1_reference.parse_response(buf[:end], method, may_upgrade=may_upgrade), end)


def _end_of_head(buf: bytes, start: int, error: type[ProtocolError]) -> int:
    """Where the head ends, or -1 while it is incomplete; refuses early what can never become a good one."""
    end = buf.find(b"\r\n\r\n", start)
    if end >= 0 and end + 4 - start <= rules.MAX_HEAD_BYTES:
        return end + 4
    if end < 0:
        h1_reference.check_partial(buf[start:], error)
    if end >= 0 or len(buf) - start > rules.MAX_HEAD_BYTES:
        first_line = buf.find(b"\r\n", start, start + rules.MAX_TARGET_BYTES + 64)
        status = 502 if error is BadResponse else 414 if first_line < 0 else 431
        raise error(f"head over {rules.MAX_HEAD_BYTES} bytes", status=status)
    return -1


FAST = H1Codec(_fast_request, _fast_request_telling, _fast_response, h1_body.make_body)
REFERENCE = H1Codec(_reference_request, _reference_request_telling, _reference_response, h1_body.make_h11_body)
CODECS = {"fast": FAST, "reference": REFERENCE}
