"""The reference HTTP/2 codec: the `h2` library behind the same interface as `h2.py`, with our strict rules around it.

h2 keeps the states and windows and answers what it answers rightly. Frames pass a gate first, because h2 ends the
whole connection for one bad stream, buffers oversize frames, knows no floods, and stops at GOAWAY (facts, section
1). The rule not to break: nothing is told to the owner that h2 has not accepted.
"""

from collections.abc import Callable, Sequence

from h2.events import StreamReset

from milliroute.proxy.codec import h2_events as told
from milliroute.proxy.codec import h2_frames as frames
from milliroute.proxy.codec import h2_settings
from milliroute.proxy.codec.h2_frames import (
    FRAME_SIZE_ERROR,
    PING_ALIVE,
    PING_DRAIN,
    PROTOCOL_ERROR,
    ConnectionBroken,
)
from milliroute.proxy.codec.h2_limits import H2Limits
from milliroute.proxy.codec.h2_reference_receiver import ReferenceReceiver
from milliroute.proxy.codec.h2_reference_sender import ReferenceSender
from milliroute.proxy.codec.h2_reference_state import ReferenceState
from milliroute.proxy.codec.h2_settings import PeerSettings, Role
from milliroute.proxy.codec.h2_stream import FieldLike, Stream, method_of

# Type -> exact length of the payload; PRIORITY's is a stream error.
_LENGTHS = {frames.RST_STREAM: 4, frames.PING: 8, frames.WINDOW_UPDATE: 4}
_ON_CONNECTION = (frames.SETTINGS, frames.PING, frames.GOAWAY)
_ON_STREAM = (frames.DATA, frames.HEADERS, frames.PRIORITY, frames.RST_STREAM, frames.CONTINUATION)


