"""The receiving half of a connection: HEADERS, CONTINUATION, DATA and RST_STREAM become events (RFC 9113 sections 5,
6, 8).

What breaks a rule of one stream resets that stream; what breaks the connection's raises ConnectionBroken. The rule
not to break: each field block is decoded and each DATA byte counted, also of streams that are refused or gone.
"""

from milliroute.proxy.codec import h2_frames as frames
from milliroute.proxy.codec.h2_events import (
    MERGED_BYTES,
    MERGED_TIMES,
    Event,
    InterimReceived,
    RequestReceived,
    RequestRejected,
    ResponseReceived,
    StreamRefusedByRule,
    StreamReset,
    TrailersReceived,
    merged_size,
    tell_data,
    tell_pieces,
)
from milliroute.proxy.codec.h2_frames import (
    DEFAULT_FRAME_BYTES,
    END_HEADERS,
    END_STREAM,
    HEADER,
    HEADER_BYTES,
    PADDED,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    ConnectionBroken,
)
from milliroute.proxy.codec.h2_limits import USEFUL_BYTES, Guard, H2Limits
from milliroute.proxy.codec.h2_rules import (
    judge_length,
    judge_request,
    judge_response,
    judge_trailers,
    opens_tunnel,
    without_length,
)
from milliroute.proxy.codec.h2_sender import Sender
from milliroute.proxy.codec.h2_settings import Role
from milliroute.proxy.codec.h2_stream import Bytes, Stream, StreamTable
from milliroute.proxy.codec.hpack import Decoder
from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.errors import HeadersTooLarge, HpackError, StreamError

# Statuses that an owner can answer; any other malformed request is only reset.
_ANSWERABLE = (414, 431, 501)
_PADDED_OR_PRIORITY = frames.PADDED | frames.HAS_PRIORITY
# Copied for less than a view of it costs; longer pieces are copied but once, when they are joined.
_CHEAP_BYTES = 1024


