"""HTTP/2 message heads with the face of the HTTP/1 ones, so that one exchange serves both.

`h2_fields` is what goes to an HTTP/2 peer; `wire` is made only when the other side speaks HTTP/1 (RFC 9113 section 8,
RFC 9112 section 1.1). The verdicts come from codec.h2_rules, which has refused what must not be translated.
"""

from collections.abc import Sequence

from milliroute.proxy.codec.h2_rules import RequestVerdict
from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.message import CHUNKED, Fields, RequestHead, ResponseHead

_REASONS = {200: b"OK", 204: b"No Content", 304: b"Not Modified", 404: b"Not Found", 500: b"Internal Server Error"}
# RFC 9113 section 8.2.2: what belongs to an HTTP/1 connection and may not stand in HTTP/2.
_CONNECTION_FIELDS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))


class H2RequestHead(RequestHead):
    """length: the content-length, 0 when the request has no body, else CHUNKED, for an HTTP/1 peer."""

    __slots__ = ("_fields",)
    is_h2 = True

    def __init__(self, verdict: RequestVerdict, fields: Sequence[Field], end_stream: bool) -> None:
        length = 0 if end_stream else CHUNKED if verdict.content_length is None else verdict.content_length
        super().__init__(verdict.method, verdict.target, verdict.authority, b"", length)
        self._fields = [f for f in fields if f.name not in verdict.drop] if verdict.drop else fields

    def fields(self) -> Fields:
        return [(f.name, f.value) for f in self._fields if not f.name.startswith(b":")]

    def h2_fields(self) -> Sequence[Field | tuple[bytes, bytes]]:
        return self._fields

    def h1_wire(self) -> bytes:
        """Host first; cookie crumbs in one field (RFC 9113 section 8.2.3)."""
        crumbs = [f.value for f in self._fields if f.name == b"cookie"]
        kept = [f for f in self.fields() if f[0] not in (b"cookie", b"host", b"te")]
        fields = [(b"host", self.host), *kept]
        if crumbs:
            fields.append((b"cookie", b"; ".join(crumbs)))
        if self.length == CHUNKED:
            fields.append((b"transfer-encoding", b"chunked"))
        return _wire(self.method + b" " + self.target + b" HTTP/1.1", fields)


class H2ResponseHead(ResponseHead):
    """length: as above; 0 too for an answer to HEAD, 204 and 304."""

    __slots__ = ("_fields",)
    is_h2 = True

    def __init__(self, status: int, fields: Sequence[Field], end_stream: bool, has_body: bool) -> None:
        super().__init__(status, b"", 0, True)
        self._fields = fields
        if has_body and not end_stream:
            length = next((f.value for f in fields if f.name == b"content-length"), None)
            self.length = CHUNKED if length is None else int(length)

    def fields(self) -> Fields:
        return [(f.name, f.value) for f in self._fields if not f.name.startswith(b":")]

    def h2_fields(self) -> Sequence[Field | tuple[bytes, bytes]]:
        return self._fields

    def h1_wire(self) -> bytes:
        fields = self.fields()
        if self.length == CHUNKED:
            fields.append((b"transfer-encoding", b"chunked"))
        return _wire(b"HTTP/1.1 %d %s" % (self.status, _REASONS.get(self.status, b"")), fields)


def request_to_h2(head: RequestHead) -> Sequence[Field | tuple[bytes, bytes]]:
    """Any request's head for an HTTP/2 peer (RFC 9113 section 8.3.1)."""
    if isinstance(head, H2RequestHead):
        return head.h2_fields()
    pseudo = [(b":method", head.method), (b":scheme", b"http"), (b":path", head.target), (b":authority", head.host)]
    return [*pseudo, *(f for f in head.fields() if f[0] != b"host" and f[0] not in _CONNECTION_FIELDS)]


def response_to_h2(head: ResponseHead) -> Sequence[Field | tuple[bytes, bytes]]:
    if isinstance(head, H2ResponseHead):
        return head.h2_fields()
    return [(b":status", b"%d" % head.status), *(f for f in head.fields() if f[0] not in _CONNECTION_FIELDS)]


def _wire(start_line: bytes, fields: Fields) -> bytes:
    return b"\r\n".join([start_line, *(name + b": " + value for name, value in fields), b"", b""])
