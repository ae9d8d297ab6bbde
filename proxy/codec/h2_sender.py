"""The sending half of a connection: frames out, within the peer's windows and frame size (RFC 9113 section 6.9).

DATA that no window allows waits in its stream, trailers behind it; streams that wait for the connection's window
take turns, a frame each. The rule not to break: field blocks are written in the order they were encoded, and always
written.
"""

from collections import deque
from collections.abc import Sequence

from milliroute.proxy.codec import h2_frames as frames
from milliroute.proxy.codec.h2_frames import END_HEADERS, ENHANCE_YOUR_CALM, HEADER, HEADERS, ConnectionBroken
from milliroute.proxy.codec.h2_limits import Guard, H2Limits
from milliroute.proxy.codec.h2_settings import PeerSettings
from milliroute.proxy.codec.h2_stream import Bytes, FieldLike, Stream, StreamTable
from milliroute.proxy.codec.hpack import Encoder

# CVE-2019-9511: windows opened byte by byte earn nothing, or each tiny DATA would pay for more of them. h2load's
# smallest stream window, 1,023 bytes, is opened by half of that.
_NOT_TINY_BYTES = 256

# A body up to here goes out in one piece with its head; longer ones are not copied once more.
MAX_JOINED_BYTES = 4096

# So many times its own size a part of a queued piece may hold.
PINNED_TIMES = 4


