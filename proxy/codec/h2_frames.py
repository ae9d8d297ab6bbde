"""HTTP/2 frames as bytes (RFC 9113 sections 4, 6 and 7): numbers, the frame header, and what writes whole frames.

Writers return exact bytes and check nothing; ConnectionBroken is how any part of a codec ends the connection. The rule
not to break: a payload's length is known from `HEADER` before one byte of the payload is kept.
"""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 section 3.4

# Frame types (section 6).
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

# Flags (section 6).
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

# Error codes (section 7).
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED = range(6)
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(6, 12)
INADEQUATE_SECURITY, HTTP_1_1_REQUIRED = 12, 13

# Settings (section 6.5.2; the last one RFC 8441).
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)
MAX_HEADER_LIST_SIZE, ENABLE_CONNECT_PROTOCOL = 6, 8

MAX_WINDOW = MAX_STREAM_ID = 2**31 - 1
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_BYTES = 16_384

# What our PINGs carry: one to ask whether the peer lives, one to learn that it has read the first GOAWAY.
PING_ALIVE = b"m.alive?"
PING_DRAIN = b"m.drain?"

# (length << 8 | type, flags, stream id): one call of struct for the nine bytes.
HEADER = struct.Struct(">IBI")
HEADER_BYTES = HEADER.size
U32 = struct.Struct(">I")
SETTING = struct.Struct(">HI")
_TWO_U32 = struct.Struct(">II")

SETTINGS_ACK = HEADER.pack(SETTINGS, ACK, 0)


class ConnectionBroken(Exception):
    """The peer broke a rule of the whole connection: GOAWAY with this code, then close (section 5.4.1)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def field_block(stream_id: int, block: bytes, end_stream: bool, max_frame_bytes: int) -> bytes:
    """HEADERS and as many CONTINUATIONs as the peer's frame size asks for (section 4.3)."""
    if len(block) <= max_frame_bytes:
        return HEADER.pack(len(block) << 8 | HEADERS, END_HEADERS | end_stream, stream_id) + block
    pieces = [block[at : at + max_frame_bytes] for at in range(0, len(block), max_frame_bytes)]
    return b"".join(
        frame(
            CONTINUATION if index else HEADERS,
            (END_HEADERS if index == len(pieces) - 1 else 0) | (0 if index else end_stream),
            stream_id,
            piece,
        )
        for index, piece in enumerate(pieces)
    )


def settings(pairs: list[tuple[int, int]]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(name, value) for name, value in pairs))


def rst_stream(stream_id: int, code: int) -> bytes:
    return HEADER.pack(4 << 8 | RST_STREAM, 0, stream_id) + U32.pack(code)


def window_update(stream_id: int, increment: int) -> bytes:
    return HEADER.pack(4 << 8 | WINDOW_UPDATE, 0, stream_id) + U32.pack(increment)


def ping(payload: bytes, *, is_ack: bool = False) -> bytes:
    return frame(PING, ACK if is_ack else 0, 0, payload)


def goaway(last_id: int, code: int, text: str = "") -> bytes:
    return frame(GOAWAY, 0, 0, _TWO_U32.pack(last_id, code) + text.encode("ascii", "replace"))


def read_goaway(payload: bytes) -> tuple[int, int]:
    """(last stream id, code); the payload has at least eight bytes."""
    last_id, code = _TWO_U32.unpack_from(payload)
    return last_id & MAX_STREAM_ID, code


def without_padding(flags: int, payload: bytes) -> bytes:
    """Section 6.1: padding as long as what is left, or longer, ends the connection."""
    if not flags & PADDED:
        return payload
    if not payload:
        raise ConnectionBroken(FRAME_SIZE_ERROR, "padded frame without its pad length")
    end = len(payload) - payload[0]
    if end < 1:
        raise ConnectionBroken(PROTOCOL_ERROR, f"{payload[0]} bytes of padding in {len(payload)}")
    return payload[1:end]


def without_priority(flags: int, payload: bytes) -> bytes:
    """What HEADERS says of priority is deprecated and skipped (section 5.3.2)."""
    if not flags & HAS_PRIORITY:
        return payload
    if len(payload) < 5:
        raise ConnectionBroken(FRAME_SIZE_ERROR, f"HEADERS with priority of {len(payload)} bytes, wanted 5")
    return payload[5:]
