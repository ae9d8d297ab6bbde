"""Flow control both ways (RFC 9113 sections 5.2 and 6.9), on both codecs."""

import pytest

from milliroute.proxy.codec import h2_frames as fr
from milliroute.proxy.codec.h2_events import DataReceived, StreamRefusedByRule, WindowOpened
from milliroute.proxy.codec.h2_limits import H2Limits
from tests.proxy.codec.h2_cases import connection
from tests.proxy.codec.h2_peers import (
    CODECS,
    OK,
    POST,
    Codec,
    Frame,
    Peer,
    data,
    data_of,
    headers,
    kinds,
    reaction,
)

pytestmark = pytest.mark.parametrize("codec", CODECS)


def _window(size: int) -> bytes:
    return fr.settings([(fr.INITIAL_WINDOW_SIZE, size)])


def _answering(codec: Codec, *streams: int, window: int = 65_535) -> Peer:
    """A server that has sent the response's head on each stream, and whose peer allows `window` bytes of each."""
    peer = Peer(codec)
    peer.send(_window(window), *(headers(stream_id) for stream_id in streams))
    for stream_id in streams:
        peer.conn.send_response(stream_id, OK, False)
    peer.wrote()
    return peer


def _updates(frames: list[Frame]) -> list[tuple[int, int]]:
    return [(f.stream_id, int.from_bytes(f.payload)) for f in frames if f.kind == fr.WINDOW_UPDATE]


def test_data_is_cut_to_the_peers_frame_size(codec: Codec) -> None:
    peer = _answering(codec, 1)
    peer.conn.send_data(1, b"x" * 40_000, True)
    sizes = [(len(f.payload), f.flags) for f in peer.wrote()]
    assert sizes == [(16_384, 0), (16_384, 0), (7232, fr.END_STREAM)]
    assert peer.conn.open_streams == 0


def test_a_larger_frame_size_is_used_once_allowed(codec: Codec) -> None:
    peer = _answering(codec, 1)
    peer.send(fr.settings([(fr.MAX_FRAME_SIZE, 30_000)]))
    peer.conn.send_data(1, b"x" * 40_000, False)
    assert [len(f.payload) for f in peer.wrote() if f.kind == fr.DATA] == [30_000, 10_000]


def test_a_field_block_over_the_frame_size_goes_on_in_continuation(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1))
    peer.conn.send_response(1, [*OK, *((b"x-%d" % n, b"\xff" * 3000) for n in range(7))], True)
    first, *rest = peer.wrote()
    assert (first.kind, first.flags, {*kinds(rest)}) == (fr.HEADERS, fr.END_STREAM, {fr.CONTINUATION})
    assert rest[-1].flags == fr.END_HEADERS
    assert max(len(f.payload) for f in (first, *rest)) <= 16_384


def test_what_a_small_window_lets_go_does_not_hold_all_that_waits(codec: Codec) -> None:
    peer = _answering(codec, 1, window=8300)
    peer.conn.send_data(1, b"x" * 250_000, True)
    pieces = [piece for piece in peer.conn.take_output() if isinstance(piece, memoryview)]
    assert peer.conn.queued(1) == 250_000 - 8300
    assert all(len(piece) * 4 >= len(piece.obj) for piece in pieces)  # type: ignore[arg-type]  # bytes, as it was read


def test_data_over_the_streams_window_waits_for_window_update(codec: Codec) -> None:
    peer = _answering(codec, 1, window=10)
    peer.conn.send_data(1, b"0123456789abcdef", True)
    assert data_of(peer.wrote(), 1) == b"0123456789"
    assert peer.conn.queued(1) == 6
    assert peer.send(fr.window_update(1, 4)) == []
    assert peer.send(fr.window_update(1, 100)) == [WindowOpened(1)]
    assert data_of(peer.wrote(), 1) == b"abcdef"
    assert peer.conn.open_streams == 0


def test_data_over_the_connections_window_goes_out_in_turns(codec: Codec) -> None:
    peer = _answering(codec, 1, 3, window=200_000)
    peer.conn.send_data(1, b"a" * 100_000, False)
    peer.conn.send_data(3, b"b" * 40_000, False)
    assert sum(len(f.payload) for f in peer.wrote()) == 65_535
    peer.send(fr.window_update(0, 60_000))
    turns = [f.stream_id for f in peer.wrote() if f.kind == fr.DATA]
    assert turns[:4] in ([1, 3, 1, 3], [3, 1, 3, 1])


def test_an_empty_end_needs_no_window(codec: Codec) -> None:
    peer = _answering(codec, 1, window=0)
    peer.conn.send_data(1, b"", True)
    assert [(f.kind, f.flags) for f in peer.wrote()] == [(fr.DATA, fr.END_STREAM)]


def test_trailers_wait_behind_the_data(codec: Codec) -> None:
    peer = _answering(codec, 1, window=3)
    peer.conn.send_data(1, b"abcdef", False)
    peer.conn.send_trailers(1, [(b"grpc-status", b"0")])
    assert kinds(peer.wrote()) == [fr.DATA]
    peer.send(fr.window_update(1, 3))
    wrote = peer.wrote()
    assert kinds(wrote) == [fr.DATA, fr.HEADERS]
    assert wrote[1].flags & fr.END_STREAM


def test_a_larger_initial_window_reaches_open_streams(codec: Codec) -> None:
    peer = _answering(codec, 1, window=3)
    peer.conn.send_data(1, b"abcdef", False)
    assert data_of(peer.wrote(), 1) == b"abc"
    peer.send(_window(5))
    wrote = peer.wrote()
    assert kinds(wrote) == [fr.SETTINGS, fr.DATA]
    assert data_of(wrote, 1) == b"de"


