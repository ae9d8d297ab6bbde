"""The `h2` library as the reference codec wants it, and fields on the way to it and from it.

The rule not to break: nothing of the library's own opening is sent; ours says the same with our limits.
"""

from collections.abc import Sequence

from h2.config import H2Configuration
from h2.connection import H2Connection as Library
from h2.settings import SettingCodes, Settings
from hpack import HeaderTuple, NeverIndexedHeaderTuple
from hpack.hpack import encode_integer

from milliroute.proxy.codec import h2_frames as frames
from milliroute.proxy.codec.h2_limits import H2Limits
from milliroute.proxy.codec.h2_settings import Role
from milliroute.proxy.codec.h2_stream import FieldLike
from milliroute.proxy.codec.hpack_static import Field


def library(role: Role, limits: H2Limits) -> Library:
    """h2 as it is right after its own opening, which is replaced by ours; limits of ours are kept by the gate."""
    is_client = role == "client"
    config = H2Configuration(
        client_side=is_client,
        header_encoding=None,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
        normalize_inbound_headers=False,
    )
    made = Library(config)
    values = {
        SettingCodes.ENABLE_PUSH: 0,
        SettingCodes.MAX_CONCURRENT_STREAMS: frames.MAX_STREAM_ID,
        SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
        SettingCodes.ENABLE_CONNECT_PROTOCOL: int(limits.may_extended_connect),
    }
    made.local_settings = Settings(client=is_client, initial_values=values)
    # Fields decoded and written out as literals can be longer than any frame of the peer.
    made.max_inbound_frame_size = 2**24 - 1
    made.initiate_connection()
    extra = limits.connection_window_bytes - frames.DEFAULT_WINDOW
    if extra:
        made.increment_flow_control_window(extra)
    if not is_client:
        made.receive_data(frames.PREFACE)
    made.clear_outbound_data_buffer()
    return made


def field_of(header: HeaderTuple) -> Field:
    name, value = header
    return Field(bytes(name), bytes(value), is_sensitive=not header.indexable)


def header_of(field: FieldLike) -> HeaderTuple:
    if isinstance(field, tuple):
        return HeaderTuple(*field)
    return (NeverIndexedHeaderTuple if field.is_sensitive else HeaderTuple)(field.name, field.value)


def plain_block(fields: Sequence[Field]) -> bytes:
    """Literals without indexing and without Huffman (RFC 7541 section 6.2.2): the same on every connection."""
    return b"".join(
        b"\0" + encode_integer(len(f.name), 7) + f.name + encode_integer(len(f.value), 7) + f.value for f in fields
    )


def headers_frame(stream_id: int, block: bytes, *, end_stream: bool) -> bytes:
    return frames.frame(frames.HEADERS, frames.END_HEADERS | end_stream, stream_id, block)
