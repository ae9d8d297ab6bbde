"""What is asked of every peer: scenarios, and the bytes of their requests, no two of which are alike. Pure.

A scenario knows nothing of peers and a peer nothing of scenarios.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

# What a hop may speak; gRPC is HTTP/2 with trailers, which a peer may be made for.
Protocol = Literal["h1", "h2", "grpc"]
Answer = Literal["small", "chunked", "large"]

# What the backends answer for each first path segment: bytes of body.
BODY_BYTES: dict[Answer, int] = {"small": 512, "chunked": 8192, "large": 65536}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row of the benchmark. `effort` scales the number of requests: what takes long per request is sent less."""

    name: str
    title: str
    connections: int
    answer: Answer
    upload_bytes: int = 0
    effort: float = 1.0

    @property
    def protocol(self) -> Protocol:
        """What the two hops speak."""
        return "h1"

    @property
    def concurrency(self) -> int:
        """Requests under way at once."""
        return self.connections

    @property
    def answer_bytes(self) -> int:
        """Body bytes of each right answer."""
        return BODY_BYTES[self.answer]


SCENARIOS = (
    Scenario("get", "GET, 512 B answer, 32 connections", 32, "small"),
    Scenario("post", "POST of 1 KiB, 512 B answer, 32 connections", 32, "small", upload_bytes=1024, effort=0.5),
    Scenario("chunked", "GET, 8 KiB answer in 8 chunks, 32 connections", 32, "chunked", effort=0.4),
    Scenario("large", "GET, 64 KiB answer, 32 connections", 32, "large", effort=0.2),
    Scenario("sequential", "GET, 512 B answer, 1 connection, one request at a time", 1, "small", effort=0.2),
)

# Ten fields as a browser behind a mesh's ingress sends them. Path, x-request-id and traceparent are new in every
# request: a proxy that remembers whole heads must gain nothing here.
_HEAD = (
    "{method} /{answer}/v1/orders/%(id)016x?page=%(number)d HTTP/1.1\r\n"
    "host: shop.example.com\r\n"
    "user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36\r\n"
    "accept: application/json, text/plain, */*\r\n"
    "accept-encoding: gzip, deflate, br, zstd\r\n"
    "accept-language: en-GB,en;q=0.9,de;q=0.7\r\n"
    "cookie: session=9f0c2a7be1d34c55a2b1; theme=dark; consent=v2.1-all\r\n"
    "x-request-id: %(trace)032x\r\n"
    "traceparent: 00-%(trace)032x-%(id)016x-01\r\n"
    "x-forwarded-for: 203.0.113.24\r\n"
    "{last}\r\n"
)
_GET_LAST = "referer: https://shop.example.com/orders\r\n"
_POST_LAST = "content-type: application/json\r\ncontent-length: {length}\r\n"

# Odd 128-bit multiplier (2^128 over the golden ratio): neighbouring numbers get ids that differ in every digit.
SCRAMBLE = 0x9E3779B97F4A7C15F39CC0605CEDC835
MASK_64 = (1 << 64) - 1
MASK_128 = (1 << 128) - 1


def request_maker(scenario: Scenario, seed: int) -> Callable[[int], bytes]:
    """A function from a request's number to its bytes; distinct numbers or seeds (128 bits) give distinct ids."""
    is_upload = scenario.upload_bytes > 0
    last = _POST_LAST.format(length=scenario.upload_bytes) if is_upload else _GET_LAST
    head = _HEAD.format(method="POST" if is_upload else "GET", answer=scenario.answer, last=last).encode()
    template = head + b"x" * scenario.upload_bytes

    def make(number: int) -> bytes:
        trace = (seed + number * SCRAMBLE) & MASK_128
        return template % {b"id": trace & MASK_64, b"trace": trace, b"number": number}

    return make
