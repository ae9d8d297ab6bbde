"""The reference reading of HTTP/1 heads: h11 parses, the strict rules judge, and the head is written out canonically.

Everything the scanner declines comes here, and with `--codec reference` everything does. h11 lets dangerous things
through (control bytes, folded lines, odd hosts and versions), so the raw bytes are checked before it sees them.
"""

import re

import h11

from milliroute.proxy.codec import rules
from milliroute.proxy.errors import BadResponse, ProtocolError, RequestRefused
from milliroute.proxy.message import Fields, RequestHead, ResponseHead, parse_fields

# The bytes a head may hold (RFC 9110 section 5.5); CR and LF only as line ends.
_ALLOWED = bytes(b for b in range(256) if b in b"\t\r\n" or (b >= 0x20 and b != 0x7F))
# What field lines look like as long as more may come.
_PARTIAL_FIELDS = re.compile(
    rb"(?:%b++:%b*+\r\n)*+(?:%b++(?::%b*+)?)?\r?" % (rules.TOKEN, rules.VALUE, rules.TOKEN, rules.VALUE)
)
# What can still come after a request target that is too long by itself.
_MAX_TARGET_AND_VERSION = rules.MAX_TARGET_BYTES + len(b" HTTP/1.1\r")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([/?][^#]*)?", re.IGNORECASE)
_TARGET = re.compile(rb"[\x21\x22\x24-\x7e]+")
_VERSION_SEEN = re.compile(rb"HTTP/[0-9]\.[0-9]")


def parse_request(head: bytes) -> RequestHead:
    """head: up to and including the empty line, at most MAX_HEAD_BYTES; raises RequestRefused."""
    _check_bytes(head, RequestRefused)
    method, sent_target, is_http10 = _request_line(head.split(b"\r\n", 1)[0])
    target, authority = _origin_form(method, sent_target)
    # Judged before h11 reads: it repairs (`5, 5` and two equal content-lengths become one) what must be refused.
    verdict = rules.judge_request(method, _special(head, authority), is_http10=is_http10)
    event = _h11_event(h11.Connection(h11.SERVER, max_incomplete_event_size=rules.MAX_HEAD_BYTES), head)
    if not isinstance(event, h11.Request):
        raise RequestRefused("not an HTTP/1 request")
    fields = event.headers.raw_items()
    if authority is not None:
        # RFC 9112 section 3.2.2: the target's authority replaces Host, whatever that said.
        fields = [(b"Host", authority), *(f for f in fields if f[0].lower() != b"host")]
    elif is_http10 and not verdict.host:
        # The next hop is HTTP/1.1, where Host is a must; an empty one says that the client named none.
        fields = [(b"Host", b""), *fields]
    kept = _kept(fields, verdict.drop)
    if verdict.upgrade:
        kept += [(b"connection", b"upgrade"), (b"upgrade", verdict.upgrade)]
    wire = _serialise(event.method + b" " + target + b" HTTP/1.1", kept)
    result = RequestHead(event.method, target, verdict.host, wire, verdict.length)
    result.wants_close, result.is_http10 = verdict.wants_close, is_http10
    result.expects_continue, result.upgrade = verdict.expects_continue, verdict.upgrade
    return result


def parse_response(head: bytes, method: bytes, *, may_upgrade: bool) -> ResponseHead:
    """method: of the request, which decides whether a body follows; raises BadResponse."""
    _check_bytes(head, BadResponse)
    version = _VERSION_SEEN.match(head)
    if version is None or version[0] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadResponse("not an HTTP/1 response")
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=rules.MAX_HEAD_BYTES)
    # h11 reads a response only after a request; which one does not matter, framing is judged below.
    upgrade = [("connection", "upgrade"), ("upgrade", "websocket")] if may_upgrade else []
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "h"), *upgrade]))
    connection.send(h11.EndOfMessage())
    event = _h11_event(connection, head)
    if not isinstance(event, (h11.Response, h11.InformationalResponse)):
        raise BadResponse("not an HTTP/1 response")
    status, is_http10 = event.status_code, event.http_version == b"1.0"
    if status > 599:
        raise BadResponse(f"status {status}, wanted 100 to 599")
    special = [(name, value.lower()) for name, value in parse_fields(head) if name in rules.RESPONSE_NAMES]
    verdict = rules.judge_response(status, method, special, is_http10=is_http10, may_upgrade=may_upgrade)
    kept = _kept(event.headers.raw_items(), verdict.drop)
    if verdict.is_upgraded:
        kept += [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]
    wire = _serialise(b"HTTP/1.1 %d %s" % (status, event.reason), kept)
    return ResponseHead(status, wire, verdict.length, verdict.is_reusable)