class Sender:
    __slots__ = (
        "_backlog",
        "_encode",
        "_encoder",
        "_guard",
        "_limits",
        "_replies_behind",
        "_table",
        "_waiting",
        "drained",
        "out",
        "peer",
        "window",
    )

    def __init__(self, table: StreamTable, guard: Guard, limits: H2Limits) -> None:
        self._table = table
        self._guard = guard
        self._limits = limits
        self.peer = PeerSettings()
        self._encoder = Encoder()
        self._encode = self._encoder.encode
        self.window = frames.DEFAULT_WINDOW
        self.out: list[Bytes] = []
        # Streams with something queued, in the order of their turns.
        self._waiting: dict[int, Stream] = {}
        # Streams whose queue fell below low water since the owner was last told.
        self.drained: list[int] = []
        self._backlog = 0
        self._replies_behind = 0

    def fields(self, stream: Stream, fields: Sequence[FieldLike], end_stream: bool) -> None:
        block = self._encode(fields)
        size = len(block)
        if size <= self.peer.max_frame_bytes:
            flags = END_HEADERS | end_stream
            self.out.append(HEADER.pack(size << 8 | HEADERS, flags, stream.stream_id) + block)
        else:
            self.out.append(frames.field_block(stream.stream_id, block, end_stream, self.peer.max_frame_bytes))
        if end_stream:
            stream.is_ended = True
            self._local_end(stream)

    def message(self, stream: Stream, fields: Sequence[FieldLike], data: bytes, end_stream: bool) -> None:
        """The head, and what of the body is at hand."""
        block = self._encode(fields)
        size, body_size, peer = len(block), len(data), self.peer
        if (
            self._backlog
            or size > peer.max_frame_bytes
            or body_size > MAX_JOINED_BYTES
            or body_size > stream.send_window
            or body_size > self.window
        ):
            self.out.append(frames.field_block(stream.stream_id, block, False, peer.max_frame_bytes))
            self.data(stream, data, end_stream)
            return
        # In one piece, as most answers are.
        stream_id = stream.stream_id
        stream.send_window -= body_size
        self.window -= body_size
        self._guard.credit += self._limits.control_per_data
        self.out.append(
            HEADER.pack(size << 8 | HEADERS, END_HEADERS, stream_id)
            + block
            + HEADER.pack(body_size << 8, end_stream, stream_id)
            + data
        )
        if end_stream:
            stream.is_ended = True
            self._local_end(stream)

    def data(self, stream: Stream, data: bytes, end_stream: bool) -> None:
        size = len(data)
        if stream.queue is not None or (self._backlog and size):
            if size or end_stream:
                self._queue(stream, data, end_stream)
        elif not size:
            # Windows are for content, and so is the backlog; an empty DATA may always end the stream.
            if end_stream:
                self._write(stream, data, True)
        elif size <= stream.send_window and size <= self.window and size <= self.peer.max_frame_bytes:
            # As _write, in place: 0.1 us less for what nearly all DATA is.
            stream.send_window -= size
            self.window -= size
            self._guard.credit += self._limits.control_per_data
            self.out += (HEADER.pack(size << 8, end_stream, stream.stream_id), data)
            if end_stream:
                stream.is_ended = True
                self._local_end(stream)
        elif size <= stream.send_window and size <= self.window:
            self._write(stream, data, end_stream)
        else:
            self._queue(stream, data, end_stream)

    def trailers(self, stream: Stream, fields: Sequence[FieldLike]) -> None:
        if not fields:
            self.data(stream, b"", True)
        elif stream.queue is None:
            self.fields(stream, fields, True)
        else:
            stream.is_ended = True
            stream.trailers = fields

    def reply(self, frame: bytes) -> None:
        """An answer the peer can ask for as often as it likes; it may not pile up while the peer does not read."""
        if self._backlog:
            self._replies_behind += 1
            if self._replies_behind > self._limits.max_replies_behind:
                raise ConnectionBroken(ENHANCE_YOUR_CALM, f"{self._replies_behind} replies wait to be read")
        self.out.append(frame)

    def reset(self, stream_id: int, code: int) -> None:
        self.reply(frames.rst_stream(stream_id, code))
        self.forget(stream_id)

    def forget(self, stream_id: int) -> None:
        self._waiting.pop(stream_id, None)

    def on_backlog(self, size: int) -> None:
        """size: bytes the transport holds; DATA waits while they are over the limit, down to half of it."""
        if size > self._limits.max_backlog_bytes:
            self._backlog = size
        elif self._backlog and size <= self._limits.max_backlog_bytes // 2:
            self._backlog = self._replies_behind = 0
            self.flush()

    def on_settings(self, old_window: int, old_table: int) -> None:
        """self.peer has changed; a new initial window reaches open streams (section 6.9.2). The caller flushes."""
        if self.peer.table_bytes != old_table:
            self._encoder.set_peer_limit(self.peer.table_bytes)
        delta = self.peer.window_bytes - old_window
        for stream in self._table.streams.values() if delta else ():
            stream.send_window += delta
            if stream.send_window > frames.MAX_WINDOW:
                raise ConnectionBroken(frames.FLOW_CONTROL_ERROR, f"window of stream {stream.stream_id} over 2**31-1")

    def on_connection_window(self, increment: int) -> None:
        self.window += increment
        if self.window > frames.MAX_WINDOW:
            raise ConnectionBroken(frames.FLOW_CONTROL_ERROR, "connection window over 2**31-1")
        if self._waiting:
            self.flush()

    def flush(self) -> None:
        """Writes what the windows allow, a frame of each stream in turn."""
        turns = deque(self._waiting.values())
        while turns and not self._backlog:
            stream = turns.popleft()
            if not self._write_next(stream, self.peer.max_frame_bytes):
                continue
            if stream.queue is not None:
                turns.append(stream)
                # The next flush begins with whoever has waited longest.
                self._waiting[stream.stream_id] = self._waiting.pop(stream.stream_id)

    def flush_stream(self, stream: Stream) -> None:
        while stream.queue is not None and not self._backlog and self._write_next(stream, frames.MAX_WINDOW):
            pass

    def _queue(self, stream: Stream, data: bytes, end_stream: bool) -> None:
        stream.is_ended = end_stream
        if stream.queue is None:
            stream.queue = deque()
            self._waiting[stream.stream_id] = stream
        if data:
            stream.queue.append(data)
            stream.queued_bytes += len(data)
        told = len(self.drained)
        self.flush_stream(stream)
        del self.drained[told:]  # what goes out at once has not waited

    def _write_next(self, stream: Stream, most: int) -> bool:
        """The first piece of the queue or so many bytes of it, or False where windows forbid it."""
        data: Bytes = b""
        if stream.queued_bytes:
            room = min(stream.send_window, self.window, most)
            if room <= 0:
                return False
            data = self._take(stream, room)
        is_last = stream.is_ended and not stream.queued_bytes
        end_stream = is_last and stream.trailers is None
        if not stream.queued_bytes:
            stream.queue = None
            self.forget(stream.stream_id)
        if data or end_stream:
            self._write(stream, data, end_stream)
        if is_last and stream.trailers is not None:
            self.fields(stream, stream.trailers, True)
        return True

    def _take(self, stream: Stream, room: int) -> Bytes:
        queue, low_water = stream.queue, self._limits.low_water_bytes
        assert queue
        piece, start = queue[0], stream.offset
        data: Bytes = memoryview(piece)[start : start + room] if start or len(piece) > room else piece
        if len(data) * PINNED_TIMES < len(piece):
            data = bytes(data)  # a view would hold all of the piece until it is written, and nobody would count that
        stream.offset += len(data)
        if stream.offset == len(piece):
            queue.popleft()
            stream.offset = 0
        before = stream.queued_bytes
        stream.queued_bytes = left = before - len(data)
        if left == 0 or left < low_water <= before:
            self.drained.append(stream.stream_id)
        return data

    def _write(self, stream: Stream, data: Bytes, end_stream: bool) -> None:
        """In frames of the size that the peer takes; parts of it are not copied."""
        size, frame_bytes, stream_id, out = len(data), self.peer.max_frame_bytes, stream.stream_id, self.out
        stream.send_window -= size
        self.window -= size
        earning = 0
        if size > frame_bytes:
            earning = (size - 1) // frame_bytes
            last_at, view, whole = earning * frame_bytes, memoryview(data), HEADER.pack(frame_bytes << 8, 0, stream_id)
            for at in range(0, last_at, frame_bytes):
                out += (whole, view[at : at + frame_bytes])
            data, size = view[last_at:], size - last_at
        if stream.queue is None or size >= _NOT_TINY_BYTES:
            earning += 1
        out += (HEADER.pack(size << 8, end_stream, stream_id), data)
        self._guard.credit += self._limits.control_per_data * earning
        if end_stream:
            stream.is_ended = True
            self._local_end(stream)

    def _local_end(self, stream: Stream) -> None:
        stream.is_local_closed = True
        if stream.is_remote_closed:
            self._table.end(stream)
