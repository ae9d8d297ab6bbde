"""What is asked of every peer over HTTP/2: scenarios, and fields that are new in every request. Pure.

The fields are those of `scenario`, or what a gRPC client sends; stable ones go by index as nghttp2 sends them. Path,
x-request-id and traceparent are new in every request; the latter two enter the table, as in nghttp2, Go and Java, and
so push the stable ones out of it every 20 requests or so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from benchmarks.hpack_plan import Plan, Unique, literal
from benchmarks.scenario import MASK_64, MASK_128, SCRAMBLE, Protocol

Kind = Literal["small", "download", "upload", "unary", "stream"]

_MIB = 1024 * 1024
# RFC 9113 section 4.2: what a frame may hold that nobody has negotiated.
_FRAME_BYTES = 16_384
GRPC_MESSAGE_BYTES = 100
# One byte that says "not compressed" and four of length go before each message.
_MESSAGE = b"\0" + GRPC_MESSAGE_BYTES.to_bytes(4, "big") + b"m" * GRPC_MESSAGE_BYTES
STREAM_MESSAGES = 1000


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one request of a kind brings and gets, in bytes of body; the kind is its first path segment."""

    kind: Kind
    upload_bytes: int
    answer_bytes: int
    is_grpc: bool = False


SMALL = Exchange("small", 0, 512)
DOWNLOAD = Exchange("download", 0, _MIB)
UPLOAD = Exchange("upload", _MIB, 512)
UNARY = Exchange("unary", len(_MESSAGE), len(_MESSAGE), is_grpc=True)
STREAM = Exchange("stream", len(_MESSAGE), len(_MESSAGE) * STREAM_MESSAGES, is_grpc=True)
EXCHANGES = (SMALL, DOWNLOAD, UPLOAD, UNARY, STREAM)


@dataclass(frozen=True, slots=True)
class H2Scenario:
    """A row of the benchmark over HTTP/2; `effort` as in Scenario."""

    name: str
    title: str
    connections: int
    streams: int
    exchange: Exchange
    effort: float = 1.0

    @property
    def protocol(self) -> Protocol:
        """What the two hops speak."""
        return "grpc" if self.exchange.is_grpc else "h2"

    @property
    def concurrency(self) -> int:
        """Requests under way at once."""
        return self.connections * self.streams


H2_SCENARIOS = (
    H2Scenario("h2-16", "HTTP/2 GET, 512 B answer, 4 connections x 16 streams", 4, 16, SMALL),
    H2Scenario("h2-1", "HTTP/2 GET, 512 B answer, 8 connections x 1 stream", 8, 1, SMALL, effort=0.5),
    H2Scenario("grpc-unary", "gRPC unary, 100 B each way, 4 connections x 16 streams", 4, 16, UNARY, effort=0.7),
    H2Scenario("grpc-stream", "gRPC stream of 1000 messages of 100 B, 4 x 4; per stream", 4, 4, STREAM, effort=0.01),
    H2Scenario("h2-upload", "HTTP/2 POST of 1 MiB, 4 connections x 1 stream", 4, 1, UPLOAD, effort=0.02),
    H2Scenario("h2-download", "HTTP/2 GET, 1 MiB answer, 4 connections x 1 stream", 4, 1, DOWNLOAD, effort=0.02),
)

_AUTHORITY = (b":authority", b"shop.example.com")
# As long as `unique_maker` makes them.
_NEW = (Unique(b"x-request-id", 32), Unique(b"traceparent", 55))


def fields(exchange: Exchange) -> Plan:
    """Ten fields, `:authority` one of them, or eleven with a content-length; and three pseudo-header fields."""
    if exchange.is_grpc:
        return (
            (b":method", b"POST"), (b":scheme", b"http"), Unique(b":path"), _AUTHORITY,
            (b"content-type", b"application/grpc"), (b"user-agent", b"grpc-go/1.64.0"), (b"te", b"trailers"),
            (b"grpc-accept-encoding", b"gzip"), (b"grpc-timeout", b"20S"),
            (b"x-forwarded-for", b"203.0.113.24"), (b"x-tenant", b"shop-eu-1"), *_NEW,
        )  # fmt: skip
    has_body = exchange.upload_bytes > 0
    length = (b"content-length", b"%d" % exchange.upload_bytes)
    last = (
        ((b"content-type", b"application/json"), length)
        if has_body
        else ((b"referer", b"https://shop.example.com/orders"),)
    )
    return (
        (b":method", b"POST" if has_body else b"GET"), (b":scheme", b"http"), Unique(b":path"), _AUTHORITY,
        (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
                        b"Chrome/126.0.0.0 Safari/537.36"),
        (b"accept", b"application/json, text/plain, */*"), (b"accept-encoding", b"gzip, deflate, br, zstd"),
        (b"accept-language", b"en-GB,en;q=0.9,de;q=0.7"),
        (b"cookie", b"session=9f0c2a7be1d34c55a2b1; theme=dark; consent=v2.1-all"),
        (b"x-forwarded-for", b"203.0.113.24"), *last, *_NEW,
    )  # fmt: skip


Values = tuple[bytes, bytes, bytes]


def unique_maker(exchange: Exchange, seed: int) -> Callable[[int], Values]:
    """From a request's number to its path, x-request-id and traceparent, each as a string literal."""
    path = b"/%b/Get%%016x" if exchange.is_grpc else b"/%b/v1/orders/%%016x?page=7"
    path %= exchange.kind.encode()

    def make(number: int) -> Values:
        trace = (seed + number * SCRAMBLE) & MASK_128
        id_64 = trace & MASK_64
        return literal(path % id_64), literal(b"%032x" % trace), literal(b"00-%032x-%016x-01" % (trace, id_64))

    return make


def grain(exchange: Exchange, size: int) -> bytes:
    """What goes into each DATA frame of a body of `size` bytes: a whole gRPC message, as servers send it, or 16 KiB."""
    return _MESSAGE if exchange.is_grpc else b"b" * min(size, _FRAME_BYTES)
