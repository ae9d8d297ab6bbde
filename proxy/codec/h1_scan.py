"""The strict scanner: one compiled expression takes a whole plain HTTP/1.1 head in one C call, or declines it.

Declining (None) is always safe: h11 and the strict rules look at the head then. Accepting promises that they would have
accepted it with the same method, target, fields and framing; tests/proxy/codec/test_differential.py holds it to that.

Measured on a 476-byte head with ten fields, CPython 3.11: match 1.9 us, lower() 0.2 us, findall 0.7 us. Searching the
lower-cased head for literal names costs half of a case-insensitive search (1.2-2.2 us).
"""

import re

from milliroute.proxy.codec import rules
from milliroute.proxy.message import CHUNKED, Fields, RequestHead, ResponseHead

# Possessive quantifiers: nothing is ever given back, so a hostile head costs no more than a plain one.
_FIELDS = rb"(?:%b++:%b*+\r\n){0,%d}+\r\n" % (rules.TOKEN, rules.VALUE, rules.MAX_FIELDS)
# Origin-form only (RFC 9112 section 3.2.1), no fragment sign.
_REQUEST = re.compile(rb"(" + rules.TOKEN + rb"++) (/[\x21\x22\x24-\x7e]*+) HTTP/1\.1\r\n" + _FIELDS)
_RESPONSE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) " + rules.VALUE + rb"*+\r\n" + _FIELDS)


def _finder(names: tuple[bytes, ...], extra: bytes = b"") -> "re.Pattern[bytes]":
    # Of the white space before a value only the one usual space is taken: a framing value with more is not plain.
    return re.compile(rb"\r\n(" + b"|".join(names) + extra + rb"): ?([^\r]*)")


_FRAMING = (b"content-length", b"transfer-encoding")
_find_in_request = _finder(rules.REQUEST_NAMES, rb"|l5d[-_][^:]*").findall
_find_in_response = _finder(rules.RESPONSE_NAMES).findall
_match_request = _REQUEST.match
_match_response = _RESPONSE.match


def scan_request(buf: bytes) -> tuple[RequestHead, int] | None:
    """The head at the start of buf and where it ends; None when it is incomplete or not plain."""
    match = _match_request(buf)
    if match is None:
        return None
    end = match.end()
    wire = buf if end == len(buf) else buf[:end]
    method, target = match.groups()
    if end > rules.MAX_HEAD_BYTES or len(target) > rules.MAX_TARGET_BYTES:
        return None
    lowered = wire.lower()
    found = _find_in_request(lowered)
    if len(found) == 1 and found[0][0] == b"host" and method != b"CONNECT":
        # Most requests: no body, nothing that stays on this hop.
        host = found[0][1]
        if not rules.is_host(host):
            return None
        return RequestHead(method, target, host, wire), end
    if not _is_plainly_framed(found, wire, lowered):
        return None
    return _judge(method, target, found, wire), end


def _is_plainly_framed(found: Fields, wire: bytes, lowered: bytes) -> bool:
    """What frames the body goes on as it came only in the spelling that no parser reads in two ways: a decimal number
    without leading zeros, `chunked` in lower case, no white space but the one space.
    """
    for name, value in found:
        if name == b"content-length" and not _is_plain_length(value):
            return False
        if name == b"transfer-encoding":
            begin = lowered.find(b"\r\ntransfer-encoding:") + 20
            if not wire.startswith((b" chunked\r\n", b"chunked\r\n"), begin):
                return False
    return True


def _is_plain_length(value: bytes) -> bool:
    return value.isdigit() and len(value) <= rules.MAX_LENGTH_DIGITS and (value[0] != 0x30 or value == b"0")


def _judge(method: bytes, target: bytes, found: Fields, wire: bytes) -> RequestHead:
    fields = [(name, value.strip(b" \t")) for name, value in found]
    verdict = rules.judge_request(method, fields, is_http10=False)
    if verdict.drop:
        wire = without(wire, verdict.drop, verdict.upgrade)
    head = RequestHead(method, target, verdict.host, wire, verdict.length)
    head.wants_close = verdict.wants_close
    head.expects_continue = verdict.expects_continue
    head.upgrade = verdict.upgrade
    return head


def scan_response(buf: bytes, method: bytes) -> tuple[ResponseHead, int] | None:
    """A final response's head; None when it is incomplete, interim or not plain."""
    match = _match_response(buf)
    if match is None:
        return None
    end = match.end()
    wire = buf if end == len(buf) else buf[:end]
    if end > rules.MAX_HEAD_BYTES:
        return None
    status = int(match[1])
    lowered = wire.lower()
    found = _find_in_response(lowered)
    if not _is_plainly_framed(found, wire, lowered):
        return None
    if len(found) == 1 and found[0][0] in _FRAMING and status != 204 and method != b"HEAD" and status != 304:
        # Most responses: a body, nothing that stays on this hop.
        length = CHUNKED if found[0][0] == b"transfer-encoding" else int(found[0][1])
        return ResponseHead(status, wire, length, True), end
    fields = [(name, value.strip(b" \t")) for name, value in found]
    verdict = rules.judge_response(status, method, fields, is_http10=False, may_upgrade=False)
    if verdict.drop:
        wire = without(wire, verdict.drop, b"")
    return ResponseHead(status, wire, verdict.length, verdict.is_reusable), end


def without(wire: bytes, drop: frozenset[bytes], upgrade: bytes) -> bytes:
    """The head without the fields of these (lower-case) names; an upgrade is asked for anew on the next hop."""
    lines = wire[:-4].split(b"\r\n")
    kept = [line for line in lines[1:] if line[: line.index(b":")].lower() not in drop]
    if upgrade:
        kept += [b"connection: upgrade", b"upgrade: " + upgrade]
    return b"\r\n".join([lines[0], *kept, b"", b""])
