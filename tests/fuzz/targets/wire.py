"""What is read beside messages: first bytes, Huffman strings, certificates, a worker's pipe, fields with a meaning."""

import random
from urllib.parse import unquote_to_bytes

import h11
import hpack.exceptions
import msgspec
from hpack.huffman_table import decode_huffman

from milliroute.proxy import ipc
from milliroute.proxy.codec import huffman
from milliroute.proxy.codec.h1 import FAST
from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.codec.rules import is_about_clients
from milliroute.proxy.config import Forwarding
from milliroute.proxy.downstream import detection
from milliroute.proxy.errors import HpackError, LoopDetected
from milliroute.proxy.guard import paths
from milliroute.proxy.guard.identity import IdentityError, identities
from milliroute.proxy.heads import rpc
from milliroute.proxy.heads.forwarding import Forwarder
from milliroute.proxy.heads.forwarding_h1 import Introduction
from milliroute.proxy.message import RequestHead
from milliroute.proxy.routing import sticky
from tests.fuzz.target import Target, check_said
from tests.proxy.codec.feeding import Accepted, cuttings, outcome

_CLIENT = "10.0.0.9"
_TRUSTING = Forwarder(Forwarding(is_on=True, trusted=("10.0.0.0/8",), via="milliroute"))
_DISTRUSTING = Forwarder(Forwarding(is_on=True, trusted=("192.0.2.0/24",), via="milliroute"))
_HELLO = bytes.fromhex("16030100750100007103033a") + bytes(32) + bytes.fromhex("00000813021303130100ff01000020")
_FIRST = (
    b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    _HELLO,
    b"SSH-2.0-x\r\n",
    b"EHLO a\r\n",
    b"get /\r\n",
    b"\xa0GET / HTTP/1.1\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"\0\x01\x02 HTTP/1.1\n",
    b"HELP\n",
    b"CONNECT a:1 HTTP/1.0\r\n\r\n",
    b" \t\r\nPOST",
    b"A" * 300 + b" HTTP/1.1\n",
    b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
    b"\r\n\r\n\0\r\nQUIT\n",
)


def _first_bytes(data: bytes) -> None:
    """A verdict holds whatever follows and however it was cut; what h11 reads as a request is never opaque."""
    for verdict in (detection.is_opaque, detection.is_h2_preface):
        settled: bool | None = None
        for end in range(min(len(data), 400) + 1):
            now = verdict(data[:end])
            assert settled is None or now is settled, (verdict, end)
            if now is not None and end and verdict is detection.is_opaque and verdict(data[: end - 1]) is None:
                assert detection.may_be_opaque(data[end - 1 : end]) or not now, end
            settled = now
    if _is_request(data):
        assert detection.is_opaque(data) is not True
    ends = {_line_end(cut) for cut in cuttings(random.Random(len(data)), data)}
    assert len(ends) == 1, ends


def _is_request(data: bytes) -> bool:
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    try:
        return isinstance(server.next_event(), h11.Request)
    except h11.RemoteProtocolError:
        return False


def _line_end(pieces: list[bytes]) -> bool | None:
    line = detection.FirstLine()
    for piece in pieces:
        if (found := line.feed(piece)) is not None:
            return found
    return None


def _huffman(data: bytes) -> None:
    """Both decoders and the library read the same, and it is written the same again; the bytes as text too."""
    assert huffman.decode(huffman.encode(data)) == data
    found: list[bytes | None] = []
    for decode in (huffman.decode, huffman.decode_plainly):
        try:
            found.append(decode(data))
        except HpackError:
            found.append(None)
    try:
        found.append(decode_huffman(data))
    except hpack.exceptions.HPACKDecodingError:
        found.append(None)
    assert found[0] == found[1] == found[2], found
    assert found[0] is None or huffman.encode(found[0]) == data


def _timeout(data: bytes) -> None:
    """As the specification of gRPC has it: up to 8 digits and a unit."""
    found = rpc.timeout_s([Field(b"a", b"b"), Field(b"grpc-timeout", data)])
    digits, unit = data[:-1], data[-1:]
    if 1 <= len(digits) <= 8 and set(digits) <= set(b"0123456789") and unit in (b"H", b"M", b"S", b"m", b"u", b"n"):
        assert found is not None
        assert 0 <= found <= 99_999_999 * 3600
    else:
        assert found is None


