"""The HTTP/2 server behind every proxy: `python -m benchmarks.backend_h2 NAME`; as `benchmarks.backend`, over h2c.

The first path segment says what to answer. A stream is answered once it has ended, and what it brought is counted: too
much or too little is answered with 400. Every answer carries eight realistic fields, one of them (etag) new each time,
and `x-backend` with the NAME; gRPC answers end with trailers.
"""

import os
import sys
from dataclasses import dataclass

import uvloop

from benchmarks.backend import announce_port, serve, until_stdin_ends
from benchmarks.h2_end import H2End
from benchmarks.hpack_items import Item, ItemReader
from benchmarks.hpack_plan import Compression, Plan, Unique, literal
from benchmarks.scenario_h2 import EXCHANGES, Exchange, grain
from milliroute.proxy.codec import h2_frames as h2
from milliroute.proxy.codec.hpack_wire import read_string
from milliroute.proxy.codec.huffman import encode

_BAD: Plan = ((b":status", b"400"), (b"content-length", b"0"))
_TRAILERS: Plan = ((b"grpc-status", b"0"),)
_DATE = (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT")
_MAX_ETAG = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Answer:
    """To one first path segment. `path_start`: the whole bytes of it as a literal by Huffman, and as text."""

    exchange: Exchange
    path_starts: tuple[bytes, bytes]
    fields: Plan
    grain: bytes


def answers(name: str) -> tuple[Answer, ...]:
    """What the backend `name` answers."""
    made = []
    for exchange in EXCHANGES:
        segment = b"/%b/" % exchange.kind.encode()
        # The last byte of the code may hold bits of the next letter.
        starts = (encode(segment)[:-1], segment)
        made.append(Answer(exchange, starts, _fields(exchange, name.encode()), grain(exchange, exchange.answer_bytes)))
    return tuple(made)


def _fields(exchange: Exchange, name: bytes) -> Plan:
    etag = Unique(b"etag")
    if exchange.is_grpc:
        return (
            (b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-encoding", b"identity"),
            (b"grpc-accept-encoding", b"gzip"), (b"server", b"bench/1.0"), _DATE, (b"vary", b"origin"),
            (b"x-backend", name), etag,
        )  # fmt: skip
    return (
        (b":status", b"200"), (b"server", b"bench/1.0"), _DATE, (b"content-type", b"application/json; charset=utf-8"),
        (b"cache-control", b"no-cache, private"), (b"vary", b"accept-encoding, origin"),
        (b"content-length", b"%d" % exchange.answer_bytes), (b"x-backend", name), etag,
    )  # fmt: skip


class H2BackendConnection(H2End):
    """Answers each stream when it has ended."""

    skips = len(h2.PREFACE)

    def __init__(self, made: tuple[Answer, ...], compression: Compression) -> None:
        super().__init__()
        self._answers = made
        self._compression = compression
        self._table = compression.start
        self._reader = ItemReader([b":path"])
        self._answered = int.from_bytes(os.urandom(4))
        # Those whose body comes: what to answer, and the bytes so far.
        self._open: dict[int, tuple[Answer | None, int]] = {}

    def on_block(self, stream_id: int, block: bytes, is_end: bool) -> None:
        items = self._reader.read(block)
        if stream_id in self._open:
            # Trailers: grpc.aio sends none, browsers neither, but a proxy may end a stream with them.
            self._end(stream_id, *self._open.pop(stream_id))
        elif is_end:
            self._end(stream_id, self._wanted(items), 0)
        else:
            self._open[stream_id] = self._wanted(items), 0

    def on_body(self, stream_id: int, size: int, is_end: bool) -> None:
        answer, received = self._open[stream_id]
        if is_end:
            del self._open[stream_id]
            self._end(stream_id, answer, received + size)
        else:
            self._open[stream_id] = answer, received + size

    def on_reset(self, stream_id: int, code: int) -> None:
        self._open.pop(stream_id, None)

    def on_broken(self, reason: str) -> None:
        print(f"{self.transport.get_extra_info('peername')}: {reason}", file=sys.stderr, flush=True)

    def _wanted(self, items: tuple[Item, ...]) -> Answer | None:
        coded, is_huffman, _ = read_string(items[0][1], 0)
        for answer in self._answers:
            if coded.startswith(answer.path_starts[not is_huffman]):
                return answer
        return None

    def _end(self, stream_id: int, answer: Answer | None, received: int) -> None:
        if answer is None or received != answer.exchange.upload_bytes:
            self._send_fields(stream_id, _BAD, (), True)
            return
        self._answered += 1
        # An odd factor spreads the digits.
        etag = literal(b'W/"%016x"' % (self._answered * 0x9E3779B97F4A7C15 & _MAX_ETAG))
        self._send_fields(stream_id, answer.fields, (etag,), False)
        self.send_body(stream_id, answer.grain, answer.exchange.answer_bytes, answer.exchange.is_grpc)

    def trailers(self) -> bytes:
        block, self._table = self._compression.step(self._table, _TRAILERS)
        return block

    def _send_fields(self, stream_id: int, fields: Plan, values: tuple[bytes, ...], is_end: bool) -> None:
        block, self._table = self._compression.step(self._table, fields)
        self.send_block(stream_id, block % values, is_end)


async def _main() -> None:
    made, compression = answers(sys.argv[1]), Compression()
    await serve(lambda: H2BackendConnection(made, compression), announce_port, await until_stdin_ends())


if __name__ == "__main__":
    uvloop.run(_main())
