"""What must hold of every message that a codec accepts; asserts, with the input in the message.

Written from the RFCs and not from the codec's own lists, so that a name missing there is found here.
"""

import re

from milliroute.proxy.codec.h1 import FAST, REFERENCE
from milliroute.proxy.message import Fields, RequestHead, ResponseHead
from tests.proxy.codec.feeding import (
    Accepted,
    Head,
    fields_of,
    h11_chunks,
    h11_request,
    h11_response,
    read_request,
    read_response,
)

HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"http2-settings"}
PROTECTED = {b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization", b"expect"}
FRAMING = {b"content-length", b"transfer-encoding"}
_UPGRADE = [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")


def nominated(fields: Fields) -> set[bytes]:
    names = {t.strip(b" \t").lower() for n, v in fields if n == b"connection" for t in v.split(b",")}
    return names - PROTECTED


def check_passed_on(head: Head, data: bytes) -> None:
    """No byte and no field goes on that may not; what else was sent goes on in its order."""
    sent, fields = fields_of(data), head.fields()
    if fields[-2:] == _UPGRADE:
        fields = fields[:-2]
    for name, value in fields:
        assert _NAME.fullmatch(name), data
        assert _VALUE.fullmatch(value), data
        assert name not in HOP_BY_HOP | nominated(sent), data
        assert not (isinstance(head, RequestHead) and re.match(b"l5d[-_]", name)), data
    # An absolute-form's host and the empty one of HTTP/1.0 are ours; framing fields have one spelling.
    ours = FRAMING | {b"host"}
    gone = HOP_BY_HOP | nominated(sent) | ours | {b"expect"}
    is_order = re.compile(b"l5d[-_]" if isinstance(head, RequestHead) else b"(?!)")
    wanted = [f for f in sent if f[0] not in gone and not is_order.match(f[0])]
    assert [f for f in fields if f[0] not in ours | {b"expect"}] == wanted, data
    for name in FRAMING:
        assert [n for n, _ in fields].count(name) <= 1, data


def check_request_again(head: RequestHead, data: bytes) -> None:
    """The next hop reads what goes on as what came in, whichever codec or plain h11 it has."""
    if head.is_http10 and not head.host:
        assert (b"host", b"") in head.fields(), data  # RFC 9110 section 7.2; we ourselves would refuse that
        return
    for codec in (FAST, REFERENCE):
        again = read_request(codec, head.wire + b"\x00")
        assert isinstance(again, Accepted), data
        assert isinstance(again.head, RequestHead)
        assert again.end == len(head.wire), data
        assert again.head.fields() == head.fields(), data
        for name in ("method", "target", "host", "length", "expects_continue", "upgrade"):
            assert getattr(again.head, name) == getattr(head, name), (name, data)
    check_request_by_h11(head, head.wire)


def check_response_again(head: ResponseHead, data: bytes, method: bytes, may_upgrade: bool) -> None:
    for codec in (FAST, REFERENCE):
        again = read_response(codec, head.wire + b"\x00", method, may_upgrade)
        assert isinstance(again, Accepted), data
        assert again.end == len(head.wire), data
        assert again.head.fields() == head.fields(), data
        assert (again.head.length, again.head.wire[:12]) == (head.length, head.wire[:12]), data


def check_request_by_h11(head: RequestHead, data: bytes) -> None:
    alone = h11_request(data)
    assert alone is not None, data
    assert alone.start == (head.method, head.target), data
    assert alone.length == head.length, data
    _check_same_fields(alone.fields, data)


def check_response_by_h11(head: ResponseHead, data: bytes, method: bytes) -> None:
    alone = h11_response(data, method)
    assert alone is not None, data
    assert alone.start[0] == head.status, data
    assert alone.length == head.length, data
    _check_same_fields(alone.fields, data)


def _check_same_fields(fields: Fields, data: bytes) -> None:
    assert fields == fields_of(data), data


def check_trailers(forwarded: bytes, payload: bytes, data: bytes) -> None:
    """What goes on of a body reads as the same payload, and its trailers are harmless."""
    alone = h11_chunks(forwarded)
    assert alone is not None, data
    assert alone[0] == payload, data
    assert alone[2] == b"", data
    for name, value in alone[1]:
        assert name not in HOP_BY_HOP | FRAMING | {b"host", b"authorization", b"set-cookie"}, data
        assert not name.startswith((b"l5d-", b"l5d_")), data
        assert _VALUE.fullmatch(value), data
