"""The other side of an HTTP/2 codec under test: frames by hand, and what came back taken apart."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import hpack

from milliroute.proxy.codec import h2_codec
from milliroute.proxy.codec import h2_frames as fr
from milliroute.proxy.codec.h2_codec import Connection
from milliroute.proxy.codec.h2_events import ConnectionFailed, Event, StreamRefusedByRule
from milliroute.proxy.codec.h2_limits import H2Limits
from milliroute.proxy.codec.h2_settings import Role
from milliroute.proxy.codec.h2_stream import FieldLike

Codec = Literal["fast", "reference"]
CODECS: tuple[Codec, ...] = ("fast", "reference")

Pairs = Sequence[tuple[bytes, bytes]]
GET: Pairs = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a.example")]
POST: Pairs = [(b":method", b"POST"), *GET[1:]]
CONNECT: Pairs = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]  # RFC 8441
OK: Pairs = [(b":status", b"200")]
DEFAULT = H2Limits()


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes


def split(wire: bytes) -> list[Frame]:
    """Whole frames only."""
    found, at = [], len(fr.PREFACE) if wire.startswith(fr.PREFACE) else 0
    while at < len(wire):
        length_and_kind, flags, stream_id = fr.HEADER.unpack_from(wire, at)
        end = at + 9 + (length_and_kind >> 8)
        assert end <= len(wire)
        found.append(Frame(length_and_kind & 0xFF, flags, stream_id, wire[at + 9 : end]))
        at = end
    return found


def plain(fields: Pairs) -> bytes:
    """A field block that no dynamic table has a part in."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in fields)


def _string(text: bytes) -> bytes:
    head, rest = (len(text), -1) if len(text) < 127 else (127, len(text) - 127)
    out = bytes((head,))
    while rest >= 0:
        out += bytes((rest & 127 | (128 if rest > 127 else 0),))
        rest = rest >> 7 if rest > 127 else -1
    return out + text


def headers(stream_id: int, fields: Pairs = GET, *, end: bool = True, flags: int = fr.END_HEADERS) -> bytes:
    return fr.frame(fr.HEADERS, flags | end, stream_id, plain(fields))


def data(stream_id: int, content: bytes = b"", *, end: bool = False, pad: int | None = None) -> bytes:
    if pad is None:
        return fr.frame(fr.DATA, end, stream_id, content)
    return fr.frame(fr.DATA, fr.PADDED | end, stream_id, bytes((pad,)) + content + bytes(pad))


class Peer:
    """conn: greeted, its opening already read; `send` feeds it, `wrote` takes what it has written since."""

    def __init__(self, codec: Codec, role: Role = "server", limits: H2Limits = DEFAULT, *, greet: bool = True) -> None:
        self.conn: Connection = h2_codec.connect(codec, role, limits)
        self.role = role
        self._decoder = hpack.Decoder()
        self._decoder.max_allowed_table_size = 2**16  # whatever table a test's SETTINGS allow
        self.now = 1000.0
        self.opening = split(b"".join(self.conn.take_output()))
        if greet:
            self.send((fr.PREFACE if role == "server" else b"") + fr.settings([]) + fr.SETTINGS_ACK)
            self.wrote()

    def send(self, *wire: bytes) -> list[Event]:
        return self.conn.receive(b"".join(wire), self.now)

    def wrote(self) -> list[Frame]:
        return split(b"".join(self.conn.take_output()))

    def request(self, fields: Sequence[FieldLike] = GET, *, end: bool = True) -> int:
        """As a client: opens a stream."""
        stream_id = self.conn.open_stream()
        self.conn.send_request(stream_id, fields, end)
        return stream_id

    def decode(self, frame: Frame) -> list[tuple[bytes, bytes]]:
        assert frame.flags & fr.END_HEADERS
        return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(frame.payload, raw=True)]


def kinds(frames: list[Frame]) -> list[int]:
    return [frame.kind for frame in frames]


def resets(frames: list[Frame]) -> list[tuple[int, int]]:
    """(stream, code) of each RST_STREAM."""
    return [(f.stream_id, int.from_bytes(f.payload)) for f in frames if f.kind == fr.RST_STREAM]


def goaways(frames: list[Frame]) -> list[tuple[int, int]]:
    """(last stream, code) of each GOAWAY."""
    return [fr.read_goaway(f.payload) for f in frames if f.kind == fr.GOAWAY]


def reaction(events: list[Event], frames: list[Frame]) -> str:
    """connection:CODE, stream ID:CODE, or tolerated; what the owner is told and what the peer is told must agree."""
    failed = [event.code for event in events if isinstance(event, ConnectionFailed)]
    refused = [(event.stream_id, event.code) for event in events if isinstance(event, StreamRefusedByRule)]
    assert [code for _, code in goaways(frames)] == failed
    assert failed or resets(frames) == refused
    if failed:
        return f"connection:{failed[0]}"
    return f"stream {refused[0][0]}:{refused[0][1]}" if refused else "tolerated"


def data_of(frames: list[Frame], stream_id: int) -> bytes:
    return b"".join(f.payload for f in frames if f.kind == fr.DATA and f.stream_id == stream_id)