def test_a_window_made_negative_must_be_earned_back(codec: Codec) -> None:
    peer = _answering(codec, 1, window=1000)
    peer.conn.send_data(1, b"x" * 900, False)
    peer.send(_window(100))  # 900 are sent, so the window is -800
    peer.conn.send_data(1, b"y" * 50, False)
    peer.wrote()
    peer.send(fr.window_update(1, 800))
    assert data_of(peer.wrote(), 1) == b""
    peer.send(fr.window_update(1, 20))
    assert data_of(peer.wrote(), 1) == b"y" * 20


def test_the_initial_window_does_not_change_the_connections(codec: Codec) -> None:
    peer = _answering(codec, 1, window=1_000_000)
    peer.conn.send_data(1, b"x" * 100_000, False)
    assert len(data_of(peer.wrote(), 1)) == 65_535


def test_consumed_bytes_come_back_in_pieces_of_half_a_window(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1, POST, end=False), *(data(1, b"x" * 16_000) for _ in range(3)))
    peer.conn.consumed(1, 32_000)
    assert _updates(peer.wrote()) == []
    peer.conn.consumed(1, 16_000)
    assert _updates(peer.wrote()) == [(1, 48_000)]


def test_padding_counts_against_the_window(codec: Codec) -> None:
    peer = Peer(codec)
    _, event = peer.send(headers(1, POST, end=False), data(1, b"abc", pad=100))
    assert event == DataReceived(1, b"abc", 104, False)


def test_the_connections_window_is_enforced_above_all_streams(codec: Codec) -> None:
    peer = Peer(codec, limits=H2Limits(connection_window_bytes=65_535))
    wire = [headers(n, POST, end=False) + data(n, b"x" * 16_384) * 2 for n in (1, 3, 5)]
    assert reaction(peer.send(*wire), peer.wrote()) == connection(fr.FLOW_CONTROL_ERROR)


def test_what_a_closed_stream_never_consumed_goes_back_to_the_connection(codec: Codec) -> None:
    peer = Peer(codec)
    given_back = 0
    for stream_id in range(1, 101, 2):  # 1.6 MB in all, through a window of 1 MiB
        peer.send(headers(stream_id, POST, end=False), data(stream_id, b"x" * 16_000), data(stream_id, b"y" * 16_000))
        peer.conn.reset(stream_id, fr.CANCEL)
        given_back += sum(size for update_of, size in _updates(peer.wrote()) if update_of == 0)
    assert given_back > 1_000_000


def test_data_on_streams_we_have_reset_goes_back_to_the_connection(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1, POST, end=False))
    peer.conn.reset(1, fr.CANCEL)
    events = [event for _ in range(100) for event in peer.send(data(1, b"x" * 16_000))]
    assert events == []
    assert sum(size for _, size in _updates(peer.wrote())) > 500_000


def test_data_waits_while_the_peer_does_not_read(codec: Codec) -> None:
    peer = _answering(codec, 1)
    assert peer.conn.backlog(70_000) == []
    peer.conn.send_data(1, b"x" * 100, False)
    assert (peer.wrote(), peer.conn.queued(1)) == ([], 100)
    assert peer.conn.backlog(40_000) == []
    assert peer.conn.backlog(30_000) == [WindowOpened(1)]
    assert data_of(peer.wrote(), 1) == b"x" * 100


def test_a_reset_stream_forgets_what_waited(codec: Codec) -> None:
    peer = _answering(codec, 1, window=0)
    peer.conn.send_data(1, b"abc", True)
    peer.send(fr.rst_stream(1, fr.CANCEL), fr.window_update(0, 100), _window(1000))
    assert kinds(peer.wrote()) == [fr.SETTINGS]
    assert peer.conn.queued(1) == 0


def test_low_water_is_told_once_a_queue_falls_below_it(codec: Codec) -> None:
    peer = _answering(codec, 1, window=0)
    peer.conn.send_data(1, b"x" * 20_000, False)
    assert peer.send(fr.window_update(1, 1000)) == []
    assert peer.send(fr.window_update(1, 5000)) == [WindowOpened(1)]
    assert peer.conn.queued(1) == 14_000


def test_a_stream_window_that_overflows_ends_only_the_stream(codec: Codec) -> None:
    peer = _answering(codec, 1, 3)
    (event,) = peer.send(fr.window_update(1, 2**31 - 1))
    assert isinstance(event, StreamRefusedByRule)
    peer.conn.send_data(3, b"abc", True)
    assert data_of(peer.wrote(), 3) == b"abc"


def test_a_new_initial_window_does_not_reach_streams_that_have_ended(codec: Codec) -> None:
    peer = _answering(codec, 1)
    peer.send(fr.window_update(1, 1000))
    peer.conn.send_data(1, b"abc", True)
    # Over 2**31-1, were the stream still there; h2 by itself ends the connection.
    assert reaction(peer.send(_window(2**31 - 1)), peer.wrote()) == "tolerated"


def test_the_bare_end_of_a_stream_waits_for_no_backlog(codec: Codec) -> None:
    """What follows the end may be a reset, and that would overtake it."""
    peer = _answering(codec, 1, 3)
    peer.conn.backlog(70_000)
    peer.conn.send_data(3, b"waits", False)
    peer.conn.send_data(1, b"", True)
    assert [(f.stream_id, f.flags) for f in peer.wrote() if f.kind == fr.DATA] == [(1, fr.END_STREAM)]