class H2Connection:
    """As h2.H2Connection, call for call and event for event."""

    def __init__(self, role: Role, limits: H2Limits) -> None:
        self._state = ReferenceState(role, limits)
        self._sender = ReferenceSender(self._state)
        self._receiver = ReferenceReceiver(self._state)
        self._limits = limits
        self._guard = self._state.guard
        self._held = b""
        self._begun = object()  # the frame or field block that is being read
        self._preface_left = frames.PREFACE if self._state.is_server else b""
        self._is_greeted = False
        self._next_id = 1
        self._is_draining = False
        self.is_closing = False
        gates: dict[int, Callable[[int, int, bytes, list[told.Event]], None]] = {
            frames.DATA: self._receiver.data,
            frames.HEADERS: self._receiver.headers,
            frames.PRIORITY: self._priority,
            frames.RST_STREAM: self._receiver.rst_stream,
            frames.SETTINGS: self._settings,
            frames.PING: self._ping,
            frames.GOAWAY: self._goaway,
            frames.WINDOW_UPDATE: self._window_update,
            frames.CONTINUATION: self._receiver.continuation,
        }
        self._gates = gates

    # What the peer sends.

    def receive(self, data: bytes, now: float) -> list[told.Event]:
        events: list[told.Event] = []
        if self._state.is_failed:
            return events
        self._guard.now = now
        self._held += data
        try:
            self._read_preface()
            while self._read_frame(events):
                pass
        except ConnectionBroken as exc:
            self._fail(exc, events)
        return events + self._sender.tell_drained()

    def take_output(self) -> list[bytes]:
        out, self._state.out = self._state.out, []
        return out

    def backlog(self, size: int) -> list[told.Event]:
        if size > self._limits.max_backlog_bytes:
            self._state.backlog = size
        elif size <= self._limits.max_backlog_bytes // 2:
            self._state.backlog = self._state.replies_behind = 0
            if not self._state.is_failed:
                self._sender.flush()
        return self._sender.tell_drained()

    # What the owner sends.

    def can_open(self) -> bool:
        is_room = len(self._state.streams) < self._state.peer.max_streams
        return is_room and not self.is_closing and not self._state.is_failed and self._next_id <= frames.MAX_STREAM_ID

    def open_stream(self) -> int:
        if self._next_id > frames.MAX_STREAM_ID or self.is_closing or self._state.is_failed:
            raise RuntimeError("no more streams on this connection")
        stream_id = self._next_id
        self._next_id += 2
        return stream_id

    def send_request(self, stream_id: int, fields: Sequence[FieldLike], end_stream: bool, data: bytes = b"") -> None:
        if self._state.is_failed or self.is_closing or stream_id <= self._state.library.highest_outbound_stream_id:
            return
        self._state.streams[stream_id] = stream = Stream(stream_id, 0, 0)
        stream.method = method_of(fields)
        self._guard.credit += self._limits.control_per_stream
        self._sender.fields(stream, fields, end_stream and not data)
        if data:
            self._sender.queue(stream, data, end_stream)

    def send_response(self, stream_id: int, fields: Sequence[FieldLike], end_stream: bool, data: bytes = b"") -> None:
        stream = self._sendable(stream_id)
        if stream is not None:
            self._sender.fields(stream, fields, end_stream and not data)
            if data:
                self._sender.queue(stream, data, end_stream)

    def send_trailers(self, stream_id: int, fields: Sequence[FieldLike]) -> None:
        stream = self._sendable(stream_id)
        if stream is not None and fields and stream.queue is None:
            self._sender.fields(stream, fields, True)
        elif stream is not None:
            stream.trailers = fields or None
            self._sender.queue(stream, b"", True)

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        stream = self._sendable(stream_id)
        if stream is not None and (data or end_stream):
            self._sender.queue(stream, data, end_stream)

    def queued(self, stream_id: int) -> int:
        stream = self._state.streams.get(stream_id)
        return 0 if stream is None else stream.queued_bytes

    def consumed(self, stream_id: int, size: int) -> None:
        stream = self._state.streams.get(stream_id)
        if stream is None or self._state.is_failed:
            return
        size = min(size, stream.unconsumed)
        stream.unconsumed -= size
        self._state.give_back(size)
        if stream.is_remote_closed:
            return
        stream.unreturned += size
        if stream.unreturned * 2 >= self._limits.stream_window_bytes:
            self._state.library.increment_flow_control_window(stream.unreturned, stream_id)
            stream.unreturned = 0
            self._state.take_written()

    def reset(self, stream_id: int, code: int) -> None:
        if stream_id in self._state.streams and not self._state.is_failed:
            self._state.library.reset_stream(stream_id, code)
            self._state.take_written()
            self._state.forget(stream_id, by_us=True)

    def goaway(self, code: int = frames.NO_ERROR, last_id: int | None = None) -> None:
        """h2 would stop at once, so it is not told."""
        if self._state.is_failed:
            return
        if self._state.is_server and code == frames.NO_ERROR and last_id is None and not self._is_draining:
            self._is_draining = True
            self._state.out += (frames.goaway(frames.MAX_STREAM_ID, code), frames.ping(PING_DRAIN))
            return
        last = self._state.last_id() if last_id is None else last_id
        self._state.last_accepted = last = min(last, self._state.last_accepted)
        self._state.out.append(frames.goaway(last, code))
        self._is_draining = self.is_closing = True

    def ping(self) -> None:
        if not self._state.is_failed:
            self._state.library.ping(PING_ALIVE)
            self._state.take_written()

    def lost(self) -> None:
        self._state.is_failed = self.is_closing = True
        self._gates = {}

    @property
    def open_streams(self) -> int:
        return len(self._state.streams)

    @property
    def peer_settings(self) -> PeerSettings:
        return self._state.peer

    @property
    def is_settled(self) -> bool:
        return self._state.is_settled

    @property
    def unfinished(self) -> object | None:
        is_data = self._held[3:4] == b"\0" and not self._receiver.block_stream
        return self._begun if self._receiver.block_stream or (self._held and not is_data) else None

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
        if not self._receiver.block_stream:
            self._begun = object()
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
        if self._receiver.block_stream and kind != frames.CONTINUATION:
            raise ConnectionBroken(PROTOCOL_ERROR, "frame inside a field block")
        if not self._is_greeted and (kind != frames.SETTINGS or flags & frames.ACK):
            raise ConnectionBroken(PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if (kind in _ON_CONNECTION and stream_id) or (kind in _ON_STREAM and not stream_id):
            raise ConnectionBroken(PROTOCOL_ERROR, f"frame of type {kind} on stream {stream_id}")
        if len(payload) != _LENGTHS.get(kind, len(payload)) or (kind == frames.GOAWAY and len(payload) < 8):
            raise ConnectionBroken(FRAME_SIZE_ERROR, f"frame of type {kind} with {len(payload)} bytes")

    def _settings(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        h2_settings.check_frame(flags, stream_id, payload, self._limits)
        if flags & frames.ACK:
            if self._state.is_settled:
                self._guard.on_control()
            self._state.is_settled = True
            return
        self._guard.on_control()
        if not self._is_greeted:
            self._is_greeted = True
            self._state.peer.max_streams = h2_settings.UNLIMITED
        h2_settings.apply(self._state.peer, payload, "client" if self._state.is_server else "server")
        # Asking for the number makes h2 drop closed streams, whose windows must not overflow by this (section 6.9.2).
        assert self._state.library.open_inbound_streams >= 0
        self._state.feed(frames.frame(frames.SETTINGS, 0, 0, payload), is_reply=True)
        self._sender.flush()
        events.append(told.SettingsReceived())

    def _ping(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        self._guard.on_control()
        self._state.feed(frames.frame(frames.PING, flags & frames.ACK, 0, payload), is_reply=True)
        if flags & frames.ACK and payload == PING_ALIVE:
            events.append(told.PingAcked())
        elif flags & frames.ACK and payload == PING_DRAIN and self._is_draining and not self.is_closing:
            self.goaway()

    def _goaway(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        self._guard.on_control()
        last_id, code = frames.read_goaway(payload)
        events.append(told.GoAwayReceived(last_id, code))
        if self._state.is_server:
            return
        self.is_closing = True
        for unprocessed in [stream_id for stream_id in self._state.streams if stream_id > last_id]:
            self._state.library.reset_stream(unprocessed, frames.CANCEL)
            self._state.library.clear_outbound_data_buffer()
            self._state.forget(unprocessed, by_us=True)
            events.append(told.StreamReset(unprocessed, frames.REFUSED_STREAM, True))

    def _window_update(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        self._guard.on_control()
        increment: int = frames.U32.unpack(payload)[0] & frames.MAX_WINDOW
        if not increment and not stream_id:
            raise ConnectionBroken(PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        if not increment and stream_id in self._state.streams:
            self._state.refuse(stream_id, PROTOCOL_ERROR, "WINDOW_UPDATE by 0", events)
            return
        # h2 takes it even on a stream that is gone, and raises on an idle one.
        for event in self._state.feed(frames.window_update(stream_id, increment or 1)):
            if isinstance(event, StreamReset):
                self._state.note_refused(stream_id, frames.FLOW_CONTROL_ERROR, events)
        if not stream_id:
            self._sender.flush()
        elif stream_id in self._state.waiting:
            self._sender.flush_stream(self._state.waiting[stream_id])

    def _priority(self, flags: int, stream_id: int, payload: bytes, events: list[told.Event]) -> None:
        self._guard.on_control()
        if len(payload) == 5:
            return
        if stream_id not in self._state.streams:
            raise ConnectionBroken(FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")
        self._state.refuse(stream_id, FRAME_SIZE_ERROR, "PRIORITY of the wrong size", events)

    def _sendable(self, stream_id: int) -> Stream | None:
        stream = self._state.streams.get(stream_id)
        return None if stream is None or stream.is_ended or self._state.is_failed else stream

    def _fail(self, broken: ConnectionBroken, events: list[told.Event]) -> None:
        self._state.is_failed = self.is_closing = True
        last_id = min(self._state.last_id(), self._state.last_accepted)
        self._state.out.append(frames.goaway(last_id, broken.code, broken.text))
        events.append(told.ConnectionFailed(broken.code, broken.text))
