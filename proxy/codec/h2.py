"""The fast HTTP/2 codec: one connection's state machine, bytes in and events out, messages in and bytes out (RFC
9113).

`receive` never raises for what a peer sends: ConnectionFailed is the last event and GOAWAY is in the output.
Sending on a stream that is gone does nothing, since a reset may cross with it. The rule not to break: after every
call, `take_output` is written, whole and in order.
"""

from collections.abc import Callable, Sequence

from milliroute.proxy.codec import h2_frames as frames
from milliroute.proxy.codec import h2_settings
from milliroute.proxy.codec.h2_events import (
    ConnectionFailed,
    Event,
    GoAwayReceived,
    PingAcked,
    SettingsReceived,
    StreamReset,
    WindowOpened,
)
from milliroute.proxy.codec.h2_frames import (
    CONTINUATION,
    DEFAULT_FRAME_BYTES,
    FRAME_SIZE_ERROR,
    HEADER,
    HEADER_BYTES,
    MAX_STREAM_ID,
    PING_ALIVE,
    PING_DRAIN,
    PROTOCOL_ERROR,
    ConnectionBroken,
)
from milliroute.proxy.codec.h2_limits import Guard, H2Limits
from milliroute.proxy.codec.h2_receiver import Receiver
from milliroute.proxy.codec.h2_sender import Sender
from milliroute.proxy.codec.h2_settings import PeerSettings, Role
from milliroute.proxy.codec.h2_stream import Bytes, FieldLike, Stream, StreamTable, method_of

# Flags, stream and payload of a frame; what happened by it is added to the list.
_Handler = Callable[[int, int, bytes, list[Event]], None]