class Receiver:
    __slots__ = (
        "_block_bytes",
        "_block_flags",
        "_decode",
        "_guard",
        "_is_server",
        "_limits",
        "_sender",
        "_streams",
        "_table",
        "_unreturned",
        "block",
        "block_stream",
        "is_settled",
        "last_accepted",
        "window",
    )

    def __init__(self, role: Role, table: StreamTable, sender: Sender, guard: Guard, limits: H2Limits) -> None:
        self._is_server = role == "server"
        self._table = table
        self._streams = table.streams
        self._sender = sender
        self._guard = guard
        self._limits = limits
        self._decode = Decoder(max_list_bytes=limits.max_list_bytes, max_fields=limits.max_fields).decode
        self.window = limits.connection_window_bytes
        self._unreturned = 0
        # The peer has acknowledged our SETTINGS.
        self.is_settled = False
        # Above it new streams are dropped: what our last GOAWAY said.
        self.last_accepted = frames.MAX_STREAM_ID
        # A field block that has not ended: of which stream (0: none), the flags it has as a whole, its pieces.
        self.block_stream = 0
        self._block_flags = 0
        self.block: list[bytes] = []
        self._block_bytes = 0

    def headers(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if not stream_id:
            raise ConnectionBroken(PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & _PADDED_OR_PRIORITY:
            payload = frames.without_priority(flags, frames.without_padding(flags, payload))
        if not flags & END_HEADERS:
            if not payload:
                self._guard.on_empty()
            self.block_stream, self._block_flags = stream_id, flags & END_STREAM | END_HEADERS
            self.block, self._block_bytes = [payload], len(payload)
            return
        # A whole field block: decoded before anything else, so that the tables stay in step.
        error: StreamError | None = None
        try:
            fields = self._decode(payload)
        except HeadersTooLarge as exc:
            error, fields = exc, []
        except HpackError as exc:
            raise ConnectionBroken(frames.COMPRESSION_ERROR, exc.text) from exc
        self._guard.empty_frames = 0
        stream = self._streams.get(stream_id)
        if stream is None:
            self._new_stream(stream_id, flags & END_STREAM != 0, fields, error, events)
        elif stream.is_remote_closed:
            self.refuse(stream_id, STREAM_CLOSED, "HEADERS after the end of the stream", events)
        elif error is not None:
            self.refuse(stream_id, error.code, error.text, events)
        else:
            try:
                self._next_message(stream, flags & END_STREAM != 0, fields, events)
            except StreamError as exc:
                self.refuse(stream_id, exc.code, exc.text, events)

    def continuation(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if not self.block_stream or stream_id != self.block_stream:
            raise ConnectionBroken(PROTOCOL_ERROR, f"CONTINUATION on stream {stream_id} without HEADERS before it")
        if not payload:
            self._guard.on_empty()
        self.block.append(payload)
        self._block_bytes += len(payload)
        self._guard.on_block(len(self.block) - 1, self._block_bytes)
        if flags & END_HEADERS:
            block, self.block, self.block_stream = b"".join(self.block), [], 0
            self.headers(self._block_flags, stream_id, block, events)

    def data(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        flow_bytes = len(payload)
        if not stream_id:
            raise ConnectionBroken(PROTOCOL_ERROR, "DATA on stream 0")
        self.window -= flow_bytes
        if self.window < 0:
            raise ConnectionBroken(frames.FLOW_CONTROL_ERROR, f"DATA {-self.window} bytes over the connection window")
        if flags & PADDED:
            payload = frames.without_padding(flags, payload)
        if len(payload) < USEFUL_BYTES and self._is_server and not flags & END_STREAM:
            self._guard.on_tiny()
        stream = self._streams.get(stream_id)
        if stream is None or stream.is_remote_closed or not stream.has_head:
            self._misplaced_data(stream, stream_id, flow_bytes, events)
            return
        stream.receive_window -= flow_bytes
        if stream.receive_window < 0:
            raise ConnectionBroken(frames.FLOW_CONTROL_ERROR, f"DATA over the window of stream {stream_id}")
        end_stream = flags & END_STREAM != 0
        if payload:
            self._guard.empty_frames = 0
        elif not end_stream:
            self._guard.on_empty()
        stream.unconsumed += flow_bytes
        stream.received_bytes = received = stream.received_bytes + len(payload)
        length = stream.content_length
        if length is not None and (received > length or (end_stream and received != length)):
            self._refuse_length(stream, end_stream, events)
            return
        tell_data(events, stream_id, payload, flow_bytes, end_stream)
        if end_stream:
            self._remote_end(stream)

    def data_row(self, data: bytes, at: int, stream_id: int, events: list[Event]) -> int:
        """DATA frames of one stream without flags, in a row from `at` on: a third of what each costs by `data`.

        Returns where they end: before the first that any rule has something to say about, so perhaps at `at`.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.is_remote_closed or not stream.has_head or self.block_stream:
            return at
        room, length = min(self.window, stream.receive_window), stream.content_length
        if length is not None:
            room = min(room, length - stream.received_bytes)
        unpack, end, before, view = HEADER.unpack_from, len(data), room, memoryview(data)
        pieces: list[Bytes] = []
        held = merged_size(events, stream_id)
        is_more, held = held >= 0, max(held, 0)
        while (start := at + HEADER_BYTES) <= end:
            length_and_kind, flags, its_id = unpack(data, at)
            size = length_and_kind >> 8
            if its_id != stream_id or flags or length_and_kind & 0xFF or not USEFUL_BYTES <= size <= room:
                break
            if start + size > end or size > DEFAULT_FRAME_BYTES:
                break
            if held >= MERGED_BYTES and held >= size * MERGED_TIMES:
                if pieces:
                    tell_pieces(events, stream_id, pieces, is_more=is_more)
                pieces, held, is_more = [], 0, False
            at = start + size
            pieces.append(data[start:at] if size <= _CHEAP_BYTES else view[start:at])
            held += size
            room -= size
        if pieces:
            tell_pieces(events, stream_id, pieces, is_more=is_more)
            taken = before - room
            self._guard.empty_frames = 0
            self.window -= taken
            stream.receive_window -= taken
            stream.unconsumed += taken
            stream.received_bytes += taken
        return at

    def rst_stream(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if not stream_id:
            raise ConnectionBroken(PROTOCOL_ERROR, "RST_STREAM on stream 0")
        if len(payload) != 4:
            raise ConnectionBroken(frames.FRAME_SIZE_ERROR, f"RST_STREAM of {len(payload)} bytes, wanted 4")
        if self._table.is_idle(stream_id):
            raise ConnectionBroken(PROTOCOL_ERROR, f"RST_STREAM on idle stream {stream_id}")
        if self._table.streams.get(stream_id) is None:
            self._guard.on_control()
            return
        # A backend resets what we asked of it, so only clients can make a flood of it.
        if self._is_server:
            self._guard.on_reset()
        code: int = frames.U32.unpack(payload)[0]
        self._table.drop(stream_id, by_us=False)
        self._sender.forget(stream_id)
        events.append(StreamReset(stream_id, code, code == frames.REFUSED_STREAM))

    def consumed(self, stream_id: int, size: int) -> None:
        """Window goes back in pieces of at least half of it: one WINDOW_UPDATE for many DATA frames."""
        stream = self._table.streams.get(stream_id)
        if stream is None:
            return  # what its owner still held went back when it was closed
        size = min(size, stream.unconsumed)
        stream.unconsumed -= size
        self.give_back(size)
        if stream.is_remote_closed:
            return
        stream.unreturned += size
        if stream.unreturned * 2 >= self._limits.stream_window_bytes:
            self._sender.out.append(frames.window_update(stream_id, stream.unreturned))
            stream.receive_window += stream.unreturned
            stream.unreturned = 0

    def give_back(self, size: int) -> None:
        """To the connection's window."""
        self._unreturned += size
        if self._unreturned * 2 >= self._limits.connection_window_bytes:
            self._sender.out.append(frames.window_update(0, self._unreturned))
            self.window += self._unreturned
            self._unreturned = 0

    def refuse(self, stream_id: int, code: int, text: str, events: list[Event]) -> None:
        """A stream error (section 5.4.2): theirs to answer for, so it counts as a reset of theirs.

        Not for a backend's errors on streams that we have opened: there are no more of them than requests, and whoever
        can make a backend answer wrongly must not be able to end the connection that all share.
        """
        is_charged = self._is_server or stream_id not in self._table.streams
        self._table.drop(stream_id, by_us=True)
        self._sender.reset(stream_id, code)
        events.append(StreamRefusedByRule(stream_id, code, text))
        if is_charged:
            self._guard.on_reset()

    def _new_stream(
        self, stream_id: int, end_stream: bool, fields: list[Field], error: StreamError | None, events: list[Event]
    ) -> None:
        table, limits = self._table, self._limits
        if stream_id <= table.last_id or not self._is_server or not stream_id & 1:
            self._misplaced_headers(stream_id, events)
            return
        if stream_id > self.last_accepted or len(table.streams) >= limits.max_streams:
            self._turn_away(stream_id, events)
            return
        stream = Stream(stream_id, self._sender.peer.window_bytes, limits.stream_window_bytes, True, end_stream)
        table.add(stream)
        self._guard.credit += limits.control_per_stream
        try:
            if error is not None:
                raise error
            verdict = judge_request(fields, end_stream=end_stream, may_extended_connect=limits.may_extended_connect)
        except StreamError as exc:
            if exc.status in _ANSWERABLE:
                events.append(RequestRejected(stream_id, exc.status, end_stream))
            else:
                self.refuse(stream_id, exc.code, exc.text, events)
            return
        stream.content_length = verdict.content_length
        if verdict.protocol:
            stream.is_tunnel = True
        events.append(RequestReceived(stream_id, verdict, fields, end_stream))

    def _turn_away(self, stream_id: int, events: list[Event]) -> None:
        self._table.note_id(stream_id)
        self._table.drop(stream_id, by_us=True)
        if stream_id > self.last_accepted:
            return  # section 6.8: after GOAWAY such streams are ignored, and the client knows that it may retry
        self._sender.reset(stream_id, frames.REFUSED_STREAM)
        events.append(StreamRefusedByRule(stream_id, frames.REFUSED_STREAM, f"over {self._limits.max_streams} streams"))
        self._guard.on_refused(is_settled=self.is_settled)

    def _misplaced_headers(self, stream_id: int, events: list[Event]) -> None:
        """Of a stream that is gone, or that the peer may not open (sections 5.1 and 5.1.1)."""
        table = self._table
        if table.was_reset_by_us(stream_id):
            self._guard.on_control()
        elif table.was_reset_by_peer(stream_id):
            self.refuse(stream_id, STREAM_CLOSED, "HEADERS after RST_STREAM", events)
        elif table.is_idle(stream_id) or table.was_skipped(stream_id):
            raise ConnectionBroken(PROTOCOL_ERROR, f"HEADERS on stream {stream_id}, which the peer can't open")
        else:
            raise ConnectionBroken(STREAM_CLOSED, f"HEADERS on stream {stream_id}, which has ended")

    def _misplaced_data(self, stream: Stream | None, stream_id: int, flow_bytes: int, events: list[Event]) -> None:
        table = self._table
        self.give_back(flow_bytes)
        if stream is not None:
            code = STREAM_CLOSED if stream.is_remote_closed else PROTOCOL_ERROR
            self.refuse(stream_id, code, "DATA after the end or before the head", events)
        elif table.is_idle(stream_id):
            raise ConnectionBroken(PROTOCOL_ERROR, f"DATA on idle stream {stream_id}")
        elif table.was_reset_by_us(stream_id):
            if not flow_bytes:
                self._guard.on_control()
        else:
            self.refuse(stream_id, STREAM_CLOSED, "DATA on a stream that has ended", events)

    def _next_message(self, stream: Stream, end_stream: bool, fields: list[Field], events: list[Event]) -> None:
        """A response, an interim one, or trailers; raises StreamError."""
        if stream.has_head:
            if stream.is_tunnel or not end_stream:
                raise StreamError(PROTOCOL_ERROR, "fields in a tunnel, or trailers without END_STREAM")
            drop = judge_trailers(fields)
            judge_length(stream.content_length, stream.received_bytes, is_end=True)
            events.append(TrailersReceived(stream.stream_id, fields, drop))
            self._remote_end(stream)
            return
        status, content_length = judge_response(fields, stream.method, end_stream=end_stream)
        if status < 200:
            stream.interim_count += 1
            if stream.interim_count > self._limits.max_interim:
                raise StreamError(frames.ENHANCE_YOUR_CALM, f"over {self._limits.max_interim} interim responses")
            events.append(InterimReceived(stream.stream_id, status, fields))
            return
        stream.has_head = True
        stream.content_length = content_length
        if stream.method == b"CONNECT" and opens_tunnel(status):
            stream.is_tunnel, fields = True, without_length(fields)
        events.append(ResponseReceived(stream.stream_id, status, fields, end_stream))
        if end_stream:
            self._remote_end(stream)

    def _refuse_length(self, stream: Stream, end_stream: bool, events: list[Event]) -> None:
        try:
            judge_length(stream.content_length, stream.received_bytes, is_end=end_stream)
        except StreamError as exc:
            self.refuse(stream.stream_id, exc.code, exc.text, events)

    def _remote_end(self, stream: Stream) -> None:
        stream.is_remote_closed = True
        if stream.is_local_closed:
            self._table.end(stream)
