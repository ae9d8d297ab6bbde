"""Flow control through a real milliroute: the h2 library on both sides raises where a window is overrun."""

from pathlib import Path

from h2.events import (
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    WindowUpdated,
)
from h2.settings import SettingCodes

from milliroute.proxy.config import H2Config
from tests.e2e.h2_peer import Peer
from tests.e2e.h2_stand import BOTH_CODECS, accepted, between

pytestmark = BOTH_CODECS
PIECE = bytes(range(250)) * 4
# What may wait for a client's window in the proxy before its backend is paused.
HIGH_WATER_BYTES = 64 * 1024


def _fill(server: Peer, stream_id: int) -> int:
    """How many bytes a backend can send until the proxy takes no more."""
    sent = pings = 0
    while True:
        room = server.h2.local_flow_control_window(stream_id)
        for start in range(0, room, 16384):
            server.h2.send_data(stream_id, bytes(min(16384, room - start)))
        sent += room
        # What it gives back for these bytes comes before the answer to a PING behind them.
        server.h2.ping(b"in order")
        server.flush()
        pings += 1
        server.until(PingAckReceived, count=pings)
        if not server.h2.local_flow_control_window(stream_id):
            return sent


def test_padding_is_taken_off_and_its_window_given_back_on_both_sides(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, origin, _):
        sid = peer.request(method="POST", is_end=False)
        server, upstream_id = accepted(origin)
        # 300 paddings of 256 bytes are more than a stream window, and more than their content.
        for _ in range(300):
            while peer.h2.local_flow_control_window(sid) < 300:
                peer.read()
            peer.h2.send_data(sid, b"ab", pad_length=255)
            peer.flush()
        peer.h2.end_stream(sid)
        peer.flush()
        server.until(StreamEnded, upstream_id)
        assert server.body(upstream_id) == b"ab" * 300
        server.respond(upstream_id, is_end=False)
        for _ in range(300):
            while server.h2.local_flow_control_window(upstream_id) < 300:
                server.read()
            server.h2.send_data(upstream_id, b"cd", pad_length=255)
            server.flush()
        server.h2.end_stream(upstream_id)
        server.flush()
        assert peer.answer(sid) == ("200", b"cd" * 300)


def test_a_window_of_zero_holds_a_response_until_it_is_opened(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, origin, _):
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        sid = peer.request()
        server, upstream_id = accepted(origin)
        server.respond(upstream_id, PIECE * 40)
        # Its acknowledgement comes before the response, so all that follows obeys the window, or h2 raises.
        peer.until(ResponseReceived, sid)
        other = peer.request()
        server.until(RequestReceived, count=2)
        server.respond(3)
        assert peer.answer(other) == ("200", b"")
        assert peer.body(sid) == b""
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65535})
        peer.flush()
        assert peer.answer(sid) == ("200", PIECE * 40)


def test_a_backends_window_of_zero_holds_an_upload_until_it_is_opened(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, origin, _):
        sid = peer.request(method="POST", is_end=False)
        server, upstream_id = accepted(origin)
        server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        server.flush()
        server.until(SettingsAcknowledged, count=2)
        peer.h2.send_data(sid, PIECE, end_stream=True)
        peer.flush()
        other = peer.request()
        server.until(RequestReceived, count=2)
        assert server.body(upstream_id) == b""
        server.h2.increment_flow_control_window(600, upstream_id)
        server.flush()
        while len(server.body(upstream_id)) < 600:
            server.read()
        server.respond(3, b"other")
        assert peer.answer(other) == ("200", b"other")
        assert server.body(upstream_id) == PIECE[:600]
        server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65535})
        server.flush()
        server.until(StreamEnded, upstream_id)
        assert server.body(upstream_id) == PIECE


def test_a_window_made_smaller_with_streams_open_is_obeyed_below_zero(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec, takes=False) as (peer, origin, _):
        sid = peer.request()
        server, upstream_id = accepted(origin)
        server.respond(upstream_id, PIECE * 30, is_end=False)
        while len(peer.body(sid)) < 30_000:
            peer.read()
        # The stream has 35,535 bytes left and is then 25,000 below zero.
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 5000})
        peer.flush()
        peer.until(SettingsAcknowledged, count=2)
        server.h2.send_data(upstream_id, PIECE * 10, end_stream=True)
        server.flush()
        peer.h2.increment_flow_control_window(25_000, sid)
        other = peer.request()
        server.until(RequestReceived, count=2)
        server.respond(3)
        peer.answer(other)
        assert len(peer.body(sid)) == 30_000
        peer.h2.increment_flow_control_window(1234, sid)
        peer.flush()
        while len(peer.body(sid)) < 31_234:
            peer.read()
        peer.h2.increment_flow_control_window(10_000, sid)
        peer.flush()
        assert peer.answer(sid) == ("200", PIECE * 40)


def test_the_limits_of_the_proxy_are_said_in_its_settings(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, _, _):
        changed = peer.until(RemoteSettingsChanged).changed_settings
        wanted = H2Config()
        assert changed[SettingCodes.MAX_CONCURRENT_STREAMS].new_value == wanted.max_streams
        assert peer.h2.remote_settings.initial_window_size == wanted.stream_window_bytes
        peer.until(WindowUpdated)
        assert peer.h2.outbound_flow_control_window == wanted.connection_window_bytes


def test_a_whole_answer_before_the_end_of_the_upload_arrives_whole(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, origin, _):
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
        sid = peer.request(method="POST", is_end=False)
        server, upstream_id = accepted(origin)
        server.respond(upstream_id, PIECE * 5)
        # RFC 9113 section 8.1: RST_STREAM(NO_ERROR) may follow, but not before the end of the response.
        assert peer.answer(sid) == ("200", PIECE * 5)


def test_a_slow_reader_of_one_stream_does_not_stop_the_others(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec, takes=False) as (peer, origin, _):
        peer.h2.increment_flow_control_window(2**30)  # of the connection; each stream has its 65,535 bytes
        slow = peer.request()
        server, upstream_id = accepted(origin)
        server.respond(upstream_id, is_end=False)
        sent = _fill(server, upstream_id)
        # The client's window, what waits for it in the proxy, and the proxy's own window.
        assert 65535 < sent < 65535 + 2 * HIGH_WATER_BYTES + H2Config().stream_window_bytes
        for number in range(20):
            sid = peer.request()
            other = server.until(RequestReceived, count=number + 2).stream_id
            assert other is not None
            server.respond(other, PIECE * 20)
            assert peer.answer(sid) == ("200", PIECE * 20)
        assert len(peer.body(slow)) == 65535
