"""SETTINGS both ways (RFC 9113 section 6.5): what we announce at the start, and what the peer has asked of us.

The rule not to break: values are applied in the order they came, all of a frame's before its acknowledgement is sent.
"""

from typing import Literal

import msgspec

from milliroute.proxy.codec import h2_frames as frames
from milliroute.proxy.codec.h2_frames import FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, ConnectionBroken
from milliroute.proxy.codec.h2_limits import H2Limits

Role = Literal["server", "client"]

# What a client assumes until the first SETTINGS: hyper's and curl's number, and what most servers will say.
ASSUMED_MAX_STREAMS = 100
UNLIMITED = 2**32 - 1


class PeerSettings(msgspec.Struct, gc=False):
    """What the peer allows us. max_list_bytes is advice only."""

    max_streams: int = ASSUMED_MAX_STREAMS
    window_bytes: int = frames.DEFAULT_WINDOW
    max_frame_bytes: int = frames.DEFAULT_FRAME_BYTES
    table_bytes: int = 4096
    max_list_bytes: int = UNLIMITED
    may_push: bool = True
    may_extended_connect: bool = False


def opening(role: Role, limits: H2Limits) -> bytes:
    """The first bytes we send: SETTINGS (a client's preface before it), and the connection window made larger."""
    pairs = [
        (frames.MAX_CONCURRENT_STREAMS, limits.max_streams),
        (frames.INITIAL_WINDOW_SIZE, limits.stream_window_bytes),
        (frames.MAX_HEADER_LIST_SIZE, limits.max_list_bytes),
    ]
    if role == "client":
        # A server may not open streams without push, so it needs no limit on them.
        pairs[0] = (frames.ENABLE_PUSH, 0)
    elif limits.may_extended_connect:
        pairs.append((frames.ENABLE_CONNECT_PROTOCOL, 1))
    extra = limits.connection_window_bytes - frames.DEFAULT_WINDOW
    return (
        (frames.PREFACE if role == "client" else b"")
        + frames.settings(pairs)
        + (frames.window_update(0, extra) if extra else b"")
    )


def check_frame(flags: int, stream_id: int, payload: bytes, limits: H2Limits) -> None:
    """The frame itself; raises ConnectionBroken."""
    if stream_id:
        raise ConnectionBroken(PROTOCOL_ERROR, f"SETTINGS on stream {stream_id}")
    if len(payload) % frames.SETTING.size or (flags & frames.ACK and payload):
        raise ConnectionBroken(FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    if len(payload) > limits.max_settings * frames.SETTING.size:
        raise ConnectionBroken(frames.ENHANCE_YOUR_CALM, f"over {limits.max_settings} settings in one frame")


def apply(peer: PeerSettings, payload: bytes, from_role: Role) -> None:
    """Raises ConnectionBroken for a value outside its range; unknown settings are ignored (section 6.5.2)."""
    for name, value in frames.SETTING.iter_unpack(payload):
        if name == frames.INITIAL_WINDOW_SIZE:
            _check(value <= frames.MAX_WINDOW, name, value, FLOW_CONTROL_ERROR)
            peer.window_bytes = value
        elif name == frames.MAX_FRAME_SIZE:
            _check(frames.DEFAULT_FRAME_BYTES <= value < 2**24, name, value)
            peer.max_frame_bytes = value
        elif name == frames.ENABLE_PUSH:
            _check(value <= (from_role == "client"), name, value)
            peer.may_push = bool(value)
        elif name == frames.ENABLE_CONNECT_PROTOCOL:
            # RFC 8441 section 3: may not be taken back.
            _check(peer.may_extended_connect <= value <= 1, name, value)
            peer.may_extended_connect = bool(value)
        elif name == frames.MAX_CONCURRENT_STREAMS:
            peer.max_streams = value
        elif name == frames.HEADER_TABLE_SIZE:
            peer.table_bytes = value
        elif name == frames.MAX_HEADER_LIST_SIZE:
            peer.max_list_bytes = value


def _check(is_good: bool, name: int, value: int, code: int = PROTOCOL_ERROR) -> None:
    if not is_good:
        raise ConnectionBroken(code, f"setting {name} is {value}")
