"""Message heads and framing lengths, as both codecs make them and the exchange passes them on.

A head's `wire` is what goes to the other side: the bytes that came in where the scanner proved them plain, else a
canonical serialisation; hop-by-hop fields are already gone. The rule not to break: nothing but `wire` is forwarded.
"""

# Framing of a body (RFC 9112 section 6.3): a number >= 0 is a content-length.
CHUNKED = -1
UNTIL_CLOSE = -2

Fields = list[tuple[bytes, bytes]]

IDEMPOTENT_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))  # RFC 9110 section 9.2.2


class RequestHead:
    """host: lower case, with the port where one was sent; upgrade: b"" or b"websocket".

    wants_close: the client asked for it, or speaks HTTP/1.0; is_http10 clients get no chunks and no 1xx. is_h2: see
    message_h2; its bodies come as payload and never as chunks. is_https: it came by TLS, which no field of it says.
    bare: the same before the filters of a leaf; set only where a leaf has some. said: of clients and hops before this
    one, as far as a short look tells: b"" for nothing, the one line of x-forwarded-for where that is all, None for
    more; set only by a codec's request_telling.
    """

    is_h2 = False
    bare: "RequestHead"
    said: bytes | None
    __slots__ = (
        "bare",
        "expects_continue",
        "host",
        "is_http10",
        "is_https",
        "length",
        "method",
        "said",
        "target",
        "upgrade",
        "wants_close",
        "wire",
    )

    def __init__(self, method: bytes, target: bytes, host: bytes, wire: bytes, length: int = 0) -> None:
        self.method = method
        self.target = target
        self.host = host
        self.wire = wire
        self.length = length
        self.wants_close = False
        self.is_http10 = False
        self.is_https = False
        self.expects_continue = False
        self.upgrade = b""

    def fields(self) -> Fields:
        return parse_fields(self.wire)

    def alter(self, drop: frozenset[bytes], more: Fields) -> None:
        """Without the fields of these (lower-case) names, and with more at the end."""
        self.wire = altered(self.wire, drop, more)

    def retarget(self, target: bytes, host: bytes) -> None:
        """Another target, or another host: both of the kind that a codec accepts."""
        first, *lines = self.wire.split(b"\r\n")
        method, _, rest = first.partition(b" ")
        version = rest.rpartition(b" ")[2]
        if host != self.host:
            lines = [b"host: " + host if line[:5].lower() == b"host:" else line for line in lines]
        self.wire = b"\r\n".join([method + b" " + target + b" " + version, *lines])
        self.target, self.host = target, host

    def fork(self) -> "RequestHead":
        """One like it that can be changed by itself."""
        made = RequestHead(self.method, self.target, self.host, self.wire, self.length)
        made.wants_close = self.wants_close
        made.is_http10 = self.is_http10
        made.is_https = self.is_https
        made.expects_continue = self.expects_continue
        made.upgrade = self.upgrade
        return made

    def scheme(self) -> bytes:
        return b"https" if self.is_https else b"http"

    def h1_wire(self) -> bytes:
        return self.wire

    def timeout_s(self) -> float | None:
        """How long the client waits for the end of the response, where it says so: grpc-timeout, over HTTP/2 only."""
        return None

    def limit_timeout(self, timeout_s: float) -> None:
        """Says that much instead, to the backend of another try; for a request that says nothing, nothing."""


class ResponseHead:
    """length: of the body that follows on the wire, so 0 for HEAD, 204 and 304 whatever the fields say.

    is_reusable: the backend keeps the connection open after this message.
    """

    is_h2 = False
    __slots__ = ("is_reusable", "length", "status", "wire")

    def __init__(self, status: int, wire: bytes, length: int, is_reusable: bool) -> None:
        self.status = status
        self.wire = wire
        self.length = length
        self.is_reusable = is_reusable

    def fields(self) -> Fields:
        return parse_fields(self.wire)

    def alter(self, drop: frozenset[bytes], more: Fields) -> None:
        """As of a request."""
        self.wire = altered(self.wire, drop, more)

    def value_of(self, name: bytes) -> bytes:
        """Of the first field of this name, b"" without one."""
        return next((value for found, value in self.fields() if found == name), b"")

    def h1_wire(self) -> bytes:
        return self.wire


def altered(wire: bytes, drop: frozenset[bytes], more: Fields) -> bytes:
    lines = [wire[:-4]]
    if drop:
        lines = [line for line in lines[0].split(b"\r\n") if line.partition(b":")[0].lower() not in drop]
    return b"\r\n".join([*lines, *(name + b": " + value for name, value in more), b"", b""])


def parse_fields(wire: bytes) -> Fields:
    """Of a whole head that a codec accepted: lower-case names, values without outer white space."""
    fields: Fields = []
    for line in wire[:-4].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        fields.append((name.lower(), value.strip(b" \t")))
    return fields


def with_close(wire: bytes) -> bytes:
    """The same head, saying that this connection ends after the message (RFC 9112 section 9.6)."""
    return wire[:-2] + b"connection: close\r\n\r\n"
