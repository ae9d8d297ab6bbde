"""The reference HTTP/2 codec: the `h2` library behind the same interface as `h2.py`, with our strict rules around it.

h2 keeps the states and windows and answers what it answers rightly. Frames pass a gate first, because h2 ends the
whole connection for one bad stream, buffers oversize frames, knows no floods, and stops at GOAWAY (facts, section
1). It is given fields that `hpack` has decoded and the rules have passed, as plain literals; for a refused message,
a harmless one in its place. The rule not to break: nothing is told to the owner that h2 has not accepted.
"""

from collections import deque
from collections.abc import Callable, Sequence

from h2.events import StreamReset
from h2.exceptions import ProtocolError
from hpack import Decoder, HPACKError

from milliroute.proxy.codec import h2_events as told
from milliroute.proxy.codec import h2_frames as frames
from milliroute.proxy.codec import h2_settings
from milliroute.proxy.codec.h2_frames import (
    FRAME_SIZE_ERROR,
    PING_ALIVE,
    PING_DRAIN,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    ConnectionBroken,
)
from milliroute.proxy.codec.h2_library import field_of, header_of, headers_frame, library, plain_block
from milliroute.proxy.codec.h2_limits import Guard, H2Limits
from milliroute.proxy.codec.h2_rules import judge_length, judge_request, judge_response, judge_trailers
from milliroute.proxy.codec.h2_settings import PeerSettings, Role
from milliroute.proxy.codec.h2_stream import FieldLike, Stream, method_of
from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.errors import HeadersTooLarge, StreamError

# What h2 sees in the place of a message that is refused: GET / of authority "a"; status 200.
_HARMLESS = {"server": b"\x82\x86\x84\x01\x01a", "client": b"\x88"}
# hpack gives up in the middle of a block above its limit, and the tables with it: far above what a block can hold.
_MAX_DECODED_BYTES = 2**30
# Where our own decoder has surely given up on a block of more and more fields (HPACK bomb).
_FATAL_EXCESS = 8
_RST_BYTES = frames.HEADER_BYTES + 4
# Type -> exact length of the payload; PRIORITY's is a stream error.
_LENGTHS = {frames.RST_STREAM: 4, frames.PING: 8, frames.WINDOW_UPDATE: 4}
_ON_CONNECTION = (frames.SETTINGS, frames.PING, frames.GOAWAY)
_ON_STREAM = (frames.DATA, frames.HEADERS, frames.PRIORITY, frames.RST_STREAM, frames.CONTINUATION)


