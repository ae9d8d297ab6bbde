"""Violations of RFC 9113 sections 3 to 8, and what looks like one: what is sent, and the reaction it must meet.

Each case runs against both codecs (test_h2_rfc9113.py) and has a row in docs/rfc9113.md. A server is sent `wire` after
the greeting; a client has sent GET on stream 1 (ended) and POST on stream 3 (open) before.
"""

from typing import NamedTuple

from milliroute.proxy.codec import h2_frames as fr
from milliroute.proxy.codec.h2_settings import Role
from tests.proxy.codec.h2_peers import CONNECT, GET, OK, POST, Pairs, data, headers, plain

TOLERATED = "tolerated"


class Case(NamedTuple):
    section: str
    rule: str
    wire: bytes
    reaction: str
    role: Role = "server"

    @property
    def name(self) -> str:
        return f"{self.section} {self.role}: {self.rule}"


def connection(code: int) -> str:
    return f"connection:{code}"


def stream(code: int, stream_id: int = 1) -> str:
    return f"stream {stream_id}:{code}"


def setting(name: int, value: int) -> bytes:
    return fr.settings([(name, value)])


def asked(*fields: tuple[bytes, bytes], base: Pairs = GET, end: bool = True) -> bytes:
    return headers(1, [*base, *fields], end=end)


def answered(*fields: tuple[bytes, bytes], end: bool = True) -> bytes:
    return headers(1, [*OK, *fields], end=end)


PROTOCOL = connection(fr.PROTOCOL_ERROR)
SIZE = connection(fr.FRAME_SIZE_ERROR)
FLOW = connection(fr.FLOW_CONTROL_ERROR)
MALFORMED = stream(fr.PROTOCOL_ERROR)
CLOSED = stream(fr.STREAM_CLOSED)

_OPEN = headers(1, POST, end=False)
_HALF = headers(1)
_RST = fr.rst_stream(1, fr.CANCEL)
_PRIORITY = fr.frame(fr.PRIORITY, 0, 1, bytes(5))
_BLOCK = plain(GET)
_UNENDED = fr.frame(fr.HEADERS, fr.END_STREAM, 1, _BLOCK[:9])
_REST = fr.frame(fr.CONTINUATION, fr.END_HEADERS, 1, _BLOCK[9:])
_LONG = b"x" * 16_385