def _pipe(data: bytes) -> None:
    """Frames are the same however they are cut, and hold what either end takes or a documented error."""
    whole = _frames([data])
    for pieces in cuttings(random.Random(len(data)), data):
        assert _frames(pieces) == whole
    for frame in whole[0]:
        for decode in (ipc.decode_up, ipc.decode_down):
            try:
                message = decode(frame)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            assert list(ipc.FrameBuffer().feed(ipc.encode(message)))


def _frames(pieces: list[bytes]) -> tuple[list[bytes], bool]:
    """And whether it was too much in the end."""
    buffer, found = ipc.FrameBuffer(), list[bytes]()
    for piece in pieces:
        try:
            found.extend(buffer.feed(piece))
        except ValueError:
            return found, True
    return found, False


def _cookie(data: bytes) -> None:
    value = sticky.cookie_value(data, b"id")
    if value is not None:
        assert value in data
        assert b";" not in value
        assert b"id" in data


def _path(data: bytes) -> None:
    """In normal form all readings are one: decoded or not, once or twice, and with the dots resolved."""
    if not paths.is_normal(data):
        return
    path = data.partition(b"?")[0]
    read = unquote_to_bytes(path)
    assert unquote_to_bytes(read) == read
    assert read.count(b"/") == path.count(b"/")
    assert not any(piece in read for piece in (b"//", b"\\", b";", b"\0", b"\r", b"\n"))
    assert not {b".", b".."} & set(read.split(b"/"))


def _forwarded(data: bytes) -> None:
    """Fields of a request: whatever they say, one x-forwarded-for goes on, and of a stranger only the truth."""
    head_bytes = b"GET /a HTTP/1.1\r\nhost: reviews\r\n" + data + b"\r\n\r\n"
    for forwarder in (_TRUSTING, _DISTRUSTING):
        read = outcome(lambda: FAST.request_telling(head_bytes))
        if not isinstance(read, Accepted) or read.end != len(head_bytes):
            return
        head = read.head
        assert isinstance(head, RequestHead)
        try:
            Introduction(forwarder, _CLIENT, is_https=False).rewrite(head)
        except LoopDetected:
            continue
        fields = _read_again(head.wire)
        (chain,) = [value for name, value in fields if name == b"x-forwarded-for"]
        assert chain.split(b", ")[-1] == _CLIENT.encode()
        if forwarder is _DISTRUSTING:
            said = [(name, value) for name, value in fields if is_about_clients(name)]
            told = {b"for": _CLIENT.encode(), b"proto": b"http", b"host": head.host}
            assert sorted(said) == sorted((b"x-forwarded-" + name, value) for name, value in told.items())


def _read_again(wire: bytes) -> list[tuple[bytes, bytes]]:
    server = h11.Connection(h11.SERVER)
    server.receive_data(wire)
    event = server.next_event()
    assert isinstance(event, h11.Request), event
    return [(bytes(name), bytes(value)) for name, value in event.headers]


def _certificate(data: bytes) -> None:
    """Names that stand in it, at least one, or an error that says why."""
    try:
        names = identities(data)
    except IdentityError as error:
        check_said(error)
        return
    assert names
    for name in names:
        assert name.encode("latin-1").lower() in data.lower()
        assert name.isprintable()
        assert "*" not in name


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = bytes((len(content),)) if len(content) < 0x80 else b"\x82" + len(content).to_bytes(2, "big")
    return bytes((tag,)) + length + content


def _extension(oid: bytes, value: bytes) -> bytes:
    return _der(0x30, _der(0x06, oid), _der(0x01, b"\xff"), _der(0x04, value))


