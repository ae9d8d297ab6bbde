"""The strict rules for HTTP/1 messages: what may pass at all, how it is framed, which fields stay on this hop.

Both codecs bring the fields that matter here (lower-case name, lower-case value without outer white space) and get a
verdict. The rule not to break: a framing that two parsers could read differently is refused, never repaired
(RFC 9112 section 11.2); so both codecs decide by this module and nothing else.
"""

import re

from milliroute.proxy.errors import BadResponse, RequestRefused
from milliroute.proxy.message import CHUNKED, UNTIL_CLOSE, Fields

# nginx and HAProxy refuse at 8-16 KiB, Envoy at 60 KiB; ours is design section 7: 431 above.
MAX_HEAD_BYTES = 32 * 1024
MAX_FIELDS = 100
# 414 above; browsers and CDNs agree on 8 KiB.
MAX_TARGET_BYTES = 8 * 1024
# 18 digits stay below 2**63 in every parser behind us.
MAX_LENGTH_DIGITS = 18

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # RFC 9110 section 5.6.2
VALUE = rb"[\t\x20-\x7e\x80-\xff]"  # RFC 9110 section 5.5: visible, space, tab, obs-text; no CTL

# Names that decide framing or stay on this hop (RFC 9110 section 7.6.1); all others are only passed on.
REQUEST_NAMES = (
    b"connection", b"content-length", b"expect", b"host", b"http2-settings", b"keep-alive", b"proxy-connection",
    b"te", b"transfer-encoding", b"upgrade",
)  # fmt: skip
RESPONSE_NAMES = (
    b"connection", b"content-length", b"http2-settings", b"keep-alive", b"proxy-connection", b"te",
    b"transfer-encoding", b"upgrade",
)  # fmt: skip
# Fields that are never passed on, whether nominated or not.
HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"http2-settings"))
_ABOUT_CLIENTS = (b"forwarded", b"x-real-ip")
# How lines begin that say it, in every spelling, or where a request has been.
SAID = {b"forwarded:", b"via:"} | {
    b"x%b%b" % (dash, rest)
    for dash in (b"-", b"_")
    for rest in (b"forwarded-", b"forwarded_", b"real-ip:", b"real_ip:")
}
# Connection may not nominate these away: removing them would change what the message means (abuse since 2019).
_NEVER_NOMINATED = frozenset((
    b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization", b"expect",
))  # fmt: skip
# Fields that may not come as trailers (RFC 9110 section 6.5.1): framing, routing, authentication, content format.
_FORBIDDEN_TRAILERS = HOP_BY_HOP | frozenset((
    b"age", b"authorization", b"cache-control", b"content-encoding", b"content-length", b"content-range",
    b"content-type", b"cookie", b"date", b"expect", b"expires", b"host", b"location", b"max-forwards", b"pragma",
    b"proxy-authenticate", b"proxy-authorization", b"range", b"retry-after", b"set-cookie", b"trailer",
    b"transfer-encoding", b"vary", b"via", b"warning", b"www-authenticate",
))  # fmt: skip

# RFC 3986 section 3.2.2 without userinfo: a reg-name, an IPv4 or a bracketed IPv6 address, then an optional port.
HOST = rb"(?:[A-Za-z0-9\-._~%!$&'()*+;=]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{1,5}+)?+"
_fullmatch_host = re.compile(HOST).fullmatch


class RequestVerdict:
    """What the fields of a request say. drop: names that are not passed on, or empty where the head may pass as is."""

    __slots__ = ("drop", "expects_continue", "host", "length", "upgrade", "wants_close")

    def __init__(self) -> None:
        self.host = b""
        self.length = 0
        self.wants_close = False
        self.expects_continue = False
        self.upgrade = b""
        self.drop: frozenset[bytes] = frozenset()


class ResponseVerdict:
    __slots__ = ("drop", "is_reusable", "is_upgraded", "length")

    def __init__(self) -> None:
        self.length = 0
        self.is_reusable = True
        self.is_upgraded = False
        self.drop: frozenset[bytes] = frozenset()


def tokens(values: list[bytes]) -> list[bytes]:
    return [token for value in values for part in value.split(b",") if (token := part.strip(b" \t"))]


def is_host(value: bytes) -> bool:
    return _fullmatch_host(value) is not None


def is_order(name: bytes) -> bool:
    """l5d-* fields are orders to proxies and identities: never from a client. CGI-like backends read _ as -."""
    return name.startswith((b"l5d-", b"l5d_"))


def is_about_clients(name: bytes) -> bool:
    """What proxies say of the client before them; name: lower case. Some servers take `_` for `-`, so such a spelling
    is the same field."""
    name = name.replace(b"_", b"-")
    return name.startswith(b"x-forwarded-") or name in _ABOUT_CLIENTS