def check_partial(part: bytes, error: type[ProtocolError]) -> None:
    """part: of a head that has not ended yet; raises if nothing that could follow makes it a good one."""
    part = part.removesuffix(b"\r")
    _check_bytes(part, error)
    first_line, has_ended, fields = part.partition(b"\r\n")
    if _PARTIAL_FIELDS.fullmatch(fields) is None:
        raise error("malformed field line")
    if error is BadResponse:
        if not first_line.startswith(b"HTTP/1."[: len(first_line)]):
            raise error("not an HTTP/1 response")
    elif has_ended:
        _request_line(first_line)
    elif len(first_line.partition(b" ")[2]) > _MAX_TARGET_AND_VERSION:
        raise error(f"target over {rules.MAX_TARGET_BYTES} bytes", status=414)


def _check_bytes(head: bytes, error: type[ProtocolError]) -> None:
    bad = head.translate(None, _ALLOWED)
    if bad:
        raise error(f"forbidden byte in the head: {bad[:1]!r}")
    line_ends = head.count(b"\n")
    if not line_ends == head.count(b"\r") == head.count(b"\r\n"):
        raise error("carriage return or line feed by itself in the head")
    if b"\r\n " in head or b"\r\n\t" in head:
        raise error("folded line in the head")  # RFC 9112 section 5.2
    # The start line's, one per field, and the empty line's.
    if line_ends > rules.MAX_FIELDS + 2:
        raise error(f"over {rules.MAX_FIELDS} fields", status=502 if error is BadResponse else 431)


def _request_line(line: bytes) -> tuple[bytes, bytes, bool]:
    """(method, target, is it HTTP/1.0)"""
    parts = line.split(b" ")
    if len(parts) != 3:
        raise RequestRefused("request line is not: method target version")
    method, target, version = parts
    if len(target) > rules.MAX_TARGET_BYTES:
        raise RequestRefused(f"target of {len(target)} bytes, at most {rules.MAX_TARGET_BYTES}", status=414)
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        status = 505 if _VERSION_SEEN.fullmatch(version) else 400
        raise RequestRefused("version other than HTTP/1.0 and HTTP/1.1", status=status)
    return method, target, version == b"HTTP/1.0"


def _origin_form(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """(origin-form or *, the authority of an absolute-form); RFC 9112 section 3.2."""
    if _TARGET.fullmatch(target) is None:
        raise RequestRefused("forbidden byte in the target")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target, None
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not rules.is_host(absolute[1]):
        if method == b"CONNECT":
            return target, None  # the rules answer that
        raise RequestRefused("target is neither a path nor an http URL")
    rest = absolute[2] or b""
    if not rest and method == b"OPTIONS":
        return b"*", absolute[1]
    return (rest if rest.startswith(b"/") else b"/" + rest), absolute[1]


def _h11_event(connection: h11.Connection, head: bytes) -> object:
    try:
        connection.receive_data(head)
        return connection.next_event()
    except h11.RemoteProtocolError as exc:
        if connection.our_role is h11.CLIENT:
            raise BadResponse("not a well-formed response head") from exc
        # h11 hints 501 for an unknown transfer-coding; anything else malformed is a plain 400.
        status = exc.error_status_hint if exc.error_status_hint in (431, 501) else 400
        raise RequestRefused("not a well-formed request head", status=status) from exc


def _special(head: bytes, authority: bytes | None) -> Fields:
    """The fields the rules judge; an absolute-form's authority stands in the place of Host."""
    fields = [(n, v.lower()) for n, v in parse_fields(head) if n in rules.REQUEST_NAMES or rules.is_order(n)]
    if authority is None:
        return fields
    return [(b"host", authority.lower()), *(f for f in fields if f[0] != b"host")]


def _kept(fields: Fields, drop: frozenset[bytes]) -> Fields:
    """Without what is dropped, and with a content-length in the one spelling that everyone reads alike."""
    kept: Fields = []
    for name, value in fields:
        lower = name.lower()
        if lower not in drop:
            kept.append((name, b"%d" % int(value) if lower == b"content-length" else value))
    return kept


def _serialise(start_line: bytes, fields: Fields) -> bytes:
    return b"\r\n".join([start_line, *(name + b": " + value for name, value in fields), b"", b""])
