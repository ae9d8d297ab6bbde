"""WebSockets between the versions of HTTP: Upgrade in HTTP/1.1 (RFC 6455), extended CONNECT in HTTP/2 (RFC 8441). Pure.

The key is a matter of one HTTP/1.1 hop (RFC 8441 section 5): towards HTTP/2 it goes no further, from HTTP/2 it is made
here.
"""

import base64
import hashlib
import secrets

from milliroute.proxy.message import Fields, RequestHead, ResponseHead

# RFC 6455 section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_HOP_FIELDS = frozenset((b"connection", b"upgrade", b"sec-websocket-key", b"sec-websocket-accept", b"content-length"))


def new_key() -> bytes:
    """16 random bytes in base64 (RFC 6455 section 4.1)."""
    return base64.b64encode(secrets.token_bytes(16))


def accept_of(key: bytes) -> bytes:
    """What a server that takes the upgrade answers (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def connect_fields(head: RequestHead) -> Fields:
    """The extended CONNECT that says what this HTTP/1.1 request for an upgrade says."""
    pseudo = [
        (b":method", b"CONNECT"),
        (b":protocol", head.upgrade),
        (b":scheme", b"https" if head.is_https else b"http"),
        (b":path", head.target),
        (b":authority", head.host),
    ]
    return [*pseudo, *(field for field in head.fields() if field[0] not in _HOP_FIELDS and field[0] != b"host")]


def upgrade_fields(fields: Fields) -> Fields:
    """What an HTTP/1.1 request for an upgrade carries beyond Host; fields: of an extended CONNECT, no pseudo-fields."""
    kept = [field for field in fields if field[0] not in _HOP_FIELDS]
    return [*kept, (b"connection", b"upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-key", new_key())]


def switching(request: RequestHead, fields: Fields) -> ResponseHead:
    """The 101 for a client of HTTP/1.1, whose backend has answered an extended CONNECT with these fields."""
    key = next((value for name, value in request.fields() if name == b"sec-websocket-key"), b"")
    kept = [field for field in fields if field[0] not in _HOP_FIELDS]
    kept += [(b"connection", b"upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-accept", accept_of(key))]
    lines = [b"HTTP/1.1 101 Switching Protocols", *(name + b": " + value for name, value in kept)]
    return ResponseHead(101, b"\r\n".join(lines) + b"\r\n\r\n", 0, False)


def connected_fields(head: ResponseHead) -> Fields:
    """The 200 for a client of HTTP/2, whose backend has switched protocols or answered a CONNECT of its own."""
    return [(b":status", b"200"), *(field for field in head.fields() if field[0] not in _HOP_FIELDS)]