class H2Connection:
    """now: seconds of any monotonic clock. A client's open_stream and send_request belong together, ids rising."""

    __slots__ = (
        "_guard",
        "_handlers",
        "_held",
        "_held_bytes",
        "_is_draining",
        "_is_failed",
        "_is_greeted",
        "_is_server",
        "_limits",
        "_next_id",
        "_preface_left",
        "_receiver",
        "_sender",
        "_streams",
        "_table",
        "_wanted_bytes",
        "is_closing",
    )

    def __init__(self, role: Role, limits: H2Limits) -> None:
        self._is_server = role == "server"
        self._limits = limits
        self._guard = Guard(limits)
        self._table = StreamTable()
        self._streams = self._table.streams
        self._sender = Sender(self._table, self._guard, limits)
        self._receiver = Receiver(role, self._table, self._sender, self._guard, limits)
        self._sender.out.append(h2_settings.opening(role, limits))
        # Bytes of a frame that is not here whole, and how many it takes to go on.
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._wanted_bytes = HEADER_BYTES
        self._preface_left = frames.PREFACE if self._is_server else b""
        # Until the peer's SETTINGS has come any other frame is an error (section 3.4).
        self._handlers: tuple[_Handler, ...] = (self._not_yet,) * 4 + (self._first_settings,) + (self._not_yet,) * 5
        self._next_id = 1
        self._is_draining = False
        self._is_failed = False
        self._is_greeted = False
        self.is_closing = False

    # What the peer sends.

    def receive(self, data: bytes, now: float) -> list[Event]:
        events: list[Event] = []
        if self._is_failed:
            return events
        self._guard.now = now
        try:
            if self._preface_left:
                data = self._without_preface(data)
            self._read_frames(data, self._complete(data, events) if self._held else 0, events)
        except ConnectionBroken as exc:
            self._fail(exc, events)
        if self._sender.drained and not self._is_failed:
            self._tell_drained(events)
        return events

    def take_output(self) -> list[Bytes]:
        """In pieces, because joining a body costs more than writing it."""
        if self._table.released_bytes:
            self._give_back_released()
        sender = self._sender
        out, sender.out = sender.out, []
        return out

    def backlog(self, size: int) -> list[Event]:
        """size: bytes handed out by take_output that the transport has not written yet; returns WindowOpened events."""
        events: list[Event] = []
        if not self._is_failed:
            self._sender.on_backlog(size)
            self._tell_drained(events)
        return events

    # What the owner sends.

    def can_open(self) -> bool:
        is_room = len(self._streams) < self._sender.peer.max_streams
        return is_room and not self.is_closing and self._next_id <= MAX_STREAM_ID

    def open_stream(self) -> int:
        """Raises RuntimeError when the ids are used up or the connection is closing: ask can_open first."""
        stream_id = self._next_id
        if stream_id > MAX_STREAM_ID or self.is_closing:
            raise RuntimeError("no more streams on this connection")
        self._next_id = stream_id + 2
        return stream_id

    def send_request(self, stream_id: int, fields: Sequence[FieldLike], end_stream: bool, data: bytes = b"") -> None:
        """data: what of the body is at hand; end_stream: nothing follows it."""
        if self.is_closing or stream_id <= self._table.last_id:
            return
        sender, limits = self._sender, self._limits
        stream = Stream(stream_id, sender.peer.window_bytes, limits.stream_window_bytes)
        stream.method = method_of(fields)
        self._table.add(stream)
        self._guard.credit += limits.control_per_stream
        if data:
            sender.message(stream, fields, data, end_stream)
        else:
            sender.fields(stream, fields, end_stream)

    def send_response(self, stream_id: int, fields: Sequence[FieldLike], end_stream: bool, data: bytes = b"") -> None:
        """Interim responses too, without end_stream. data: as of a request."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.is_ended and not self._is_failed:
            if data:
                self._sender.message(stream, fields, data, end_stream)
            else:
                self._sender.fields(stream, fields, end_stream)

    def send_trailers(self, stream_id: int, fields: Sequence[FieldLike]) -> None:
        """Behind the DATA that still waits for window."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.is_ended and not self._is_failed:
            self._sender.trailers(stream, fields)

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.is_ended and not self._is_failed:
            self._sender.data(stream, data, end_stream)

    def queued(self, stream_id: int) -> int:
        """Bytes of DATA that wait for window."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.queued_bytes

    def consumed(self, stream_id: int, size: int) -> None:
        """size: from DataReceived.flow_bytes; what is not consumed when a stream closes is given back by itself."""
        if not self._is_failed:
            self._receiver.consumed(stream_id, size)

    def reset(self, stream_id: int, code: int) -> None:
        if stream_id in self._streams and not self._is_failed:
            self._table.drop(stream_id, by_us=True)
            self._sender.out.append(frames.rst_stream(stream_id, code))
            self._sender.forget(stream_id)

    def goaway(self, code: int = frames.NO_ERROR, last_id: int | None = None) -> None:
        """A server's first call without arguments only announces the end (section 6.8); the end follows by itself when
        the peer has surely read that, or with the second call. Streams that are open go on."""
        if self._is_failed:
            return
        if self._is_server and code == frames.NO_ERROR and last_id is None and not self._is_draining:
            self._is_draining = True
            self._sender.out += (frames.goaway(frames.MAX_STREAM_ID, code), frames.ping(PING_DRAIN))
            return
        last = (self._table.last_id if self._is_server else 0) if last_id is None else last_id
        # Section 6.8: the value never rises.
        self._receiver.last_accepted = last = min(last, self._receiver.last_accepted)
        self._sender.out.append(frames.goaway(last, code))
        self._is_draining = self.is_closing = True

    def ping(self) -> None:
        if not self._is_failed:
            self._sender.out.append(frames.ping(PING_ALIVE))

    def lost(self) -> None:
        """The transport is gone: what is said or sent from now on is dropped. Ends what refers back to itself, which
        would be left to the collector."""
        self._is_failed = self.is_closing = True
        self._handlers = ()

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    @property
    def peer_settings(self) -> PeerSettings:
        return self._sender.peer

    @property
    def is_settled(self) -> bool:
        """The peer has acknowledged our SETTINGS; the owner may give up with SETTINGS_TIMEOUT when it never does."""
        return self._receiver.is_settled

    @property
    def unfinished(self) -> object | None:
        """What the peer has begun and not ended, a frame other than DATA or a field block: one object as long as it is
        the same; None where there is nothing. For the owner to see how long it takes."""
        if self._receiver.block_stream:
            return self._receiver.block
        is_data = b"".join(self._held[:4])[3:4] == b"\0"  # its pieces are of a byte at least
        return self._held if self._held and not is_data else None

    # Frames.

    def _complete(self, data: bytes, events: list[Event]) -> int:
        """Reads the frame that is held, with what was missing of it; returns where the rest of data begins.

        Only that frame is joined: all of data would be another copy of every body.
        """
        at, end = 0, len(data)
        while self._held and at < end:
            piece = data[at : at + self._wanted_bytes - self._held_bytes]
            at += len(piece)
            self._held.append(piece)
            self._held_bytes += len(piece)
            if self._held_bytes == self._wanted_bytes:
                frame, self._held = b"".join(self._held), []
                self._read_frames(frame, 0, events)
        return at

    def _read_frames(self, data: bytes, at: int, events: list[Event]) -> None:
        end = len(data)
        unpack, receiver = HEADER.unpack_from, self._receiver
        while (start := at + HEADER_BYTES) <= end:
            length_and_kind, flags, stream_id = unpack(data, at)
            size, kind = length_and_kind >> 8, length_and_kind & 0xFF
            if size > DEFAULT_FRAME_BYTES:
                raise ConnectionBroken(FRAME_SIZE_ERROR, f"frame of {size} bytes, wanted at most 16384")
            if start + size > end:
                self._hold(data[at:], HEADER_BYTES + size)
                return
            next_at = start + size
            # The next frame has the type, flags and stream of this one.
            if not kind and not flags and data[next_at + 3 : next_at + HEADER_BYTES] == data[at + 3 : start]:
                row_end = receiver.data_row(data, at, stream_id, events) if self._is_greeted else at
                if row_end > at:
                    at = row_end
                    continue
            at = next_at
            if receiver.block_stream and kind != CONTINUATION:
                raise ConnectionBroken(PROTOCOL_ERROR, f"frame of type {kind} inside a field block")
            if kind <= CONTINUATION:
                self._handlers[kind](flags, stream_id & MAX_STREAM_ID, data[start:at], events)
            else:
                self._unknown()
        if at < end:
            self._hold(data[at:], HEADER_BYTES)

    def _hold(self, rest: bytes, wanted: int) -> None:
        self._held, self._held_bytes, self._wanted_bytes = [rest], len(rest), wanted

    def _without_preface(self, data: bytes) -> bytes:
        seen = data[: len(self._preface_left)]
        if not self._preface_left.startswith(seen):
            raise ConnectionBroken(PROTOCOL_ERROR, "not the HTTP/2 connection preface")
        self._preface_left = self._preface_left[len(seen) :]
        return data[len(seen) :]

    def _not_yet(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        raise ConnectionBroken(PROTOCOL_ERROR, "the first frame is not SETTINGS")

    def _first_settings(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if flags & frames.ACK:
            raise ConnectionBroken(PROTOCOL_ERROR, "the first frame is an acknowledgement")
        self._is_greeted = True
        receiver = self._receiver
        self._handlers = (
            receiver.data,
            receiver.headers,
            self._on_priority,
            receiver.rst_stream,
            self._on_settings,
            self._on_push_promise,
            self._on_ping,
            self._on_goaway,
            self._on_window_update,
            receiver.continuation,
        )
        # Section 6.5.2: without the setting there is no limit; before SETTINGS we assumed one.
        self._sender.peer.max_streams = h2_settings.UNLIMITED
        self._on_settings(flags, stream_id, payload, events)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        h2_settings.check_frame(flags, stream_id, payload, self._limits)
        if flags & frames.ACK:
            if self._receiver.is_settled:
                self._guard.on_control()
            self._receiver.is_settled = True
            return
        self._guard.on_control()
        peer = self._sender.peer
        old_window, old_table = peer.window_bytes, peer.table_bytes
        h2_settings.apply(peer, payload, "client" if self._is_server else "server")
        self._sender.on_settings(old_window, old_table)
        # The acknowledgement before what the new windows let go.
        self._sender.reply(frames.SETTINGS_ACK)
        self._sender.flush()
        events.append(SettingsReceived())

    def _on_ping(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if stream_id:
            raise ConnectionBroken(PROTOCOL_ERROR, f"PING on stream {stream_id}")
        if len(payload) != 8:
            raise ConnectionBroken(FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes, wanted 8")
        self._guard.on_control()
        if not flags & frames.ACK:
            self._sender.reply(frames.ping(payload, is_ack=True))
        elif payload == PING_ALIVE:
            events.append(PingAcked())
        elif payload == PING_DRAIN and self._is_draining and not self.is_closing:
            self.goaway()

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if stream_id:
            raise ConnectionBroken(PROTOCOL_ERROR, f"GOAWAY on stream {stream_id}")
        if len(payload) < 8:
            raise ConnectionBroken(FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes, wanted 8")
        self._guard.on_control()
        last_id, code = frames.read_goaway(payload)
        events.append(GoAwayReceived(last_id, code))
        if self._is_server:
            return  # it only says that the client takes no more pushes
        self.is_closing = True
        for unprocessed in [stream_id for stream_id in self._streams if stream_id > last_id]:
            self._table.drop(unprocessed, by_us=True)
            self._sender.forget(unprocessed)
            events.append(StreamReset(unprocessed, frames.REFUSED_STREAM, True))

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(FRAME_SIZE_ERROR, f"WINDOW_UPDATE of {len(payload)} bytes, wanted 4")
        self._guard.on_control()
        increment = frames.U32.unpack(payload)[0] & frames.MAX_WINDOW
        if not stream_id:
            if not increment:
                raise ConnectionBroken(PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            self._sender.on_connection_window(increment)
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            if self._table.is_idle(stream_id):
                raise ConnectionBroken(PROTOCOL_ERROR, f"WINDOW_UPDATE on idle stream {stream_id}")
            return
        stream.send_window += increment
        if not increment:
            self._receiver.refuse(stream_id, PROTOCOL_ERROR, "WINDOW_UPDATE by 0", events)
        elif stream.send_window > frames.MAX_WINDOW:
            self._receiver.refuse(stream_id, frames.FLOW_CONTROL_ERROR, "window over 2**31-1", events)
        elif stream.queue is not None:
            self._sender.flush_stream(stream)

    def _on_priority(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        """Deprecated and ignored (section 5.3.2), but for its form."""
        if not stream_id:
            raise ConnectionBroken(PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._guard.on_control()
        if len(payload) == 5:
            return
        text = f"PRIORITY of {len(payload)} bytes, wanted 5"
        if stream_id not in self._streams:
            # Section 5.4.1 allows the stronger error; RST_STREAM is not for idle or closed streams.
            raise ConnectionBroken(FRAME_SIZE_ERROR, text)
        self._receiver.refuse(stream_id, FRAME_SIZE_ERROR, text, events)

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        raise ConnectionBroken(PROTOCOL_ERROR, "PUSH_PROMISE, and push is not allowed")

    def _unknown(self) -> None:
        """Section 5.5: ignored, wherever it comes but inside a field block; not as the first frame."""
        if self._handlers[0] == self._not_yet:
            raise ConnectionBroken(PROTOCOL_ERROR, "the first frame is not SETTINGS")
        self._guard.on_control()

    # Ends.

    def _tell_drained(self, events: list[Event]) -> None:
        events += [WindowOpened(stream_id) for stream_id in dict.fromkeys(self._sender.drained)]
        self._sender.drained.clear()

    def _give_back_released(self) -> None:
        released, self._table.released_bytes = self._table.released_bytes, 0
        if not self._is_failed:
            self._receiver.give_back(released)

    def _fail(self, broken: ConnectionBroken, events: list[Event]) -> None:
        self._is_failed = self.is_closing = True
        self._held = []
        last_id = min(self._table.last_id if self._is_server else 0, self._receiver.last_accepted)
        self._sender.out.append(frames.goaway(last_id, broken.code, broken.text))
        events.append(ConnectionFailed(broken.code, broken.text))