FRAMING = [
    Case("4.1", "a frame of unknown type is ignored", fr.frame(0xBA, 0xFF, 77, b"what"), TOLERATED),
    Case("4.1", "undefined flags are ignored", headers(1, flags=fr.END_HEADERS | 0xD2), TOLERATED),
    Case("4.1", "the reserved bit is ignored", headers(1 | 1 << 31), TOLERATED),
    Case("4.2", "DATA over the frame size", _OPEN + data(1, _LONG), SIZE),
    Case("4.2", "HEADERS over the frame size", fr.frame(fr.HEADERS, 5, 1, _LONG), SIZE),
    Case("4.2", "an unknown frame over the frame size", fr.frame(0xBA, 0, 0, _LONG), SIZE),
    Case("4.2", "the largest frame is taken", _OPEN + data(1, _LONG[1:]), TOLERATED),
    Case("4.3", "a field block that can't be read", fr.frame(fr.HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
         connection(fr.COMPRESSION_ERROR)),
    Case("4.3", "an index of no entry", fr.frame(fr.HEADERS, 5, 1, b"\xbe"), connection(fr.COMPRESSION_ERROR)),
    Case("4.3", "a table size update over our setting", fr.frame(fr.HEADERS, 5, 1, b"\x3f\xe2\x1f" + _BLOCK),
         connection(fr.COMPRESSION_ERROR)),
    Case("4.3", "a table size update in the middle of a block", fr.frame(fr.HEADERS, 5, 1, _BLOCK + b"\x20"),
         connection(fr.COMPRESSION_ERROR)),
    Case("4.3", "a field block that can't be read, in trailers",
         _OPEN + fr.frame(fr.HEADERS, 5, 1, b"\xbe"), connection(fr.COMPRESSION_ERROR)),
    Case("4.3", "DATA inside a field block", _OPEN + fr.frame(fr.HEADERS, 0, 3, b"") + data(1, b"x"), PROTOCOL),
    Case("4.3", "HEADERS inside a field block", _UNENDED + headers(3), PROTOCOL),
    Case("4.3", "PING inside a field block", _UNENDED + fr.ping(bytes(8)), PROTOCOL),
    Case("4.3", "another stream's CONTINUATION", _UNENDED + fr.frame(fr.CONTINUATION, 4, 3, b""), PROTOCOL),
    Case("4.3", "a block in two frames is one block", _UNENDED + _REST, TOLERATED),
]  # fmt: skip

STATES = [
    Case("5.1", "DATA on an idle stream", data(1, b"x"), PROTOCOL),
    Case("5.1", "RST_STREAM on an idle stream", _RST, PROTOCOL),
    Case("5.1", "WINDOW_UPDATE on an idle stream", fr.window_update(1, 1), PROTOCOL),
    Case("5.1", "CONTINUATION on an idle stream", fr.frame(fr.CONTINUATION, 4, 1, b""), PROTOCOL),
    Case("5.1", "PRIORITY on an idle stream", _PRIORITY, TOLERATED),
    Case("5.1", "DATA after END_STREAM", _HALF + data(1, b"x"), CLOSED),
    Case("5.1", "HEADERS after END_STREAM", _HALF + headers(1), CLOSED),
    Case("5.1", "CONTINUATION after END_STREAM", _HALF + fr.frame(fr.CONTINUATION, 4, 1, b""), PROTOCOL),
    Case("5.1", "WINDOW_UPDATE after END_STREAM", _HALF + fr.window_update(1, 1), TOLERATED),
    Case("5.1", "PRIORITY after END_STREAM", _HALF + _PRIORITY, TOLERATED),
    Case("5.1", "RST_STREAM after END_STREAM", _HALF + _RST, TOLERATED),
    Case("5.1", "DATA after RST_STREAM", _OPEN + _RST + data(1, b"x"), CLOSED),
    Case("5.1", "HEADERS after RST_STREAM", _OPEN + _RST + headers(1), CLOSED),
    Case("5.1", "WINDOW_UPDATE, PRIORITY and RST_STREAM after RST_STREAM",
         _OPEN + _RST + fr.window_update(1, 1) + _PRIORITY + _RST, TOLERATED),
    Case("5.1", "DATA on an idle stream of the server", data(2, b"x"), PROTOCOL, "client"),
    Case("5.1", "HEADERS on a stream that was not asked for", headers(5, OK), PROTOCOL, "client"),
    Case("5.1", "DATA after the response's end", headers(1, OK) + data(1, b"x"), CLOSED, "client"),
    Case("5.1", "HEADERS after the response's end", headers(1, OK) + headers(1, OK),
         connection(fr.STREAM_CLOSED), "client"),
    Case("5.1", "a response on a half-closed (local) stream", headers(1, OK, end=False) + data(1, b"x", end=True),
         TOLERATED, "client"),
    Case("5.1.1", "a client's even id", headers(2), PROTOCOL),
    Case("5.1.1", "an id below the highest, never used", headers(5) + headers(3), PROTOCOL),
    Case("5.1.1", "ids may be skipped", headers(5) + headers(9), TOLERATED),
    Case("5.1.1", "a server opens a stream", headers(2, OK), PROTOCOL, "client"),
    Case("5.5", "an unknown frame inside a field block", _UNENDED + fr.frame(0xBA, 0, 1, b""), PROTOCOL),
]  # fmt: skip

FRAMES = [
    Case("6.1", "DATA on stream 0", data(0, b"x"), PROTOCOL),
    Case("6.1", "padding as long as the payload", _OPEN + fr.frame(fr.DATA, fr.PADDED, 1, b"\5abcd"), PROTOCOL),
    Case("6.1", "padding without its length", _OPEN + fr.frame(fr.DATA, fr.PADDED, 1, b""), SIZE),
    Case("6.1", "nothing but padding", _OPEN + data(1, pad=9, end=True), TOLERATED),
    Case("6.2", "HEADERS on stream 0", headers(0), PROTOCOL),
    Case("6.2", "padding over the field block", headers(1, flags=fr.END_HEADERS | fr.PADDED | fr.HAS_PRIORITY)[:9]
         + b"\xff" + plain(GET)[1:], PROTOCOL),
    Case("6.2", "priority cut short", fr.frame(fr.HEADERS, 0x25, 1, b"abc"), SIZE),
    Case("6.2", "padding and priority are taken off",
         fr.frame(fr.HEADERS, 0x2D, 1, b"\3" + bytes(5) + _BLOCK + bytes(3)), TOLERATED),
    Case("5.3.2", "a stream that depends on itself", fr.frame(fr.HEADERS, 0x25, 1, b"\0\0\0\1\0" + _BLOCK), TOLERATED),
    Case("6.3", "PRIORITY on stream 0", fr.frame(fr.PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    Case("6.3", "PRIORITY of the wrong size", _OPEN + fr.frame(fr.PRIORITY, 0, 1, bytes(4)),
         stream(fr.FRAME_SIZE_ERROR)),
    Case("6.3", "PRIORITY of the wrong size on an idle stream", fr.frame(fr.PRIORITY, 0, 1, bytes(4)), SIZE),
    Case("6.4", "RST_STREAM on stream 0", fr.rst_stream(0, 0), PROTOCOL),
    Case("6.4", "RST_STREAM of the wrong size", _OPEN + fr.frame(fr.RST_STREAM, 0, 1, bytes(3)), SIZE),
    Case("6.5", "an acknowledgement with settings", fr.frame(fr.SETTINGS, fr.ACK, 0, bytes(6)), SIZE),
    Case("6.5", "SETTINGS on a stream", fr.frame(fr.SETTINGS, 0, 1, b""), PROTOCOL),
    Case("6.5", "SETTINGS of no multiple of six bytes", fr.frame(fr.SETTINGS, 0, 0, bytes(5)), SIZE),
    Case("6.5.2", "an unknown setting", setting(0xBABA, 7), TOLERATED),
    Case("6.5.2", "ENABLE_PUSH of 2", setting(fr.ENABLE_PUSH, 2), PROTOCOL),
    Case("6.5.2", "ENABLE_PUSH of 1 from a server", setting(fr.ENABLE_PUSH, 1), PROTOCOL, "client"),
    Case("6.5.2", "ENABLE_PUSH of 0 from a server", setting(fr.ENABLE_PUSH, 0), TOLERATED, "client"),
    Case("6.5.2", "INITIAL_WINDOW_SIZE over 2**31-1", setting(fr.INITIAL_WINDOW_SIZE, 2**31), FLOW),
    Case("6.5.2", "MAX_FRAME_SIZE too small", setting(fr.MAX_FRAME_SIZE, 16_383), PROTOCOL),
    Case("6.5.2", "MAX_FRAME_SIZE too large", setting(fr.MAX_FRAME_SIZE, 2**24), PROTOCOL),
    Case("6.5.2", "the largest MAX_FRAME_SIZE", setting(fr.MAX_FRAME_SIZE, 2**24 - 1), TOLERATED),
    Case("6.5.2", "ENABLE_CONNECT_PROTOCOL of 2", setting(fr.ENABLE_CONNECT_PROTOCOL, 2), PROTOCOL, "client"),
    Case("6.5.2", "ENABLE_CONNECT_PROTOCOL taken back",
         setting(fr.ENABLE_CONNECT_PROTOCOL, 1) + setting(fr.ENABLE_CONNECT_PROTOCOL, 0), PROTOCOL, "client"),
    Case("6.6", "PUSH_PROMISE from a client", _OPEN + fr.frame(fr.PUSH_PROMISE, 4, 1, bytes(4) + _BLOCK), PROTOCOL),
    Case("6.6", "PUSH_PROMISE where push is off", fr.frame(fr.PUSH_PROMISE, 4, 1, b"\0\0\0\2" + _BLOCK),
         PROTOCOL, "client"),
    Case("6.7", "PING on a stream", fr.frame(fr.PING, 0, 1, bytes(8)), PROTOCOL),
    Case("6.7", "PING of the wrong size", fr.frame(fr.PING, 0, 0, bytes(7)), SIZE),
    Case("6.7", "an acknowledgement nobody waits for", fr.ping(b"12345678", is_ack=True), TOLERATED),
    Case("6.8", "GOAWAY on a stream", fr.frame(fr.GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    Case("6.8", "GOAWAY cut short", fr.frame(fr.GOAWAY, 0, 0, bytes(7)), SIZE),
    Case("6.9", "WINDOW_UPDATE by 0 on a stream", _OPEN + fr.window_update(1, 0), MALFORMED),
    Case("6.9", "WINDOW_UPDATE by 0 on the connection", fr.window_update(0, 0), PROTOCOL),
    Case("6.9", "WINDOW_UPDATE of the wrong size", fr.frame(fr.WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    Case("6.9", "WINDOW_UPDATE with its reserved bit", fr.window_update(0, 1 << 31 | 5), TOLERATED),
    Case("6.9.1", "a stream window over 2**31-1", _OPEN + fr.window_update(1, 2**31 - 1),
         stream(fr.FLOW_CONTROL_ERROR)),
    Case("6.9.1", "a connection window over 2**31-1", fr.window_update(0, 2**31 - 1), FLOW),
    Case("6.9.1", "DATA over the stream's window", _OPEN + b"".join(data(1, _LONG[1:]) for _ in range(4)), FLOW),
    Case("6.9.2", "a setting lifts a stream's window over 2**31-1",
         _OPEN + fr.window_update(1, 2**31 - 65_536) + setting(fr.INITIAL_WINDOW_SIZE, 65_536), FLOW),
    Case("6.10", "CONTINUATION on stream 0", fr.frame(fr.CONTINUATION, 4, 0, b""), PROTOCOL),
    Case("6.10", "CONTINUATION after END_HEADERS", _HALF + _REST, PROTOCOL),
    Case("7", "an unknown error code", _OPEN + fr.rst_stream(1, 0xBABA), TOLERATED),
]  # fmt: skip

_CL5 = (b"content-length", b"5")

MESSAGES = [
    Case("8.1", "trailers without END_STREAM", _OPEN + headers(1, [(b"a", b"b")], end=False), MALFORMED),
    Case("8.1", "trailers", _OPEN + data(1, b"x") + headers(1, [(b"a", b"b")]), TOLERATED),
    Case("8.1", "DATA before the response", data(1, b"x"), MALFORMED, "client"),
    Case("8.1", "a second final response", headers(1, OK, end=False) + headers(1, OK), MALFORMED, "client"),
    Case("8.1", "an interim response with END_STREAM", headers(1, [(b":status", b"103")]), MALFORMED, "client"),
    Case("8.1", "interim responses before the final one",
         headers(1, [(b":status", b"103")], end=False) * 2 + headers(1, OK), TOLERATED, "client"),
    Case("8.1", "a final response while the request goes on", headers(3, OK), TOLERATED, "client"),
    Case("8.1.1", "less DATA than content-length", asked(_CL5, base=POST, end=False) + data(1, b"abc", end=True),
         MALFORMED),
    Case("8.1.1", "more DATA than content-length", asked(_CL5, base=POST, end=False) + data(1, b"abcdef"), MALFORMED),
    Case("8.1.1", "content-length without DATA", asked(_CL5, base=POST), MALFORMED),
    Case("8.1.1", "trailers before content-length is reached",
         asked(_CL5, base=POST, end=False) + data(1, b"abc") + headers(1, [(b"a", b"b")]), MALFORMED),
    Case("8.1.1", "content-length twice", asked(_CL5, _CL5, base=POST, end=False), MALFORMED),
    Case("8.1.1", "content-length that is no number", asked((b"content-length", b"+5"), base=POST, end=False),
         MALFORMED),
    Case("8.1.1", "a response shorter than its content-length", answered(_CL5, end=False) + data(1, b"abc", end=True),
         MALFORMED, "client"),
    Case("8.1.1", "a response without its content", answered(_CL5), MALFORMED, "client"),
    Case("8.1.1", "304 with a content-length", headers(1, [(b":status", b"304"), _CL5]), TOLERATED, "client"),
    Case("8.2.1", "an upper-case name", asked((b"X-A", b"b")), MALFORMED),
    Case("8.2.1", "an empty name", asked((b"", b"b")), MALFORMED),
    Case("8.2.1", "a control character in a name", asked((b"x\0a", b"b")), MALFORMED),
    Case("8.2.1", "a colon in a name", asked((b"x:a", b"b")), MALFORMED),
    Case("8.2.1", "a byte over 7f in a name", asked((b"x\xffa", b"b")), MALFORMED),
    Case("8.2.1", "NUL in a value", asked((b"x-a", b"b\0c")), MALFORMED),
    Case("8.2.1", "CR in a value", asked((b"x-a", b"b\rc")), MALFORMED),
    Case("8.2.1", "LF in a value", asked((b"x-a", b"b\nc")), MALFORMED),
    Case("8.2.1", "a value that begins with a space", asked((b"x-a", b" b")), MALFORMED),
    Case("8.2.1", "a value that ends with a tab", asked((b"x-a", b"b\t")), MALFORMED),
    Case("8.2.1", "an upper-case name in a response", answered((b"X-A", b"b")), MALFORMED, "client"),
    Case("8.2.1", "LF in a response's value", answered((b"x-a", b"b\nc")), MALFORMED, "client"),
    Case("8.2.1", "an upper-case name in trailers", _OPEN + headers(1, [(b"A", b"b")]), MALFORMED),
    *(
        Case("8.2.2", f"{name.decode()} is of the connection", asked((name, b"x")), MALFORMED)
        for name in (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
    ),
    Case("8.2.2", "te other than trailers", asked((b"te", b"gzip")), MALFORMED),
    Case("8.2.2", "te trailers", asked((b"te", b"trailers")), TOLERATED),
    Case("8.2.2", "connection in a response", answered((b"connection", b"close")), MALFORMED, "client"),
    Case("8.2.3", "cookie crumbs", asked((b"cookie", b"a=1"), (b"cookie", b"b=2")), TOLERATED),
    Case("8.3", "an unknown pseudo-field", headers(1, [*GET, (b":other", b"x")]), MALFORMED),
    Case("8.3", "a pseudo-field after a regular one", headers(1, [*GET[:3], (b"x", b"y"), GET[3]]), MALFORMED),
    Case("8.3", "a pseudo-field in trailers", _OPEN + headers(1, [(b":path", b"/")]), MALFORMED),
    Case("8.3", "a response's pseudo-field in a request", headers(1, [*GET, (b":status", b"200")]), MALFORMED),
    Case("8.3", "a pseudo-field twice", headers(1, [*GET, (b":path", b"/")]), MALFORMED),
    Case("8.3", "a request's pseudo-field in a response", headers(1, [*OK, (b":path", b"/")]), MALFORMED, "client"),
    *(
        Case("8.3.1", f"no {GET[n][0].decode()}", headers(1, [*GET[:n], *GET[n + 1 :]]), MALFORMED)
        for n in range(4)
    ),
    Case("8.3.1", "an empty :path", headers(1, [*GET[:2], (b":path", b""), GET[3]]), MALFORMED),
    Case("8.3.1", "a :path in absolute-form", headers(1, [*GET[:2], (b":path", b"http://b/"), GET[3]]), MALFORMED),
    Case("8.3.1", ":path of * but not OPTIONS", headers(1, [*GET[:2], (b":path", b"*"), GET[3]]), MALFORMED),
    Case("8.3.1", "OPTIONS *", headers(1, [(b":method", b"OPTIONS"), GET[1], (b":path", b"*"), GET[3]]), TOLERATED),
    Case("8.3.1", "userinfo in :authority", headers(1, [*GET[:3], (b":authority", b"u@a")]), MALFORMED),
    Case("8.3.1", "Host other than :authority", asked((b"host", b"b.example")), MALFORMED),
    Case("8.3.1", "Host in the place of :authority", headers(1, [*GET[:3], (b"host", b"a")]), TOLERATED),
    Case("8.3.2", "no :status", headers(1, [(b"a", b"b")]), MALFORMED, "client"),
    Case("8.3.2", ":status that is no number", headers(1, [(b":status", b"2xx")]), MALFORMED, "client"),
    Case("8.5", "extended CONNECT", headers(1, CONNECT, end=False) + data(1, b"x", end=True), TOLERATED),
    *(
        Case("8.5", f"extended CONNECT without {name.decode()}",
             headers(1, [f for f in CONNECT if f[0] != name], end=False), MALFORMED)
        for name in (b":method", b":scheme", b":path", b":authority")
    ),
    Case("8.5", ":protocol with a method other than CONNECT", headers(1, [*GET, (b":protocol", b"websocket")]),
         MALFORMED),
    Case("8.5", "extended CONNECT with content-length", headers(1, [*CONNECT, _CL5], end=False), MALFORMED),
    Case("8.5", "fields after the DATA of a tunnel",
         headers(1, CONNECT, end=False) + data(1, b"x") + headers(1, [(b"a", b"b")]), MALFORMED),
    Case("8.6", "101", headers(1, [(b":status", b"101")], end=False), MALFORMED, "client"),
]  # fmt: skip

CASES = [*FRAMING, *STATES, *FRAMES, *MESSAGES]