def may_trail(name: bytes) -> bool:
    """RFC 9110 section 6.5.1: nothing that frames, routes or says who asks; name: lower case."""
    if name in _FORBIDDEN_TRAILERS:
        return False
    # The first letters of all that the two have; most trailers are grpc-status and begin with none of them.
    return name[:1] not in b"flx" or not (is_order(name) or is_about_clients(name))


def judge_request(method: bytes, fields: Fields, *, is_http10: bool) -> RequestVerdict:
    """fields: those whose names are REQUEST_NAMES or `is_order`; raises RequestRefused."""
    if method == b"CONNECT":
        raise RequestRefused("CONNECT is not offered", status=501)
    verdict = RequestVerdict()
    by_name: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        by_name.setdefault(name, []).append(value)
    verdict.host = _host(by_name.get(b"host", []), is_http10)
    verdict.length = _length(by_name, is_http10, RequestRefused)
    nominated = tokens(by_name.get(b"connection", []))
    verdict.wants_close = is_http10 or b"close" in nominated
    _judge_expect(by_name.get(b"expect", []), verdict, is_http10)
    if b"upgrade" in nominated and by_name.get(b"upgrade") == [b"websocket"] and not is_http10:
        verdict.upgrade = b"websocket" if method == b"GET" and verdict.length == 0 else b""
    verdict.drop = _dropped(by_name, nominated)
    if is_http10 and b"expect" in by_name:
        verdict.drop |= {b"expect"}  # ignored below, but the next hop is HTTP/1.1 and would obey it
    return verdict


def judge_response(
    status: int, method: bytes, fields: Fields, *, is_http10: bool, may_upgrade: bool
) -> ResponseVerdict:
    """fields: those whose names are RESPONSE_NAMES; method: of the request; raises BadResponse."""
    verdict = ResponseVerdict()
    by_name: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        by_name.setdefault(name, []).append(value)
    has_framing = b"content-length" in by_name or b"transfer-encoding" in by_name
    length = _length(by_name, is_http10, BadResponse) if has_framing else UNTIL_CLOSE
    nominated = tokens(by_name.get(b"connection", []))
    verdict.is_reusable = not is_http10 and b"close" not in nominated
    verdict.drop = _dropped(by_name, nominated)
    if status == 101:
        if not may_upgrade or by_name.get(b"upgrade") != [b"websocket"]:
            raise BadResponse("101 that nobody asked for")
        verdict.is_upgraded = True
    has_no_body = status < 200 or status in (204, 304) or method == b"HEAD"
    if status < 200 or status == 204:
        # RFC 9110 sections 8.6 and RFC 9112 6.1: neither field may stand here; a client could wait for a body.
        verdict.drop |= {b"content-length", b"transfer-encoding"} & by_name.keys()
    verdict.length = 0 if has_no_body else length
    if verdict.length == UNTIL_CLOSE:
        verdict.is_reusable = False
    return verdict


def _host(values: list[bytes], is_http10: bool) -> bytes:
    if not values and is_http10:
        return b""
    if len(values) != 1:
        raise RequestRefused(f"{len(values)} Host fields, wanted 1")
    if not is_host(values[0]):
        raise RequestRefused("Host is not a host and port")
    return values[0].lower()


def _length(by_name: dict[bytes, list[bytes]], is_http10: bool, error: type[RequestRefused] | type[BadResponse]) -> int:
    lengths, codings = by_name.get(b"content-length"), by_name.get(b"transfer-encoding")
    if codings:
        if lengths:
            raise error("Content-Length and Transfer-Encoding together")
        if len(codings) > 1:
            raise error(f"{len(codings)} Transfer-Encoding fields, wanted 1")
        if is_http10:
            raise error("Transfer-Encoding in HTTP/1.0")
        if codings[0] != b"chunked":
            raise error("Transfer-Encoding other than chunked", status=501 if error is RequestRefused else 502)
        return CHUNKED
    if not lengths:
        return 0
    if len(lengths) > 1:
        raise error(f"{len(lengths)} Content-Length fields, wanted 1")
    if not lengths[0].isdigit() or len(lengths[0]) > MAX_LENGTH_DIGITS:
        raise error("Content-Length is not a number of at most 18 digits")
    return int(lengths[0])


def _judge_expect(values: list[bytes], verdict: RequestVerdict, is_http10: bool) -> None:
    if not values or is_http10:
        return  # RFC 9110 section 10.1.1: a 100-continue from HTTP/1.0 is ignored
    if values != [b"100-continue"]:
        raise RequestRefused("Expect other than 100-continue", status=417)
    verdict.expects_continue = True


def _dropped(by_name: dict[bytes, list[bytes]], nominated: list[bytes]) -> frozenset[bytes]:
    drop = {name for name in by_name if name in HOP_BY_HOP or is_order(name)}
    if nominated:
        drop.update(name for name in nominated if name not in _NEVER_NOMINATED)
    return frozenset(drop)
