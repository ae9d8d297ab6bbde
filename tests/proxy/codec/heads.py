"""Seeded generation of request and response heads: well-formed by the grammar, then bent in the ways attackers do.

In comes a random source, out comes a head that is mostly plain, often odd and sometimes plainly wrong. Faster than
hypothesis by two orders, so that the differential test reaches its count; the shapes come from the smuggling classes
S1 to S22 and R1 to R4.
"""

import random
from collections.abc import Callable

METHODS = (b"GET", b"GET", b"GET", b"POST", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"PATCH", b"get", b"X!#")
TARGETS = (
    b"/", b"/", b"/a/b?c=d", b"/%2e%2e/x", b'/"<>\\^`{|}', b"//a", b"/?", b"*", b"http://b.example/x", b"HTTP://b:80?q",
    b"http://u@b/", b"http:///x", b"/a#b", b"a", b"", b"b:443", b"/\xc3\xa9", b"/" + b"x" * 8191, b"/" + b"x" * 8192,
)  # fmt: skip
PLAIN_FIELDS = (
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)", b"Accept: text/html,*/*;q=0.8", b"Accept-Encoding: gzip, br",
    b"Cookie: a=b; c=d", b"X-Request-Id: 7f3f0a52", b"traceparent: 00-0af7651916cd43dd-b7ad6b7169203331-01",
    b"X-Empty:", b"X-Space:  \t a \t b \t ", b"X-Latin: caf\xe9 \xff\x80", b"content_length: 7",
    b"Date: Mon, 01 Jan 2024 00:00:00 GMT", b"Content-Type: text/plain", b"X-Colon: a:b",
    b"x-a: transfer-encoding: chunked", b"!#$%&'*+-.^_`|~: odd",
)  # fmt: skip
LENGTHS = (
    b"Content-Length: 5", b"content-length:0", b"Content-Length: 12", b"CONTENT-LENGTH: 999999999999999999",
    b"Content-Length: 05", b"Content-Length: 5, 5", b"Content-Length: +5", b"Content-Length: -1", b"Content-Length:",
    b"Content-Length: 0x10", b"Content-Length: 1_0", b"Content-Length: 5;", b"Content-Length: 1000000000000000000",
    b"Content-Length:\t5", b"Content-Length: 5 ", b"Content-Length : 5", b"Content-Length: \xb2",
    b" Content-Length: 5", b"Content-Length: 00", b"Content-Length: 5 5",
)  # fmt: skip
CODINGS = (
    b"Transfer-Encoding: chunked", b"transfer-encoding: chunked", b"Transfer-Encoding: CHUNKED",
    b"Transfer-Encoding:\tchunked", b"Transfer-Encoding:chunked", b"Transfer-Encoding: chunked ",
    b"Transfer-Encoding: ,chunked", b"Transfer-Encoding: chunked,", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: \xa0chunked", b'Transfer-Encoding: "chunked"', b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding:",
)  # fmt: skip
HOP_FIELDS = (
    b"Connection: close", b"Connection: keep-alive", b"Connection: X-A, x-request-id",
    b"Connection: host, content-length", b"Connection: upgrade\r\nUpgrade: websocket",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c", b"Connection: ,", b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive", b"TE: trailers", b"Trailer: X-Sum", b"l5d-dst-override: a", b"L5D_client_id: me",
    b"HTTP2-Settings: AAMAAABk", b"Upgrade: websocket", b"Connection: expect, cookie", b"Expect: 100-continue",
    b"Expect: 100-Continue", b"Expect: 200-ok", b"l5d-x:",
)  # fmt: skip
HOSTS = (
    b"Host: a", b"Host: a", b"Host: reviews.default:9080", b"host: [::1]:80", b"HOST:a", b"Host:  A.Example ",
    b"Host: a@b", b"Host: a/b", b"Host: a, b", b"Host: a b", b"Host:", b"Host: a:999999", b"Host: a\r\nHost: a",
    b"X-No-Host: a",
)  # fmt: skip
VERSIONS = (b"HTTP/1.0",) * 4 + (b"HTTP/1.2", b"http/1.1", b"HTTP/9.9", b"HTTP/2.0", b"HTTP/1.10")
STATUSES = (
    b"200",
    b"200",
    b"200",
    b"204",
    b"304",
    b"404",
    b"500",
    b"100",
    b"103",
    b"101",
    b"205",
    b"599",
    b"600",
    b"099",
)
SPECIAL = (
    b"\r", b"\n", b"\r\n", b"\x00", b"\t", b" ", b":", b",", b";", b"\x01", b"\x0b", b"\x0c", b"\x1f", b"\x7f", b"\x80",
    b"\x85", b"\xa0", b"\xff", b"0", b"a", b"\r\n\r\n",
)  # fmt: skip


def request_head(rng: random.Random) -> bytes:
    """One head in three is plain, the others carry one to three oddities; a few end too early or too late."""
    is_plain = rng.random() < 0.3
    version = b"HTTP/1.1" if is_plain else _one_in(rng, 6, VERSIONS, b"HTTP/1.1")
    method = rng.choice(METHODS[:10]) if is_plain else _one_in(rng, 40, (b"CONNECT", b"", b"G(T"), rng.choice(METHODS))
    target = rng.choice(TARGETS[:7]) if is_plain else _one_in(rng, 4, TARGETS, b"/p")
    host = rng.choice(HOSTS[:5]) if is_plain else _one_in(rng, 5, HOSTS, b"Host: a")
    empty_lines = b"" if is_plain else _one_in(rng, 10, (b"\r\n", b"\r\n\r\n", b"\n", b"\r\n" * 5), b"")
    return empty_lines + _finished(rng, method + b" " + target + b" " + version, [host], is_plain)


def response_head(rng: random.Random) -> bytes:
    is_plain = rng.random() < 0.3
    version = b"HTTP/1.1" if is_plain else _one_in(rng, 6, VERSIONS, b"HTTP/1.1")
    status = rng.choice(STATUSES[:7]) if is_plain else rng.choice(STATUSES)
    reason = b" OK" if is_plain else _one_in(rng, 6, (b"", b" ", b" \t", b" caf\xe9", b"  x ", b"OK"), b" OK")
    return _finished(rng, version + b" " + status + reason, [], is_plain)


def _finished(rng: random.Random, start: bytes, lines: list[bytes], is_plain: bool) -> bytes:
    lines += rng.sample(PLAIN_FIELDS, rng.randrange(0, 6))
    framing = rng.random()
    if framing < 0.3:
        lines.append(LENGTHS[0] if is_plain else rng.choice(LENGTHS))
    elif framing < 0.55:
        lines.append(CODINGS[0] if is_plain else rng.choice(CODINGS))
    if not is_plain:
        lines += rng.sample(HOP_FIELDS, rng.choice((0, 0, 1, 1, 2)))
    rng.shuffle(lines)
    for _ in range(0 if is_plain else rng.choice((0, 0, 0, 1, 2))):
        rng.choice(_LINE_BENDS)(rng, lines)
    head = b"\r\n".join([start, *lines, b"", b""])
    if not is_plain and rng.random() < 0.25:
        head = bent(rng, head)
    return head + rng.choice((b"", b"", b"GET /next HTTP/1.1\r\n", b"\x00\r\n\r\n"))


def bent(rng: random.Random, data: bytes) -> bytes:
    """One byte (or line end) put in, taken out or replaced."""
    at = rng.randrange(len(data)) if data else 0
    return data[:at] + rng.choice((b"", *SPECIAL)) + data[at + rng.randrange(2) :]


def _one_in(rng: random.Random, number: int, rare: tuple[bytes, ...], usual: bytes) -> bytes:
    return rng.choice(rare) if rng.randrange(number) == 0 else usual


def _double(rng: random.Random, lines: list[bytes]) -> None:
    if lines:
        lines.append(rng.choice(lines))


def _swap_case(rng: random.Random, lines: list[bytes]) -> None:
    if lines:
        at = rng.randrange(len(lines))
        lines[at] = lines[at].swapcase()


def _fold(rng: random.Random, lines: list[bytes]) -> None:
    if lines:
        at = rng.randrange(len(lines))
        lines[at] = lines[at].replace(b" ", b"\r\n ", 1)


def _merge(rng: random.Random, lines: list[bytes]) -> None:
    if len(lines) > 1:
        at = rng.randrange(len(lines) - 1)
        lines[at : at + 2] = [lines[at] + rng.choice((b"", b"\n", b"\r", b", ")) + lines[at + 1]]


def _split(rng: random.Random, lines: list[bytes]) -> None:
    if lines:
        at = rng.randrange(len(lines))
        cut = rng.randrange(len(lines[at]) + 1)
        lines[at : at + 1] = [lines[at][:cut], lines[at][cut:]]


def _many(rng: random.Random, lines: list[bytes]) -> None:
    """About as many fields as are allowed."""
    lines += [b"x: y"] * max(0, rng.randrange(98, 103) - len(lines))


def _framing(rng: random.Random, lines: list[bytes]) -> None:
    lines.append(rng.choice(LENGTHS + CODINGS))


_LINE_BENDS: tuple[Callable[[random.Random, list[bytes]], None], ...] = (
    _double, _double, _swap_case, _swap_case, _swap_case, _fold, _merge, _split, _many, _framing,
)  # fmt: skip
