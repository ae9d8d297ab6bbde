"""Both codecs against the `h2` library as it comes, in each role: 60 exchanges with bodies larger than any window."""

import h2.events
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection as Stranger

from milliroute.proxy.codec import h2_codec
from milliroute.proxy.codec import h2_events as told
from milliroute.proxy.codec.h2_codec import Connection
from milliroute.proxy.codec.h2_limits import H2Limits
from tests.proxy.codec.h2_peers import CODECS, OK, POST, Codec

BODY = bytes(range(256)) * 400  # 102,400 bytes


def _pump(ours: Connection, stranger: Stranger) -> tuple[list[told.Event], list[h2.events.Event]]:
    """Until both are silent; each side consumes what it gets, and the stranger sends BODY back."""
    seen: list[told.Event] = []
    heard: list[h2.events.Event] = []
    while True:
        to_stranger, to_us = b"".join(ours.take_output()), stranger.data_to_send()
        if not to_stranger and not to_us:
            return seen, heard
        if to_stranger:
            for event in stranger.receive_data(to_stranger):
                heard.append(event)
                if isinstance(event, h2.events.DataReceived):
                    stranger.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        for ours_event in ours.receive(to_us, 0.0):
            seen.append(ours_event)
            if isinstance(ours_event, told.DataReceived):
                ours.consumed(ours_event.stream_id, ours_event.flow_bytes)


def _send_body(stranger: Stranger, stream_id: int, ours: Connection) -> bytes:
    """All of BODY, as the windows open; what we received of it."""
    left, got = BODY, b""
    while left:
        room = min(stranger.local_flow_control_window(stream_id), stranger.max_outbound_frame_size)
        stranger.send_data(stream_id, left[:room], end_stream=len(left) <= room)
        left = left[room:]
        seen, _ = _pump(ours, stranger)
        got += b"".join(event.data for event in seen if isinstance(event, told.DataReceived))
    return got


@pytest.mark.parametrize("codec", CODECS)
def test_a_client_of_another_author_is_served(codec: Codec) -> None:
    ours, stranger = h2_codec.connect(codec, "server", H2Limits()), Stranger(H2Configuration(client_side=True))
    stranger.initiate_connection()
    for stream_id in range(1, 121, 2):
        stranger.send_headers(stream_id, [*POST, ("x-id", str(stream_id))])
        assert any(isinstance(event, told.RequestReceived) for event in _pump(ours, stranger)[0])
        assert _send_body(stranger, stream_id, ours) == BODY
        ours.send_response(stream_id, [*OK, (b"x-id", b"%d" % stream_id)], False)
        ours.send_data(stream_id, BODY, False)
        ours.send_trailers(stream_id, [(b"grpc-status", b"0")])
        heard = _pump(ours, stranger)[1]
        assert b"".join(event.data for event in heard if isinstance(event, h2.events.DataReceived)) == BODY
        assert any(isinstance(event, h2.events.TrailersReceived) for event in heard)
    assert ours.open_streams == 0


@pytest.mark.parametrize("codec", CODECS)
def test_a_server_of_another_author_is_asked(codec: Codec) -> None:
    ours, stranger = h2_codec.connect(codec, "client", H2Limits()), Stranger(H2Configuration(client_side=False))
    stranger.initiate_connection()
    for _ in range(60):
        stream_id = ours.open_stream()
        ours.send_request(stream_id, POST, False)
        ours.send_data(stream_id, BODY, True)
        heard = _pump(ours, stranger)[1]
        assert b"".join(event.data for event in heard if isinstance(event, h2.events.DataReceived)) == BODY
        stranger.send_headers(stream_id, [(":status", "200"), ("content-length", str(len(BODY)))])
        assert _send_body(stranger, stream_id, ours) == BODY
    assert ours.open_streams == 0
