"""The receiving half of the reference codec: HEADERS, CONTINUATION, DATA and RST_STREAM become events.

Fields are decoded by `hpack` and judged by the rules before h2 sees them, as plain literals; in the place of a message
that is refused h2 sees a harmless one. The rule not to break: nothing is told to the owner that h2 has not accepted.
"""

from hpack import Decoder, HPACKError

from milliroute.proxy.codec import h2_events as told
from milliroute.proxy.codec import h2_frames as frames
from milliroute.proxy.codec.h2_frames import PROTOCOL_ERROR, STREAM_CLOSED, ConnectionBroken
from milliroute.proxy.codec.h2_library import field_of, headers_frame, plain_block
from milliroute.proxy.codec.h2_limits import USEFUL_BYTES
from milliroute.proxy.codec.h2_reference_state import ReferenceState
from milliroute.proxy.codec.h2_rules import (
    judge_length,
    judge_request,
    judge_response,
    judge_trailers,
    opens_tunnel,
    without_length,
)
from milliroute.proxy.codec.h2_stream import Stream
from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.errors import HeadersTooLarge, StreamError

# hpack gives up in the middle of a block above its limit, and the tables with it: far above what a block can hold.
_MAX_DECODED_BYTES = 2**30
# Where our own decoder has surely given up on a block of more and more fields (HPACK bomb).
_FATAL_EXCESS = 8


