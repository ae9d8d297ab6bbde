"""The reference reading of HTTP/1 heads: h11 parses, the strict rules judge, and the head is written out canonically.

Everything the scanner declines comes here, and with `--codec reference` everything does. h11 lets dangerous things
through (control bytes, folded lines, odd hosts and versions), so the raw bytes are checked before it sees them.
"""

import re

import h11

from milliroute.proxy.codec import rules
from milliroute.proxy.errors import BadResponse, ProtocolError, RequestRefused
from milliroute.proxy.message import Fields, RequestHead, ResponseHead

# A byte no head may hold, a CR or LF that is not a line end, or a folded line (RFC 9112 sections 2.2 and 5.2).
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n|\r\n[ \t]")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([/?][^#]*)?", re.IGNORECASE)
_TARGET = re.compile(rb"[\x21\x22\x24-\x7e]+")
_VERSION_SEEN = re.compile(rb"HTTP/[0-9]\.[0-9]")


def parse_request(head: bytes) -> RequestHead:
    """head: up to and including the empty line, at most MAX_HEAD_BYTES; raises RequestRefused."""
    _check_bytes(head, RequestRefused)
    _check_request_line(head.split(b"\r\n", 1)[0])
    event = _h11_event(h11.Connection(h11.SERVER, max_incomplete_event_size=rules.MAX_HEAD_BYTES), head)
    if not isinstance(event, h11.Request):
        raise RequestRefused("not an HTTP/1 request")
    is_http10 = event.http_version == b"1.0"
    target, authority = _origin_form(event.method, event.target)
    fields = [(name, value) for name, value in event.headers.raw_items()]
    if authority is not None:
        # RFC 9112 section 3.2.2: the target's authority replaces Host, whatever that said.
        fields = [(b"Host", authority), *(f for f in fields if f[0].lower() != b"host")]
    special = [f for f in _lower(fields) if f[0] in rules.REQUEST_NAMES or f[0].startswith(b"l5d-")]
    verdict = rules.judge_request(event.method, special, is_http10=is_http10)
    if is_http10 and not verdict.host:
        # The next hop is HTTP/1.1, where Host is a must; an empty one says that the client named none.
        fields = [(b"Host", b""), *fields]
    kept = [f for f in fields if f[0].lower() not in verdict.drop]
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
    fields = [(name, value) for name, value in event.headers.raw_items()]
    special = [f for f in _lower(fields) if f[0] in rules.RESPONSE_NAMES]
    verdict = rules.judge_response(status, method, special, is_http10=is_http10, may_upgrade=may_upgrade)
    kept = [f for f in fields if f[0].lower() not in verdict.drop]
    if verdict.is_upgraded:
        kept += [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]
    wire = _serialise(b"HTTP/1.1 %d %s" % (status, event.reason), kept)
    return ResponseHead(status, wire, verdict.length, verdict.is_reusable)


def _check_bytes(head: bytes, error: type[ProtocolError]) -> None:
    bad = _FORBIDDEN.search(head)
    if bad is not None:
        raise error(f"forbidden byte or line end in the head: {bad[0]!r} at {bad.start()}")
    if head.count(b"\n") > rules.MAX_FIELDS + 2:
        status = 431 if error is RequestRefused else 502
        raise error(f"over {rules.MAX_FIELDS} fields", status=status)


def _check_request_line(line: bytes) -> None:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise RequestRefused("request line is not: method target version")
    if len(parts[1]) > rules.MAX_TARGET_BYTES:
        raise RequestRefused(f"target of {len(parts[1])} bytes, at most {rules.MAX_TARGET_BYTES}", status=414)
    if _VERSION_SEEN.fullmatch(parts[2]) and parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise RequestRefused("version other than HTTP/1.0 and HTTP/1.1", status=505)


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
            raise BadResponse(str(exc)) from exc
        # h11 hints 501 for an unknown transfer-coding; anything else malformed is a plain 400.
        status = exc.error_status_hint if exc.error_status_hint in (431, 501) else 400
        raise RequestRefused(str(exc), status=status) from exc


def _lower(fields: Fields) -> Fields:
    return [(name.lower(), value.strip(b" \t").lower()) for name, value in fields]


def _serialise(start_line: bytes, fields: Fields) -> bytes:
    return b"\r\n".join([start_line, *(name + b": " + value for name, value in fields), b"", b""])
