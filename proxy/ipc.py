"""The pipe between the agent and a worker: length-prefixed msgpack, one tagged struct per message.

Down go listeners, tables and orders; up come questions, acks and counters. Frame: 4 bytes big-endian length, then the
message. Both ends are ours and local, so a frame that does not decode is a bug and raises.
"""

import struct
from collections.abc import Iterator

import msgspec

from milliroute.proxy.state import AuthorityState

# One frame holds one authority: 16 MiB is some 200,000 endpoints; more than that is a bug and not a table.
MAX_FRAME_BYTES = 16 * 1024 * 1024
_LENGTH = struct.Struct(">I")
# Authorities and keys that begin so are ports of the pod itself, of which the proxy beside its app asks. A key goes on
# with "?" and the pod's labels, which are for the control service.
INBOUND = "inbound:"
# Keys that begin so are addresses that a sidecar's app has dialled, and that are no Service's.
DIALLED = "dialled:"


class Alias(msgspec.Struct, tag="alias", frozen=True):
    """Down: an authority as clients write it ("reviews:9080") is routed by the state of this key."""

    authority: str
    key: str


class Update(msgspec.Struct, tag="update", frozen=True):
    """Down: the whole state of one key; state is None when the control service does not know the name."""

    key: str
    epoch: str
    version: int
    state: AuthorityState | None


class Forget(msgspec.Struct, tag="forget", frozen=True):
    """Down: this authority is no longer watched; ask again when a client names it."""

    authority: str


class Drain(msgspec.Struct, tag="drain", frozen=True):
    """Down: accept what waits in the backlog, then no more; finish what runs; exit within grace_s seconds."""

    grace_s: float


class Watch(msgspec.Struct, tag="watch", frozen=True):
    """Up: a client named an authority this worker has no state for."""

    authority: str


class Applied(msgspec.Struct, tag="applied", frozen=True):
    """Up: this worker routes by that version from now on; or why it can't (then the old table stays)."""

    key: str
    epoch: str
    version: int
    unix_ns: int
    error: str = ""


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """Up: listening."""

    pid: int


class LatencyDelta(msgspec.Struct, frozen=True, array_like=True):
    """Of one status code: buckets has one count per bound of metrics.LATENCY_BOUNDS_MS and one for +Inf."""

    status: int
    buckets: list[int]
    sum_ms: float


class ResponseDelta(msgspec.Struct, frozen=True, array_like=True):
    """error: "" or the short name of our own error; grpc_status: "" or the number as text."""

    status: int
    grpc_status: str
    is_success: bool
    error: str
    count: int


class LeafDelta(msgspec.Struct, frozen=True, array_like=True):
    """What one leaf of one authority got since the last report. authority: the key ("reviews.default:9080")."""

    authority: str
    split: str
    leaf: str
    namespace: str
    requests: int
    responses: list[ResponseDelta]
    latencies: list[LatencyDelta]
    retries: int = 0
    skipped: list[tuple[str, int]] = []  # failures that were not tried again, by why


class TcpDelta(msgspec.Struct, frozen=True, array_like=True):
    """peer: "src" or "dst". open_now is a level, the rest are increases since the last report."""

    peer: str
    opened: int
    closed: int
    open_now: int
    read_bytes: int
    write_bytes: int


class ErrorDelta(msgspec.Struct, frozen=True, array_like=True):
    """Answers of our own, by l5d-style short name ("no route", "malformed", "connect", "timeout", ...)."""

    error: str
    count: int


class AccessDelta(msgspec.Struct, frozen=True, array_like=True):
    """Of one guard of one authority. verdict: allow (by that authorization), deny or audit; protocol: http or tcp."""

    authority: str
    kind: str
    guard: str
    authorization: str
    verdict: str
    protocol: str
    count: int


class LimitDelta(msgspec.Struct, frozen=True, array_like=True):
    """Requests refused by one rate limit of one authority. scope: total, client or override."""

    authority: str
    limit: str
    scope: str
    count: int


class LeftOut(msgspec.Struct, frozen=True, array_like=True):
    """Endpoints ("HOST:PORT") of one backend that are left out: out for their failures, sick by health checks."""

    authority: str
    backend: str
    namespace: str
    out: list[str]
    sick: list[str]


class Stats(msgspec.Struct, tag="stats", frozen=True):
    """Up, once a second and once more before exit; empty lists, or None, where nothing changed."""

    leaves: list[LeafDelta]
    tcp: list[TcpDelta]
    errors: list[ErrorDelta]
    access: list[AccessDelta] = []
    limits: list[LimitDelta] = []
    left_out: list[LeftOut] | None = None  # all of them, where they are others than last said


Down = Alias | Update | Forget | Drain
Up = Watch | Applied | Ready | Stats

_encoder = msgspec.msgpack.Encoder()
_down_decoder: msgspec.msgpack.Decoder[Down] = msgspec.msgpack.Decoder(Down)
_up_decoder: msgspec.msgpack.Decoder[Up] = msgspec.msgpack.Decoder(Up)


def encode(message: Down | Up) -> bytes:
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class FrameBuffer:
    """Cuts a byte stream into frames."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._data += data
        while len(self._data) >= 4:
            (length,) = _LENGTH.unpack_from(self._data)
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"frame of {length} bytes on the worker pipe, at most {MAX_FRAME_BYTES}")
            if len(self._data) < 4 + length:
                return
            frame = bytes(self._data[4 : 4 + length])
            del self._data[: 4 + length]
            yield frame


def decode_down(frame: bytes) -> Down:
    return _down_decoder.decode(frame)


def decode_up(frame: bytes) -> Up:
    return _up_decoder.decode(frame)