class ReferenceReceiver:
    def __init__(self, state: ReferenceState) -> None:
        self._state = state
        self._limits = state.limits
        self._guard = state.guard
        self._decoder = Decoder(max_header_list_size=_MAX_DECODED_BYTES)
        # A field block that has not ended: its stream (0: none), the flags of its HEADERS, its pieces.
        self.block_stream = 0
        self._block_flags = 0
        self._block: list[bytes] = []

    def headers(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        fragment = frames.without_priority(flags, frames.without_padding(flags, payload))
        self.block_stream, self._block_flags, self._block = stream_id, flags, []
        self._fragment(flags, fragment, events)

    def continuation(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        if stream_id != self.block_stream:
            raise ConnectionBroken(PROTOCOL_ERROR, f"CONTINUATION on stream {stream_id}")
        self._fragment(flags, payload, events)

    def data(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        content = frames.without_padding(flags, payload)
        frame = frames.frame(frames.DATA, flags, stream_id, payload)
        end_stream = bool(flags & frames.END_STREAM)
        if len(content) < USEFUL_BYTES and self._state.is_server and not end_stream:
            self._guard.on_tiny()
        stream = self._state.streams.get(stream_id)
        if stream is None or stream.is_remote_closed:
            if stream_id not in self._state.reset_by_us:
                self._state.feed(frame)  # h2 raises or resets
                self._state.note_refused(stream_id, STREAM_CLOSED, events)
                return
            if not payload:
                self._guard.on_control()
            self._state.feed_dead(frame)
            return
        if content:
            self._guard.empty_frames = 0
        elif not end_stream:
            self._guard.on_empty()
        try:
            if not stream.has_head:
                raise StreamError(PROTOCOL_ERROR, "DATA before the response")
            judge_length(stream.content_length, stream.received_bytes + len(content), is_end=end_stream)
        except StreamError as exc:
            self._state.refuse(stream_id, exc.code, exc.text, events)
            self._state.feed_dead(frame)
            return
        stream.received_bytes += len(content)
        stream.unconsumed += len(payload)
        self._state.feed_ending(stream, frame, end_stream=end_stream)
        told.tell_data(events, stream_id, content, len(payload), end_stream)

    def rst_stream(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        if not self._state.was_used(stream_id):
            raise ConnectionBroken(PROTOCOL_ERROR, f"RST_STREAM on idle stream {stream_id}")
        if stream_id not in self._state.streams:
            self._guard.on_control()
            return
        if self._state.is_server:
            self._guard.on_reset()
        self._state.feed(frames.frame(frames.RST_STREAM, 0, stream_id, payload))
        self._state.forget(stream_id, by_us=False)
        code: int = frames.U32.unpack(payload)[0]
        events.append(told.StreamReset(stream_id, code, code == frames.REFUSED_STREAM))

    def _fragment(self, flags: int, fragment: bytes, events: list[told.Event]) -> None:
        is_whole = flags & frames.END_HEADERS and not self._block
        if not fragment and not is_whole:
            self._guard.on_empty()
        self._block.append(fragment)
        self._guard.on_block(len(self._block) - 1, sum(map(len, self._block)))
        if flags & frames.END_HEADERS:
            stream_id, self.block_stream = self.block_stream, 0
            self._message(stream_id, bool(self._block_flags & frames.END_STREAM), events)

    def _message(self, stream_id: int, end_stream: bool, events: list[told.Event]) -> None:
        fields, error = self._decode(b"".join(self._block))
        self._guard.empty_frames = 0
        stream = self._state.streams.get(stream_id)
        if self._state.is_server and stream_id & 1 and stream_id > self._state.library.highest_inbound_stream_id:
            self._request(stream_id, end_stream, fields, error, events)
        elif stream is not None and not stream.is_remote_closed:
            try:
                if error is not None:
                    raise error
                self._next_message(stream, end_stream, fields, events)
            except StreamError as exc:
                self._state.refuse(stream_id, exc.code, exc.text, events)
        elif stream_id in self._state.reset_by_us:
            self._guard.on_control()
        else:
            # h2 knows how it ended: it raises, or resets the stream and lives.
            self._state.feed(self._state.harmless(stream_id, end_stream=True))
            self._state.note_refused(stream_id, STREAM_CLOSED, events)

    def _decode(self, block: bytes) -> tuple[list[Field], StreamError | None]:
        try:
            headers = list(self._decoder.decode(block, raw=True))
        except HPACKError as exc:
            raise ConnectionBroken(frames.COMPRESSION_ERROR, str(exc)) from exc
        if len(headers) > self._limits.max_fields * _FATAL_EXCESS:
            raise ConnectionBroken(frames.COMPRESSION_ERROR, f"{len(headers)} fields in a block")
        size = sum(len(name) + len(value) + 32 for name, value in headers)
        if size > self._limits.max_list_bytes or len(headers) > self._limits.max_fields:
            return [], HeadersTooLarge(frames.ENHANCE_YOUR_CALM, f"{len(headers)} fields of {size} bytes")
        return [field_of(header) for header in headers], None

    def _request(
        self,
        stream_id: int,
        end_stream: bool,
        fields: list[Field],
        error: StreamError | None,
        events: list[told.Event],
    ) -> None:
        if stream_id > self._state.last_accepted or len(self._state.streams) >= self._limits.max_streams:
            self._turn_away(stream_id, events)
            return
        self._guard.credit += self._limits.control_per_stream
        stream = Stream(stream_id, 0, 0, True)
        try:
            if error is not None:
                raise error
            may_connect = self._limits.may_extended_connect
            verdict = judge_request(fields, end_stream=end_stream, may_extended_connect=may_connect)
        except StreamError as exc:
            self._state.streams[stream_id] = stream
            self._state.feed(self._state.harmless(stream_id, end_stream=end_stream))
            stream.is_remote_closed = end_stream
            if exc.status in (414, 431, 501):
                events.append(told.RequestRejected(stream_id, exc.status, end_stream))
            else:
                self._state.refuse(stream_id, exc.code, exc.text, events)
            return
        self._state.feed(headers_frame(stream_id, plain_block(fields), end_stream=end_stream))
        self._state.streams[stream_id] = stream
        stream.is_remote_closed = end_stream
        stream.method, stream.content_length = verdict.method, verdict.content_length
        stream.is_tunnel = bool(verdict.protocol)
        events.append(told.RequestReceived(stream_id, verdict, fields, end_stream))

    def _turn_away(self, stream_id: int, events: list[told.Event]) -> None:
        self._state.feed(self._state.harmless(stream_id, end_stream=False))
        self._state.library.reset_stream(stream_id, frames.REFUSED_STREAM)
        reset = self._state.library.data_to_send()
        self._state.reset_by_us.add(stream_id)
        if stream_id > self._state.last_accepted:
            return
        self._state.reply(reset)
        events.append(told.StreamRefusedByRule(stream_id, frames.REFUSED_STREAM, "over the limit of streams"))
        self._guard.on_refused(is_settled=self._state.is_settled)

    def _next_message(self, stream: Stream, end_stream: bool, fields: list[Field], events: list[told.Event]) -> None:
        frame = headers_frame(stream.stream_id, plain_block(fields), end_stream=end_stream)
        if stream.has_head:
            if stream.is_tunnel or not end_stream:
                raise StreamError(PROTOCOL_ERROR, "fields in a tunnel, or trailers without END_STREAM")
            drop = judge_trailers(fields)
            judge_length(stream.content_length, stream.received_bytes, is_end=True)
            self._state.feed_ending(stream, frame, end_stream=True)
            events.append(told.TrailersReceived(stream.stream_id, fields, drop))
            return
        status, content_length = judge_response(fields, stream.method, end_stream=end_stream)
        if status < 200:
            stream.interim_count += 1
            if stream.interim_count > self._limits.max_interim:
                raise StreamError(frames.ENHANCE_YOUR_CALM, "too many interim responses")
            self._state.feed(frame)
            events.append(told.InterimReceived(stream.stream_id, status, fields))
            return
        stream.has_head = True
        stream.content_length = content_length
        if stream.method == b"CONNECT" and opens_tunnel(status):
            stream.is_tunnel, fields = True, without_length(fields)
            frame = headers_frame(stream.stream_id, plain_block(fields), end_stream=end_stream)
        self._state.feed_ending(stream, frame, end_stream=end_stream)
        events.append(told.ResponseReceived(stream.stream_id, status, fields, end_stream))
