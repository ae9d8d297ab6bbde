"""What both ends of the HTTP/2 rows share: frames in and out, flow control both ways, one write per read.

Frames come in, `on_block` and `on_body` are told; `send_block` and `send_body` queue frames, which leave as the peer's
windows allow, together, when what came has been read. Our own windows are as large as Go's and are topped up when half
used, as nghttp2 does. The rule not to break: bodies go through `send_body` only, never past a window.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import cast

from benchmarks.hpack_items import BadBlock
from milliroute.proxy.codec import h2_frames as h2

# Between the 64 KiB that RFC 9113 and grpc begin with and the several MiB of browsers and Go's client.
STREAM_WINDOW = 256 * 1024
CONNECTION_WINDOW = 1024 * 1024
# Go's and nghttp2's servers allow 250 and 100; grpc's any number.
MAX_STREAMS = 250
_SETTINGS = h2.settings([(h2.MAX_CONCURRENT_STREAMS, MAX_STREAMS), (h2.INITIAL_WINDOW_SIZE, STREAM_WINDOW)])
_GREETING = _SETTINGS + h2.window_update(0, CONNECTION_WINDOW - h2.DEFAULT_WINDOW)


class H2Error(Exception):
    """The peer did what ends the connection; the message says what."""


@dataclass(slots=True)
class Body:
    """What is left to send of a stream: `left` bytes in DATA frames of `grain` each, then trailers or none."""

    stream_id: int
    grain: bytes
    left: int
    has_trailers: bool


class H2End(asyncio.Protocol):
    """One connection. `preface`: what goes before our SETTINGS."""

    preface = b""
    skips = 0

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.peer_settings: dict[int, int] = {}
        self._pending = b""
        self._block: tuple[int, int, bytes] | None = None
        # What the peer lets us send, and what it may still send: of the connection, and of streams that have begun to.
        self._send_window = h2.DEFAULT_WINDOW
        self._send_initial = h2.DEFAULT_WINDOW
        self._send_used: dict[int, int] = {}
        self._bodies: deque[Body] = deque()
        self._received = 0
        self._received_of: dict[int, int] = {}
        self._half_used: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not instances of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self.preface + _GREETING)

    def on_settings(self) -> None:
        """The peer's SETTINGS are known."""

    def on_block(self, stream_id: int, block: bytes, is_end: bool) -> None:
        """A field block is whole."""
        raise NotImplementedError

    def on_body(self, stream_id: int, size: int, is_end: bool) -> None:
        """DATA came, of `size` bytes without padding."""
        raise NotImplementedError

    def on_reset(self, stream_id: int, code: int) -> None:
        """RST_STREAM came."""
        raise NotImplementedError

    def on_broken(self, reason: str) -> None:
        """The connection is of no more use: it is closed after this."""
        raise NotImplementedError

    def trailers(self) -> bytes:
        """The block that ends a body, asked for when it is sent: blocks go out in the order they are made."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        if self._pending:
            data = self._pending + data
        try:
            self._pending = data[self._read(data) :]
        except (H2Error, BadBlock, h2.ConnectionBroken) as error:
            self.on_broken(str(error))
            self.transport.abort()
            return
        self.flush()

    def flush(self) -> None:
        """Write what is queued, in one go."""
        if self._received * 2 >= CONNECTION_WINDOW:
            self.out.append(h2.window_update(0, self._received))
            self._received = 0
        if self._half_used:
            self._top_up()
        if self._bodies and self._send_window > 0:
            self._pump()
        if self.out:
            self.transport.write(b"".join(self.out))
            self.out.clear()

    def send_block(self, stream_id: int, block: bytes, is_end: bool) -> None:
        """HEADERS; no block of ours is longer than a frame."""
        self.out.append(h2.HEADER.pack(len(block) << 8 | h2.HEADERS, h2.END_HEADERS | is_end, stream_id) + block)

    def send_body(self, stream_id: int, grain: bytes, size: int, has_trailers: bool) -> None:
        """`size` bytes in frames of `grain`; see Body."""
        if size == len(grain) <= min(self._send_window, self._send_initial) and not self._bodies:
            self._send_window -= size
            self.out.append(h2.HEADER.pack(size << 8, not has_trailers, stream_id) + grain)
            if has_trailers:
                self.send_block(stream_id, self.trailers(), True)
        else:
            self._send_used[stream_id] = 0
            self._bodies.append(Body(stream_id, grain, size, has_trailers))

    def forget(self, stream_id: int) -> None:
        """The stream has ended or was reset: nothing more of its body is sent, and nothing counted."""
        self._received_of.pop(stream_id, None)
        if self._send_used.pop(stream_id, None) is not None:
            self._bodies = deque(body for body in self._bodies if body.stream_id != stream_id)

    def _pump(self) -> None:
        for _ in range(len(self._bodies)):
            body = self._bodies.popleft()
            if self._send_part(body):
                self._bodies.append(body)
            else:
                del self._send_used[body.stream_id]

    def _send_part(self, body: Body) -> bool:
        """Whether something is left of it."""
        grain, stream_id = body.grain, body.stream_id
        window = min(self._send_window, self._send_initial - self._send_used[stream_id])
        size = max(0, min(window, body.left))
        start = -body.left % len(grain)
        body.left -= size
        self._send_window -= size
        self._send_used[stream_id] += size
        whole_frame = h2.HEADER.pack(len(grain) << 8, 0, stream_id) + grain
        while size:
            if not start and size > len(grain):
                # The last one is not among them: it may have to end the stream.
                count = (size - 1) // len(grain)
                self.out.append(whole_frame * count)
                size -= count * len(grain)
            piece = grain[start : start + size]
            size -= len(piece)
            is_end = not body.left and not size and not body.has_trailers
            self.out.append(h2.HEADER.pack(len(piece) << 8, is_end, stream_id) + piece)
            start = 0
        if not body.left and body.has_trailers:
            self.send_block(stream_id, self.trailers(), True)
        return body.left > 0

    def _read(self, data: bytes) -> int:
        """Where the first frame begins that is not whole."""
        at = self.skips
        if at:
            if len(data) < at:
                return 0
            self.skips = 0
        last, unpack = len(data) - h2.HEADER_BYTES, h2.HEADER.unpack_from
        while at <= last:
            length_and_kind, flags, stream_id = unpack(data, at)
            start = at + h2.HEADER_BYTES
            end = start + (length_and_kind >> 8)
            if end > len(data):
                break
            kind = length_and_kind & 0xFF
            if kind == h2.DATA and not flags & h2.PADDED:
                self._count(stream_id, end - start, flags & h2.END_STREAM)
                self.on_body(stream_id, end - start, bool(flags & h2.END_STREAM))
            elif kind == h2.HEADERS and flags & ~h2.END_STREAM == h2.END_HEADERS:
                self.on_block(stream_id, data[start:end], bool(flags & h2.END_STREAM))
            else:
                self._read_rare(kind, flags, stream_id, data[start:end])
            at = end
        return at

    def _count(self, stream_id: int, size: int, is_end: int) -> None:
        """Take `size` off our windows; the next flush tops up those that are half used."""
        self._received += size
        received = self._received_of.get(stream_id, 0) + size
        if self._received > CONNECTION_WINDOW or received > STREAM_WINDOW:
            raise H2Error(f"a window overrun: {self._received} bytes, {received} of them in stream {stream_id}")
        if is_end:
            self._received_of.pop(stream_id, None)
            return
        self._received_of[stream_id] = received
        if received * 2 >= STREAM_WINDOW:
            self._half_used.add(stream_id)

    def _top_up(self) -> None:
        for stream_id in self._half_used & self._received_of.keys():
            self.out.append(h2.window_update(stream_id, self._received_of[stream_id]))
            self._received_of[stream_id] = 0
        self._half_used.clear()

    def _read_rare(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == h2.DATA:
            self._count(stream_id, len(payload), flags & h2.END_STREAM)
            self.on_body(stream_id, len(h2.without_padding(flags, payload)), bool(flags & h2.END_STREAM))
        elif kind == h2.HEADERS:
            payload = h2.without_priority(flags, h2.without_padding(flags, payload))
            self._block = stream_id, flags, payload
            self._end_block(flags)
        elif kind == h2.CONTINUATION:
            if self._block is None or self._block[0] != stream_id:
                raise H2Error("CONTINUATION of no field block")
            self._block = stream_id, self._block[1], self._block[2] + payload
            self._end_block(flags)
        elif kind == h2.SETTINGS and not flags & h2.ACK:
            self._set(payload)
        elif kind == h2.WINDOW_UPDATE:
            self._open_window(stream_id, h2.U32.unpack(payload)[0])
        elif kind == h2.PING and not flags & h2.ACK:
            self.out.append(h2.ping(payload, is_ack=True))
        elif kind == h2.RST_STREAM:
            self.forget(stream_id)
            self.on_reset(stream_id, h2.U32.unpack(payload)[0])
        elif kind == h2.GOAWAY:
            raise H2Error(f"GOAWAY (last stream, code) {h2.read_goaway(payload)} {payload[8:]!r}")

    def _end_block(self, flags: int) -> None:
        if flags & h2.END_HEADERS and self._block is not None:
            stream_id, first_flags, block = self._block
            self._block = None
            self.on_block(stream_id, block, bool(first_flags & h2.END_STREAM))

    def _set(self, payload: bytes) -> None:
        self.peer_settings.update(h2.SETTING.iter_unpack(payload))
        if self.peer_settings.get(h2.HEADER_TABLE_SIZE, 4096) < 4096:
            raise H2Error("a header table of less than 4096 bytes; ours is simulated for that")
        self._send_initial = self.peer_settings.get(h2.INITIAL_WINDOW_SIZE, h2.DEFAULT_WINDOW)
        self.out.append(h2.SETTINGS_ACK)
        self.on_settings()

    def _open_window(self, stream_id: int, increment: int) -> None:
        if not stream_id:
            self._send_window += increment
        elif stream_id in self._send_used:
            self._send_used[stream_id] -= increment
