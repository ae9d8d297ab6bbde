"""What both halves of the reference codec share: the `h2` library, the streams as we see them, and what is to be sent.

Frames go in by `feed`, what h2 answers comes out into `out`. The rule not to break: h2 and `streams` are told of each
end and each reset together.
"""

from h2.exceptions import ProtocolError

from milliroute.proxy.codec import h2_events as told
from milliroute.proxy.codec import h2_frames as frames
from milliroute.proxy.codec import h2_settings
from milliroute.proxy.codec.h2_frames import ConnectionBroken
from milliroute.proxy.codec.h2_library import headers_frame, library
from milliroute.proxy.codec.h2_limits import Guard, H2Limits
from milliroute.proxy.codec.h2_settings import PeerSettings, Role
from milliroute.proxy.codec.h2_stream import Stream

# What h2 sees in the place of a message that is refused: GET / of authority "a"; status 200.
_HARMLESS = {"server": b"\x82\x86\x84\x01\x01a", "client": b"\x88"}
_RST_BYTES = frames.HEADER_BYTES + 4


class ReferenceState:
    def __init__(self, role: Role, limits: H2Limits) -> None:
        self.role = role
        self.is_server = role == "server"
        self.limits = limits
        self.guard = Guard(limits)
        self.out = [h2_settings.opening(role, limits)]
        self.library = library(role, limits)
        self.peer = PeerSettings()
        self.streams: dict[int, Stream] = {}
        self.reset_by_us: set[int] = set()
        # Streams with something queued, in the order of their turns.
        self.waiting: dict[int, Stream] = {}
        self.backlog = 0
        self.replies_behind = 0
        self.last_accepted = frames.MAX_STREAM_ID
        self.is_settled = False
        self.is_failed = False
        self._unreturned = 0

    def feed(self, frame: bytes, *, is_reply: bool = False) -> list[object]:
        """What h2 refuses ends the connection; its own GOAWAY is dropped for ours, which says the same."""
        try:
            events = self.library.receive_data(frame)
        except ProtocolError as exc:
            self.library.clear_outbound_data_buffer()
            raise ConnectionBroken(int(exc.error_code), str(exc)) from exc
        written = self.library.data_to_send()
        if is_reply and written:
            self.reply(written)
        else:
            self.out.append(written)
        return list(events)

    def feed_ending(self, stream: Stream, frame: bytes, *, end_stream: bool) -> None:
        self.feed(frame)
        stream.is_remote_closed = end_stream
        self.end_if_closed(stream)

    def feed_dead(self, frame: bytes) -> None:
        """DATA on a stream we have reset: h2 counts it and gives it back, and its new RST_STREAM is dropped."""
        self.feed(frame)
        self.out[-1] = self.out[-1][:-_RST_BYTES]

    def harmless(self, stream_id: int, *, end_stream: bool) -> bytes:
        return headers_frame(stream_id, _HARMLESS[self.role], end_stream=end_stream)

    def refuse(self, stream_id: int, code: int, text: str, events: list[told.Event]) -> None:
        self.library.reset_stream(stream_id, code)
        self.reply(self.library.data_to_send())
        self.note_refused(stream_id, code, events, text)

    def note_refused(self, stream_id: int, code: int, events: list[told.Event], text: str = "by h2") -> None:
        is_charged = self.is_server or stream_id not in self.streams
        self.forget(stream_id, by_us=True)
        events.append(told.StreamRefusedByRule(stream_id, code, text))
        if is_charged:
            self.guard.on_reset()

    def reply(self, written: bytes) -> None:
        if self.backlog:
            self.replies_behind += 1
            if self.replies_behind > self.limits.max_replies_behind:
                raise ConnectionBroken(frames.ENHANCE_YOUR_CALM, "replies wait to be read")
        self.out.append(written)

    def take_written(self) -> None:
        self.out.append(self.library.data_to_send())

    def was_used(self, stream_id: int) -> bool:
        library = self.library
        highest = library.highest_inbound_stream_id if self.is_server else library.highest_outbound_stream_id
        return bool(stream_id & 1) and stream_id <= highest

    def end_if_closed(self, stream: Stream) -> None:
        if stream.is_remote_closed and stream.is_local_closed:
            del self.streams[stream.stream_id]
            self.give_back(stream.unconsumed)

    def forget(self, stream_id: int, *, by_us: bool) -> None:
        stream = self.streams.pop(stream_id, None)
        self.waiting.pop(stream_id, None)
        if by_us:
            self.reset_by_us.add(stream_id)
        if stream is not None:
            self.give_back(stream.unconsumed)

    def give_back(self, size: int) -> None:
        self._unreturned += size
        if self._unreturned * 2 >= self.limits.connection_window_bytes:
            self.library.increment_flow_control_window(self._unreturned)
            self._unreturned = 0
            self.take_written()

    def last_id(self) -> int:
        """For GOAWAY; h2 also counts the even ids that a server has tried to open."""
        return self.library.highest_inbound_stream_id if self.is_server else 0