class H2Connection:
    """As h2.H2Connection, call for call and event for event."""

    def __init__(self, role: Role, limits: H2Limits) -> None:
        self._role = role
        self._is_server = role == "server"
        self._limits = limits
        self._guard = Guard(limits)
        self._out = [h2_settings.opening(role, limits)]
        self._library = library(role, limits)
        self._decoder = Decoder(max_header_list_size=_MAX_DECODED_BYTES)
        self._peer = PeerSettings()
        self._streams: dict[int, Stream] = {}
        self._reset_by_us: set[int] = set()
        # Streams with something queued, in the order of their turns; those to tell of.
        self._waiting: dict[int, Stream] = {}
        self._drained: list[int] = []
        self._held = b""
        self._preface_left = frames.PREFACE if self._is_server else b""
        self._is_greeted = False
        # A field block that has not ended: its stream (0: none), the flags of its HEADERS, its pieces.
        self._block_stream = 0
        self._block_flags = 0
        self._block: list[bytes] = []
        self._unreturned = 0
        self._backlog = 0
        self._replies_behind = 0
        self._next_id = 1
        self._last_accepted = frames.MAX_STREAM_ID
        self._is_draining = False
        self._is_failed = False
        self.is_settled = False
        self.is_closing = False
        gates: dict[int, Callable[[int, int, bytes, list[told.Event]], None]] = {
            frames.DATA: self._data,
            frames.HEADERS: self._headers,
            frames.PRIORITY: self._priority,
            frames.RST_STREAM: self._rst_stream,
            frames.SETTINGS: self._settings,
            frames.PING: self._ping,
            frames.GOAWAY: self._goaway,
            frames.WINDOW_UPDATE: self._window_update,
            frames.CONTINUATION: self._continuation,
        }
        self._gates = gates

    # What the peer sends.

    def receive(self, data: bytes, now: float) -> list[told.Event]:
        events: list[told.Event] = []
        if self._is_failed:
            return events
        self._guard.now = now
        self._held += data
        try:
            self._read_preface()
            while self._read_frame(events):
                pass
        except ConnectionBroken as exc:
            self._fail(exc, events)
        return events + self._tell_drained()

    def take_output(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return data

    def backlog(self, size: int) -> list[told.Event]:
        if size > self._limits.max_backlog_bytes:
            self._backlog = size
        elif size <= self._limits.max_backlog_bytes // 2:
            self._backlog = self._replies_behind = 0
            if not self._is_failed:
                self._flush()
        return self._tell_drained()

    # What the owner sends.

    def can_open(self) -> bool:
        is_room = len(self._streams) < self._peer.max_streams
        return is_room and not self.is_closing and not self._is_failed and self._next_id <= frames.MAX_STREAM_ID

    def open_stream(self) -> int:
        if self._next_id > frames.MAX_STREAM_ID or self.is_closing or self._is_failed:
            raise RuntimeError("no more streams on this connection")
        stream_id = self._next_id
        self._next_id += 2
        return stream_id

    def send_request(self, stream_id: int, fields: Sequence[FieldLike], end_stream: bool) -> None:
        if self._is_failed or self.is_closing or stream_id <= self._library.highest_outbound_stream_id:
            return
        self._streams[stream_id] = stream = Stream(stream_id, 0, 0)
        stream.method = method_of(fields)
        self._guard.credit += self._limits.control_per_stream
        self._send_fields(stream, fields, end_stream)

    def send_response(self, stream_id: int, fields: Sequence[FieldLike], end_stream: bool) -> None:
        stream = self._sendable(stream_id)
        if stream is not None:
            self._send_fields(stream, fields, end_stream)

    def send_trailers(self, stream_id: int, fields: Sequence[FieldLike]) -> None:
        stream = self._sendable(stream_id)
        if stream is not None and fields and stream.queue is None:
            self._send_fields(stream, fields, True)
        elif stream is not None:
            stream.trailers = fields or None
            self._queue(stream, b"", True)

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        stream = self._sendable(stream_id)
        if stream is not None and (data or end_stream):
            self._queue(stream, data, end_stream)

    def queued(self, stream_id: int) -> int:
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.queued_bytes

    def consumed(self, stream_id: int, size: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or self._is_failed:
            return
        size = min(size, stream.unconsumed)
        stream.unconsumed -= size
        self._give_back(size)
        if stream.is_remote_closed:
            return
        stream.unreturned += size
        if stream.unreturned * 2 >= self._limits.stream_window_bytes:
            self._library.increment_flow_control_window(stream.unreturned, stream_id)
            stream.unreturned = 0
            self._take_written()

    def reset(self, stream_id: int, code: int) -> None:
        if stream_id in self._streams and not self._is_failed:
            self._library.reset_stream(stream_id, code)
            self._take_written()
            self._forget(stream_id, by_us=True)

    def goaway(self, code: int = frames.NO_ERROR, last_id: int | None = None) -> None:
        """h2 would stop at once, so it is not told."""
        if self._is_failed:
            return
        if self._is_server and code == frames.NO_ERROR and last_id is None and not self._is_draining:
            self._is_draining = True
            self._out += (frames.goaway(frames.MAX_STREAM_ID, code), frames.ping(PING_DRAIN))
            return
        last = self._last_id() if last_id is None else last_id
        self._last_accepted = last = min(last, self._last_accepted)
        self._out.append(frames.goaway(last, code))
        self._is_draining = self.is_closing = True

    def ping(self) -> None:
        if not self._is_failed:
            self._library.ping(PING_ALIVE)
            self._take_written()

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    @property
    def peer_settings(self) -> PeerSettings:
        return self._peer

    # The gate.

    def _read_preface(self) -> None:
        seen = self._held[: len(self._preface_left)]
        if not self._preface_left.startswith(seen):
            raise ConnectionBroken(PROTOCOL_ERROR, "not the HTTP/2 connection preface")
        self._preface_left = self._preface_left[len(seen) :]
        self._held = self._held[len(seen) :]

    def _read_frame(self, events: list[told.Event]) -> bool:
        """One frame from what is held; False when it is not here whole."""
        if self._preface_left or len(self._held) < frames.HEADER_BYTES:
            return False
        length_and_kind, flags, stream_id = frames.HEADER.unpack_from(self._held)
        size, kind = length_and_kind >> 8, length_and_kind & 0xFF
        if size > frames.DEFAULT_FRAME_BYTES:
            raise ConnectionBroken(FRAME_SIZE_ERROR, f"frame of {size} bytes")
        end = frames.HEADER_BYTES + size
        if len(self._held) < end:
            return False
        payload, self._held = self._held[frames.HEADER_BYTES : end], self._held[end:]
        self._check(kind, flags, stream_id & frames.MAX_STREAM_ID, payload)
        if kind in self._gates:
            self._gates[kind](flags, stream_id & frames.MAX_STREAM_ID, payload, events)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionBroken(PROTOCOL_ERROR, "PUSH_PROMISE")
        else:
            self._guard.on_control()
        return True

    def _check(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """What can be said of a frame without knowing any stream."""
        if self._block_stream and kind != frames.CONTINUATION:
            raise ConnectionBroken(PROTOCOL_ERROR, "frame inside a field block")
        if not self._is_greeted and (kind != frames.SETTINGS or flags & frames.ACK):
            raise ConnectionBroken(PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if (kind in _ON_CONNECTION and stream_id) or (kind in _ON_STREAM and not stream_id):
            raise ConnectionBroken(PROTOCOL_ERROR, f"frame of type {kind} on stream {stream_id}")
        if len(payload) != _LENGTHS.get(kind, len(payload)) or (kind == frames.GOAWAY and len(payload) < 8):
            raise ConnectionBroken(FRAME_SIZE_ERROR, f"frame of type {kind} with {len(payload)} bytes")

    def _headers(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        fragment = frames.without_priority(flags, frames.without_padding(flags, payload))
        self._block_stream, self._block_flags, self._block = stream_id, flags, []
        self._fragment(flags, fragment, events)

    def _continuation(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        if stream_id != self._block_stream:
            raise ConnectionBroken(PROTOCOL_ERROR, f"CONTINUATION on stream {stream_id}")
        self._fragment(flags, payload, events)

    def _fragment(self, flags: int, fragment: bytes, events: list[told.Event]) -> None:
        is_whole = flags & frames.END_HEADERS and not self._block
        if not fragment and not is_whole:
            self._guard.on_empty()
        self._block.append(fragment)
        self._guard.on_block(len(self._block) - 1, sum(map(len, self._block)))
        if flags & frames.END_HEADERS:
            stream_id, self._block_stream = self._block_stream, 0
            self._message(stream_id, bool(self._block_flags & frames.END_STREAM), events)

    def _message(self, stream_id: int, end_stream: bool, events: list[told.Event]) -> None:
        fields, error = self._decode(b"".join(self._block))
        self._guard.empty_frames = 0
        stream = self._streams.get(stream_id)
        if self._is_server and stream_id & 1 and stream_id > self._library.highest_inbound_stream_id:
            self._request(stream_id, end_stream, fields, error, events)
        elif stream is not None and not stream.is_remote_closed:
            try:
                if error is not None:
                    raise error
                self._next_message(stream, end_stream, fields, events)
            except StreamError as exc:
                self._refuse(stream_id, exc.code, exc.text, events)
        elif stream_id in self._reset_by_us:
            self._guard.on_control()
        else:
            # h2 knows how it ended: it raises, or resets the stream and lives.
            self._feed(self._harmless(stream_id, end_stream=True))
            self._note_refused(stream_id, STREAM_CLOSED, events)

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
        if stream_id > self._last_accepted or len(self._streams) >= self._limits.max_streams:
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
            self._streams[stream_id] = stream
            self._feed(self._harmless(stream_id, end_stream=end_stream))
            stream.is_remote_closed = end_stream
            if exc.status in (414, 431, 501):
                events.append(told.RequestRejected(stream_id, exc.status, end_stream))
            else:
                self._refuse(stream_id, exc.code, exc.text, events)
            return
        self._feed(headers_frame(stream_id, plain_block(fields), end_stream=end_stream))
        self._streams[stream_id] = stream
        stream.is_remote_closed = end_stream
        stream.method, stream.content_length = verdict.method, verdict.content_length
        events.append(told.RequestReceived(stream_id, verdict, fields, end_stream))

    def _turn_away(self, stream_id: int, events: list[told.Event]) -> None:
        self._feed(self._harmless(stream_id, end_stream=False))
        self._library.reset_stream(stream_id, frames.REFUSED_STREAM)
        reset = self._library.data_to_send()
        self._reset_by_us.add(stream_id)
        if stream_id > self._last_accepted:
            return
        self._reply(reset)
        events.append(told.StreamRefusedByRule(stream_id, frames.REFUSED_STREAM, "over the limit of streams"))
        self._guard.on_refused(is_settled=self.is_settled)

    def _next_message(self, stream: Stream, end_stream: bool, fields: list[Field], events: list[told.Event]) -> None:
        frame = headers_frame(stream.stream_id, plain_block(fields), end_stream=end_stream)
        if stream.has_head:
            if not end_stream:
                raise StreamError(PROTOCOL_ERROR, "trailers without END_STREAM")
            drop = judge_trailers(fields)
            judge_length(stream.content_length, stream.received_bytes, is_end=True)
            self._feed_ending(stream, frame, end_stream=True)
            events.append(told.TrailersReceived(stream.stream_id, fields, drop))
            return
        status, content_length = judge_response(fields, stream.method, end_stream=end_stream)
        if status < 200:
            stream.interim_count += 1
            if stream.interim_count > self._limits.max_interim:
                raise StreamError(frames.ENHANCE_YOUR_CALM, "too many interim responses")
            self._feed(frame)
            events.append(told.InterimReceived(stream.stream_id, status, fields))
            return
        stream.has_head = True
        stream.content_length = content_length
        self._feed_ending(stream, frame, end_stream=end_stream)
        events.append(told.ResponseReceived(stream.stream_id, status, fields, end_stream))

    def _data(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        content = frames.without_padding(flags, payload)
        frame = frames.frame(frames.DATA, flags, stream_id, payload)
        end_stream = bool(flags & frames.END_STREAM)
        stream = self._streams.get(stream_id)
        if stream is None or stream.is_remote_closed:
            if stream_id not in self._reset_by_us:
                self._feed(frame)  # h2 raises or resets
                self._note_refused(stream_id, STREAM_CLOSED, events)
                return
            if not payload:
                self._guard.on_control()
            self._feed_dead(frame)
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
            self._refuse(stream_id, exc.code, exc.text, events)
            self._feed_dead(frame)
            return
        stream.received_bytes += len(content)
        stream.unconsumed += len(payload)
        self._feed_ending(stream, frame, end_stream=end_stream)
        events.append(told.DataReceived(stream_id, content, len(payload), end_stream))

    def _rst_stream(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        if not self._was_used(stream_id):
            raise ConnectionBroken(PROTOCOL_ERROR, f"RST_STREAM on idle stream {stream_id}")
        if stream_id not in self._streams:
            self._guard.on_control()
            return
        if self._is_server:
            self._guard.on_reset()
        self._feed(frames.frame(frames.RST_STREAM, 0, stream_id, payload))
        self._forget(stream_id, by_us=False)
        code: int = frames.U32.unpack(payload)[0]
        events.append(told.StreamReset(stream_id, code, code == frames.REFUSED_STREAM))

    def _settings(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        h2_settings.check_frame(flags, stream_id, payload, self._limits)
        if flags & frames.ACK:
            if self.is_settled:
                self._guard.on_control()
            self.is_settled = True
            return
        self._guard.on_control()
        if not self._is_greeted:
            self._is_greeted = True
            self._peer.max_streams = h2_settings.UNLIMITED
        h2_settings.apply(self._peer, payload, "client" if self._is_server else "server")
        # Asking for the number makes h2 drop closed streams, whose windows must not overflow by this (section 6.9.2).
        assert self._library.open_inbound_streams >= 0
        self._feed(frames.frame(frames.SETTINGS, 0, 0, payload), is_reply=True)
        self._flush()
        events.append(told.SettingsReceived())

    def _ping(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        self._guard.on_control()
        self._feed(frames.frame(frames.PING, flags & frames.ACK, 0, payload), is_reply=True)
        if flags & frames.ACK and payload == PING_ALIVE:
            events.append(told.PingAcked())
        elif flags & frames.ACK and payload == PING_DRAIN and self._is_draining and not self.is_closing:
            self.goaway()

    def _goaway(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        self._guard.on_control()
        last_id, code = frames.read_goaway(payload)
        events.append(told.GoAwayReceived(last_id, code))
        if self._is_server:
            return
        self.is_closing = True
        for unprocessed in [stream_id for stream_id in self._streams if stream_id > last_id]:
            self._library.reset_stream(unprocessed, frames.CANCEL)
            self._library.clear_outbound_data_buffer()
            self._forget(unprocessed, by_us=True)
            events.append(told.StreamReset(unprocessed, frames.REFUSED_STREAM, True))

    def _window_update(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        self._guard.on_control()
        increment: int = frames.U32.unpack(payload)[0] & frames.MAX_WINDOW
        if not increment and not stream_id:
            raise ConnectionBroken(PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        if not increment and stream_id in self._streams:
            self._refuse(stream_id, PROTOCOL_ERROR, "WINDOW_UPDATE by 0", events)
            return
        # h2 takes it even on a stream that is gone, and raises on an idle one.
        for event in self._feed(frames.window_update(stream_id, increment or 1)):
            if isinstance(event, StreamReset):
                self._note_refused(stream_id, frames.FLOW_CONTROL_ERROR, events)
        if not stream_id:
            self._flush()
        elif stream_id in self._waiting:
            self._flush_stream(self._waiting[stream_id])

    def _priority(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        self._guard.on_control()
        if len(payload) == 5:
            return
        if stream_id not in self._streams:
            raise ConnectionBroken(FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")
        self._refuse(stream_id, FRAME_SIZE_ERROR, "PRIORITY of the wrong size", events)

    # To and from the library.

    def _feed(self, frame: bytes, *, is_reply: bool = False) -> list[object]:
        """What h2 refuses ends the connection; its own GOAWAY is dropped for ours, which says the same."""
        try:
            events = self._library.receive_data(frame)
        except ProtocolError as exc:
            self._library.clear_outbound_data_buffer()
            raise ConnectionBroken(int(exc.error_code), str(exc)) from exc
        written = self._library.data_to_send()
        if is_reply and written:
            self._reply(written)
        else:
            self._out.append(written)
        return list(events)

    def _feed_ending(self, stream: Stream, frame: bytes, *, end_stream: bool) -> None:
        self._feed(frame)
        stream.is_remote_closed = end_stream
        self._end_if_closed(stream)

    def _feed_dead(self, frame: bytes) -> None:
        """DATA on a stream we have reset: h2 counts it and gives it back, and its new RST_STREAM is dropped."""
        self._feed(frame)
        self._out[-1] = self._out[-1][:-_RST_BYTES]

    def _harmless(self, stream_id: int, *, end_stream: bool) -> bytes:
        return headers_frame(stream_id, _HARMLESS[self._role], end_stream=end_stream)

    def _refuse(self, stream_id: int, code: int, text: str, events: list[told.Event]) -> None:
        self._library.reset_stream(stream_id, code)
        self._reply(self._library.data_to_send())
        self._note_refused(stream_id, code, events, text)

    def _note_refused(self, stream_id: int, code: int, events: list[told.Event], text: str = "by h2") -> None:
        self._forget(stream_id, by_us=True)
        events.append(told.StreamRefusedByRule(stream_id, code, text))
        if self._is_server:
            self._guard.on_reset()

    def _reply(self, written: bytes) -> None:
        if self._backlog:
            self._replies_behind += 1
            if self._replies_behind > self._limits.max_replies_behind:
                raise ConnectionBroken(frames.ENHANCE_YOUR_CALM, "replies wait to be read")
        self._out.append(written)

    def _take_written(self) -> None:
        self._out.append(self._library.data_to_send())

    def _was_used(self, stream_id: int) -> bool:
        library = self._library
        highest = library.highest_inbound_stream_id if self._is_server else library.highest_outbound_stream_id
        return bool(stream_id & 1) and stream_id <= highest

    def _sendable(self, stream_id: int) -> Stream | None:
        stream = self._streams.get(stream_id)
        return None if stream is None or stream.is_ended or self._is_failed else stream

    def _send_fields(self, stream: Stream, fields: Sequence[FieldLike], end_stream: bool) -> None:
        self._library.send_headers(stream.stream_id, [header_of(field) for field in fields], end_stream)
        self._take_written()
        stream.is_ended = stream.is_local_closed = end_stream
        self._end_if_closed(stream)

    def _queue(self, stream: Stream, data: bytes, end_stream: bool) -> None:
        stream.is_ended = end_stream
        if stream.queue is None:
            stream.queue = deque()
            self._waiting[stream.stream_id] = stream
        if data:
            stream.queue.append(data)
            stream.queued_bytes += len(data)
        told_before = len(self._drained)
        self._flush_stream(stream)
        del self._drained[told_before:]

    def _flush(self) -> None:
        """A frame of each stream in turn, as far as h2's windows go."""
        turns = deque(self._waiting.values())
        while turns and not self._backlog:
            stream = turns.popleft()
            if self._send_next(stream) and stream.queue is not None:
                turns.append(stream)
                self._waiting[stream.stream_id] = self._waiting.pop(stream.stream_id)

    def _flush_stream(self, stream: Stream) -> None:
        while stream.queue is not None and not self._backlog and self._send_next(stream):
            pass

    def _send_next(self, stream: Stream) -> bool:
        library, stream_id, data = self._library, stream.stream_id, b""
        queue = stream.queue
        assert queue is not None
        if queue:
            room = min(library.local_flow_control_window(stream_id), library.max_outbound_frame_size)
            if room <= 0:
                return False
            data, rest = queue[0][:room], queue[0][room:]
            queue.popleft()
            if rest:
                queue.appendleft(rest)
            self._note_drained(stream, len(data))
        is_last = stream.is_ended and not queue
        end_stream = is_last and stream.trailers is None
        if not queue:
            stream.queue = None
            del self._waiting[stream_id]
        if data or end_stream:
            if stream.queue is None or len(data) >= 1024:
                self._guard.credit += self._limits.control_per_data
            library.send_data(stream_id, data, end_stream)
            self._take_written()
        if is_last and stream.trailers is not None:
            self._send_fields(stream, stream.trailers, True)
        elif end_stream:
            stream.is_local_closed = True
            self._end_if_closed(stream)
        return True

    def _note_drained(self, stream: Stream, size: int) -> None:
        before = stream.queued_bytes
        stream.queued_bytes -= size
        if not stream.queued_bytes or stream.queued_bytes < self._limits.low_water_bytes <= before:
            self._drained.append(stream.stream_id)

    def _tell_drained(self) -> list[told.Event]:
        drained, self._drained = dict.fromkeys(self._drained), []
        return [] if self._is_failed else [told.WindowOpened(stream_id) for stream_id in drained]

    def _end_if_closed(self, stream: Stream) -> None:
        if stream.is_remote_closed and stream.is_local_closed:
            del self._streams[stream.stream_id]
            self._give_back(stream.unconsumed)

    def _forget(self, stream_id: int, *, by_us: bool) -> None:
        stream = self._streams.pop(stream_id, None)
        self._waiting.pop(stream_id, None)
        if by_us:
            self._reset_by_us.add(stream_id)
        if stream is not None:
            self._give_back(stream.unconsumed)

    def _give_back(self, size: int) -> None:
        self._unreturned += size
        if self._unreturned * 2 >= self._limits.connection_window_bytes:
            self._library.increment_flow_control_window(self._unreturned)
            self._unreturned = 0
            self._take_written()

    def _last_id(self) -> int:
        """For GOAWAY; h2 also counts the even ids that a server has tried to open."""
        return self._library.highest_inbound_stream_id if self._is_server else 0

    def _fail(self, broken: ConnectionBroken, events: list[told.Event]) -> None:
        self._is_failed = self.is_closing = True
        last_id = min(self._last_id(), self._last_accepted)
        self._out.append(frames.goaway(last_id, broken.code, broken.text))
        events.append(told.ConnectionFailed(broken.code, broken.text))
