"""The streams of one connection and what became of those that are gone (RFC 9113 section 5.1).

A stream is in the table from its first HEADERS until both sides ended it or one reset it. Of normal ends nothing is
kept: an id at or below `last_id` that is in no list was closed by END_STREAM. The rule not to break: a stream
leaves the table by `end` or `drop` only, so that the bytes its owner never took go back to the connection's window.
"""

from collections import deque
from collections.abc import Sequence

import msgspec

from milliroute.proxy.codec.hpack_static import Field

FieldLike = Field | tuple[bytes, bytes]
# Of a body; what is sent of a long one are parts, not copies.
Bytes = bytes | memoryview

# How many resets and gaps are remembered: many round trips' worth at the rate the reset budget allows.
_MEMORY = 1000


class Stream(msgspec.Struct, gc=False, eq=False):
    """send_window may be negative (section 6.9.2). content_length: of what is received, None where not said."""

    stream_id: int
    send_window: int
    receive_window: int
    # The message the peer sends.
    has_head: bool = False
    is_remote_closed: bool = False
    # An extended CONNECT that was asked of us, or that the peer has granted: DATA and no more fields (section 8.5).
    is_tunnel: bool = False
    content_length: int | None = None
    received_bytes: int = 0
    interim_count: int = 0
    # Flow-controlled bytes: received and not yet consumed by the owner; consumed and not yet given back.
    unconsumed: int = 0
    unreturned: int = 0
    # The message we send. is_ended: its end is known; is_local_closed: END_STREAM is written.
    method: bytes = b""
    is_ended: bool = False
    is_local_closed: bool = False
    # What waits for window; `offset` bytes of the first piece are already written.
    queue: deque[bytes] | None = None
    offset: int = 0
    queued_bytes: int = 0
    trailers: Sequence[FieldLike] | None = None


class StreamTable:
    """last_id: the highest id the client has used; server ids (even) stay idle, since push is never allowed."""

    __slots__ = ("_gaps", "_resets", "last_id", "released_bytes", "streams")

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        self.last_id = 0
        # Flow-controlled bytes of streams that are gone; the connection gives them back.
        self.released_bytes = 0
        self._resets: dict[int, bool] = {}
        self._gaps: list[tuple[int, int]] = []

    def add(self, stream: Stream) -> None:
        stream_id = stream.stream_id
        if stream_id == self.last_id + 2:
            self.last_id = stream_id
        else:
            self.note_id(stream_id)
        self.streams[stream_id] = stream

    def note_id(self, stream_id: int) -> None:
        """Lower ids that were never used are closed from now on (section 5.1.1)."""
        expected = self.last_id + 2 if self.last_id else 1
        if stream_id != expected:
            self._gaps = [*self._gaps[-_MEMORY:], (expected, stream_id)]
        self.last_id = stream_id

    def end(self, stream: Stream) -> None:
        """Both sides have ended it."""
        del self.streams[stream.stream_id]
        self.released_bytes += stream.unconsumed

    def drop(self, stream_id: int, *, by_us: bool) -> None:
        """One side has reset it, or we refused it before it was in the table."""
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self.released_bytes += stream.unconsumed
        self._resets[stream_id] = by_us
        if len(self._resets) > _MEMORY:
            del self._resets[next(iter(self._resets))]

    def is_idle(self, stream_id: int) -> bool:
        return stream_id > self.last_id or not stream_id & 1

    def was_reset_by_us(self, stream_id: int) -> bool:
        """Frames on it may have been under way; they are read for the connection's state and dropped."""
        return self._resets.get(stream_id, False)

    def was_reset_by_peer(self, stream_id: int) -> bool:
        return not self._resets.get(stream_id, True)

    def was_skipped(self, stream_id: int) -> bool:
        return any(start <= stream_id < stop for start, stop in self._gaps)


def method_of(fields: Sequence[FieldLike]) -> bytes:
    """The request's :method, which decides whether its response has content. It comes first, as a rule."""
    for field in fields:
        name, value = field if isinstance(field, tuple) else (field.name, field.value)
        if name == b":method":
            return value
    return b"GET"
