"""HTTP/2 message heads with the face of the HTTP/1 ones, so that one exchange serves both.

`h2_fields` is what goes to an HTTP/2 peer; `wire` is made only when the other side speaks HTTP/1 (RFC 9113 section 8,
RFC 9112 section 1.1). The verdicts come from codec.h2_rules, which has refused what must not be translated.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from milliroute.proxy.codec.h2_rules import RequestVerdict
from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.heads import websocket
from milliroute.proxy.message import CHUNKED, Fields, RequestHead, ResponseHead

_REASONS = {200: b"OK", 204: b"No Content", 304: b"Not Modified", 404: b"Not Found", 500: b"Internal Server Error"}
# RFC 9113 section 8.2.2: what belongs to an HTTP/1 connection and may not stand in HTTP/2.
_CONNECTION_FIELDS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))

# gRPC's "TimeoutValue": at most 8 digits, and a unit.
_MAX_TIMEOUT_BYTES = 9


@lru_cache(maxsize=256)
def _timeout_of(value: bytes) -> float | None:
    """Clients mostly say the same again and again."""
    # Here, because a worker without gRPC need not carry it. Of the module and not of the package: 0.6 us less.
    from milliroute.proxy.heads.rpc import timeout_s

    return timeout_s((Field(b"grpc-timeout", value),))


class H2RequestHead(RequestHead):
    """length: the content-length, 0 when the request has no body, else CHUNKED, for an HTTP/1 peer.

    upgrade: the :protocol of an extended CONNECT (RFC 8441); what follows it is no body of this message.
    """

    __slots__ = ("_fields",)
    is_h2 = True
    wire = b""
    wants_close = False
    is_http10 = False
    expects_continue = False

    # Without the base's: half the time, once per request.
    def __init__(self, verdict: RequestVerdict, fields: Sequence[Field], end_stream: bool) -> None:
        self.method = verdict.method
        self.target = verdict.target
        self.host = verdict.authority
        self.upgrade = verdict.protocol
        self._fields = [f for f in fields if f.name not in verdict.drop] if verdict.drop else fields
        if end_stream or verdict.protocol:
            self.length = 0
        else:
            self.length = CHUNKED if verdict.content_length is None else verdict.content_length

    def limit_timeout(self, timeout_s: float) -> None:
        # As many digits as gRPC allows in milliseconds; where it is over, the deadline comes before the answer.
        value = b"%dm" % max(1, min(int(timeout_s * 1000), 99_999_999))
        self._fields = [Field(f.name, value) if f.name == b"grpc-timeout" else f for f in self._fields]

    def timeout_s(self) -> float | None:
        for field in self._fields:
            if field.name == b"grpc-timeout":
                return _timeout_of(field.value) if len(field.value) <= _MAX_TIMEOUT_BYTES else None
        return None

    def fields(self) -> Fields:
        return [(f.name, f.value) for f in self._fields if not f.name.startswith(b":")]

    def alter(self, drop: frozenset[bytes], more: Fields) -> None:
        kept = [field for field in self._fields if field.name not in drop]
        self._fields = kept + [Field(name, value) for name, value in more]

    def amend(self, gone: Iterable[Field], more: Sequence[Field]) -> None:
        """As alter, with fields of its own, and with others that are made already: half the time."""
        fields = [*self._fields]
        for field in gone:
            fields.remove(field)  # which is by identity
        fields += more
        self._fields = fields

    def retarget(self, target: bytes, host: bytes) -> None:
        changed = {b":path": target, b":authority": host, b"host": host}
        self._fields = [Field(f.name, changed[f.name]) if f.name in changed else f for f in self._fields]
        self.target, self.host = target, host

    def fork(self) -> "H2RequestHead":
        made = H2RequestHead.__new__(H2RequestHead)
        made.method, made.target, made.host = self.method, self.target, self.host
        made.upgrade, made.length, made._fields = self.upgrade, self.length, self._fields
        return made

    def scheme(self) -> bytes:
        found = next((f.value for f in self._fields if f.name == b":scheme"), b"")
        return b"https" if found == b"https" else b"http"

    def h2_fields(self) -> Sequence[Field | tuple[bytes, bytes]]:
        return self._fields

    def h1_wire(self) -> bytes:
        """Host first; cookie crumbs in one field (RFC 9113 section 8.2.3)."""
        crumbs = [f.value for f in self._fields if f.name == b"cookie"]
        kept = [f for f in self.fields() if f[0] not in (b"cookie", b"host", b"te")]
        method = self.method
        if self.upgrade:
            kept, method = websocket.upgrade_fields(kept), b"GET"
        fields = [(b"host", self.host), *kept]
        if crumbs:
            fields.append((b"cookie", b"; ".join(crumbs)))
        if self.length == CHUNKED:
            fields.append((b"transfer-encoding", b"chunked"))
        return _wire(method + b" " + self.target + b" HTTP/1.1", fields)


class H2ResponseHead(ResponseHead):
    """length: as above; 0 too for an answer to HEAD, 204 and 304. For a client of HTTP/2 it is left at 0."""

    __slots__ = ("_fields",)
    is_h2 = True
    wire = b""
    is_reusable = True

    # Without the base's: half the time, once per response.
    def __init__(self, status: int, fields: Sequence[Field], length: int = 0) -> None:
        self.status = status
        self.length = length
        self._fields = fields

    def fields(self) -> Fields:
        return [(f.name, f.value) for f in self._fields if not f.name.startswith(b":")]

    def alter(self, drop: frozenset[bytes], more: Fields) -> None:
        kept = [field for field in self._fields if field.name not in drop]
        self._fields = kept + [Field(name, value) for name, value in more]

    def value_of(self, name: bytes) -> bytes:
        for field in self._fields:
            if field.name == name:
                return field.value
        return b""

    def h2_fields(self) -> Sequence[Field | tuple[bytes, bytes]]:
        return self._fields

    def h1_wire(self) -> bytes:
        fields = self.fields()
        if self.length == CHUNKED:
            fields.append((b"transfer-encoding", b"chunked"))
        return _wire(b"HTTP/1.1 %d %s" % (self.status, _REASONS.get(self.status, b"")), fields)


def length_of(fields: Sequence[Field]) -> int:
    """Of a message with a body: its content-length, else CHUNKED; the codec has seen to it that it is a number."""
    return next((int(field.value) for field in fields if field.name == b"content-length"), CHUNKED)


def request_to_h2(head: RequestHead) -> Sequence[Field | tuple[bytes, bytes]]:
    """Any request's head for an HTTP/2 peer (RFC 9113 section 8.3.1)."""
    if isinstance(head, H2RequestHead):
        return head.h2_fields()
    if head.upgrade:
        return websocket.connect_fields(head)
    scheme = b"https" if head.is_https else b"http"
    pseudo = [(b":method", head.method), (b":scheme", scheme), (b":path", head.target), (b":authority", head.host)]
    return [*pseudo, *(f for f in head.fields() if f[0] != b"host" and f[0] not in _CONNECTION_FIELDS)]


def response_to_h2(head: ResponseHead) -> Sequence[Field | tuple[bytes, bytes]]:
    if isinstance(head, H2ResponseHead):
        return head.h2_fields()
    return [(b":status", b"%d" % head.status), *(f for f in head.fields() if f[0] not in _CONNECTION_FIELDS)]


def _wire(start_line: bytes, fields: Fields) -> bytes:
    return b"\r\n".join([start_line, *(name + b": " + value for name, value in fields), b"", b""])
