"""The sending half of the reference codec: fields, and DATA that waits in its stream until h2's windows let it go."""

from collections import deque
from collections.abc import Sequence

from milliroute.proxy.codec import h2_events as told
from milliroute.proxy.codec.h2_library import header_of
from milliroute.proxy.codec.h2_reference_state import ReferenceState
from milliroute.proxy.codec.h2_stream import FieldLike, Stream


class ReferenceSender:
    def __init__(self, state: ReferenceState) -> None:
        self._state = state
        # Streams to tell of by WindowOpened.
        self._drained: list[int] = []

    def fields(self, stream: Stream, fields: Sequence[FieldLike], end_stream: bool) -> None:
        self._state.library.send_headers(stream.stream_id, [header_of(field) for field in fields], end_stream)
        self._state.take_written()
        stream.is_ended = stream.is_local_closed = end_stream
        self._state.end_if_closed(stream)

    def queue(self, stream: Stream, data: bytes, end_stream: bool) -> None:
        stream.is_ended = end_stream
        is_first = stream.queue is None
        if stream.queue is None:
            stream.queue = deque()
            self._state.waiting[stream.stream_id] = stream
        if data:
            stream.queue.append(data)
            stream.queued_bytes += len(data)
        told_before = len(self._drained)
        if is_first and not data:
            self._send_next(stream)  # the end of a stream waits neither for windows nor for the backlog
        else:
            self.flush_stream(stream)
        del self._drained[told_before:]

    def flush(self) -> None:
        """A frame of each stream in turn, as far as h2's windows go."""
        turns = deque(self._state.waiting.values())
        while turns and not self._state.backlog:
            stream = turns.popleft()
            if self._send_next(stream) and stream.queue is not None:
                turns.append(stream)
                self._state.waiting[stream.stream_id] = self._state.waiting.pop(stream.stream_id)

    def flush_stream(self, stream: Stream) -> None:
        while stream.queue is not None and not self._state.backlog and self._send_next(stream):
            pass

    def tell_drained(self) -> list[told.Event]:
        drained, self._drained = dict.fromkeys(self._drained), []
        return [] if self._state.is_failed else [told.WindowOpened(stream_id) for stream_id in drained]

    def _send_next(self, stream: Stream) -> bool:
        library, stream_id, data = self._state.library, stream.stream_id, b""
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
            del self._state.waiting[stream_id]
        if data or end_stream:
            if stream.queue is None or len(data) >= 1024:
                self._state.guard.credit += self._state.limits.control_per_data
            library.send_data(stream_id, data, end_stream)
            self._state.take_written()
        if is_last and stream.trailers is not None:
            self.fields(stream, stream.trailers, True)
        elif end_stream:
            stream.is_local_closed = True
            self._state.end_if_closed(stream)
        return True

    def _note_drained(self, stream: Stream, size: int) -> None:
        before = stream.queued_bytes
        stream.queued_bytes -= size
        if not stream.queued_bytes or stream.queued_bytes < self._state.limits.low_water_bytes <= before:
            self._drained.append(stream.stream_id)