def _certificates() -> list[bytes]:
    """As much of certificates as is looked at (RFC 5280 section 4.1)."""
    spiffe, dns = _der(0x86, b"spiffe://shop.example/ns/web"), _der(0x82, b"web.example")
    names = ([spiffe], [dns], [spiffe, dns], [dns, _der(0x82, b"*.example")], [_der(0x87, b"\x0a\0\0\1")])
    found = [_extension(b"\x55\x1d\x11", _der(0x30, *some)) for some in names]
    authority = _extension(b"\x55\x1d\x13", _der(0x30, _der(0x01, b"\xff")))
    usage = _extension(b"\x55\x1d\x0f", _der(0x03, b"\x05\xa0"))
    rows = [[one] for one in found] + [[found[2], usage], [found[0], authority], [usage]]
    return [_der(0x30, _der(0x30, _der(0x02, b"\1"), _der(0xA3, _der(0x30, *row)))) for row in rows]


def _messages() -> list[bytes]:
    down = (
        ipc.Alias("reviews", "reviews.default"),
        ipc.Update("k", "e", 3, None),
        ipc.Forget("reviews"),
        ipc.Drain(1.5),
    )
    up = (ipc.Watch("reviews"), ipc.Ready(7), ipc.Applied("k", "e", 3, 9, "no"), ipc.Stats([], [], []))
    rows = [ipc.encode(message) for message in (*down, *up)]
    return [*rows, b"".join(rows), b"\0\0\0\0", rows[0][:-1], b"\xff\xff\xff\xff" + rows[0]]


_CODED = [huffman.encode(text) for text in (b"", b"a", b"www.example.com", bytes(range(256)), b"\\~")]
_PATHS = [b"/", b"/a/b?c=/../d", b"/a%20b/", b"/.well-known/x", b"/a/%2e%2e/b", b"/%c3%a9", b"*", b"//a", b"/a;b/.."]
_ABOUT_CLIENTS = [
    b"x-forwarded-for: 192.0.2.1",
    b"X-Forwarded-For: a\r\nx_forwarded_for: b",
    b'forwarded: for=1.2.3.4;host="a,b"',
    b"via: 1.1 milliroute, 1.1 a\r\nVia: 2 b",
    b"x-real-ip: 1\r\nx-forwarded-proto: https\r\nx-forwarded-host: h",
    b"a: b",
]

TARGETS = (
    Target(
        "first-bytes",
        lambda: list(_FIRST),
        _first_bytes,
        (b" HTTP/1.1\r\n", b"GET ", b"\x16\x03\x01", b"HTTP/", b"\x85", b"\xa0", b"\x0b", b"PRI * "),
    ),
    Target(
        "huffman",
        lambda: [*_CODED, b"\xff\xff\xff\xff", b"\x1f", b"/static/main.css", bytes(range(0, 256, 7))],
        _huffman,
        (b"\x7f", b"\xfe"),
    ),
    Target(
        "grpc-timeout",
        lambda: [b"1S", b"99999999H", b"100m", b"0n", b"5u", b"7M", b"", b"S"],
        _timeout,
        (b"H", b"m", b" 1", b"\n", b"\xd9\xa5", b"+1", b"1_0"),
    ),
    Target("pipe", _messages, _pipe, (b"\0\0\0\1", b"\x81\xa4type", b"\0\0\1\0", b"\xc0", b"\x01\0\0\0")),
    Target(
        "certificate",
        _certificates,
        _certificate,
        (b"\x30\x80", b"\x82\xff\xff", b"\x86\x03a/b", b"\x55\x1d\x11", b"\x84\xff\xff\xff\xff", b"spiffe://", b"/../"),
    ),
    Target(
        "cookie",
        lambda: [b"id=1", b"a=b; id=2; c=d", b'id="q"', b"id", b"ID=1;id = 3", b"id=;id=2"],
        _cookie,
        (b"id=", b"; ", b'"', b"="),
    ),
    Target(
        "path",
        lambda: [*_PATHS, b"http://a/b"],
        _path,
        (b"/..", b"%2f", b"%25", b"/.", b"//", b"\\", b"%c0%af", b"?", b"#", b";a=b", b"%00"),
    ),
    Target(
        "forwarded",
        lambda: list(_ABOUT_CLIENTS),
        _forwarded,
        (b"\r\nx-forwarded-for: ", b"forwarded: ", b"via: ", b"1.1 milliroute, ", b"_", b",", b'"', b"\r\n "),
    ),
)
