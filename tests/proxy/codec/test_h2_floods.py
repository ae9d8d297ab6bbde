"""Floods and bombs (facts, section 3): each ends in the right error, and ordinary use does not, on both codecs."""

import pytest

from milliroute.proxy.codec import h2_frames as fr
from milliroute.proxy.codec.h2_events import ConnectionFailed, RequestRejected, StreamRefusedByRule
from milliroute.proxy.codec.h2_limits import H2Limits
from tests.proxy.codec.h2_cases import connection
from tests.proxy.codec.h2_peers import CODECS, GET, OK, POST, Codec, Peer, data, headers, plain, reaction, resets

pytestmark = pytest.mark.parametrize("codec", CODECS)

CALM = connection(fr.ENHANCE_YOUR_CALM)
# Where a small limit shows the same as the real one.
FEW = H2Limits(reset_burst=5, control_burst=5, max_streams=3, control_per_stream=0, control_per_data=2)


def _last(peer: Peer, *wire: bytes) -> str:
    return reaction(peer.send(*wire), peer.wrote())


def test_rapid_reset_ends_the_connection(codec: Codec) -> None:
    peer = Peer(codec)
    pairs = [headers(n) + fr.rst_stream(n, fr.CANCEL) for n in range(1, 300, 2)]
    assert _last(peer, *pairs[:100]) == "tolerated"
    assert _last(peer, *pairs[100:]) == CALM


def test_resets_are_forgiven_with_time(codec: Codec) -> None:
    peer = Peer(codec)
    for n in range(1, 801, 2):
        peer.now += 0.05
        assert _last(peer, headers(n), fr.rst_stream(n, fr.CANCEL)) == "tolerated"


@pytest.mark.parametrize(
    "frame",
    [
        fr.ping(bytes(8)),
        fr.settings([]),
        fr.frame(fr.PRIORITY, 0, 1, bytes(5)),
        fr.window_update(0, 1),
        fr.frame(99, 0, 0),
    ],
    ids=["ping", "settings", "priority", "window update", "unknown"],
)
def test_control_frames_above_their_rate_end_the_connection(codec: Codec, frame: bytes) -> None:
    peer = Peer(codec)
    for _ in range(5):
        peer.now += 1
        assert _last(peer, *[frame] * 90) == "tolerated"
    assert _last(peer, *[frame] * 200) == CALM


def test_a_fast_reader_may_send_window_updates_as_fast_as_we_send_data(codec: Codec) -> None:
    peer = Peer(codec, limits=FEW)
    peer.send(headers(1))
    peer.conn.send_response(1, OK, False)
    for _ in range(50):
        peer.conn.send_data(1, b"x" * 2000, False)
        peer.wrote()
        assert _last(peer, fr.window_update(1, 2000), fr.window_update(0, 2000)) == "tolerated"


def test_windows_opened_byte_by_byte_earn_no_more_window_updates(codec: Codec) -> None:
    peer = Peer(codec, limits=FEW)
    peer.send(fr.settings([(fr.INITIAL_WINDOW_SIZE, 0)]), headers(1))
    peer.conn.send_response(1, OK, False)
    peer.conn.send_data(1, b"x" * 1000, True)
    peer.wrote()
    assert _last(peer, *[fr.window_update(1, 1)] * 10) == CALM


@pytest.mark.parametrize("frame", [data(1), data(1, pad=0), data(1, pad=50)], ids=["empty", "padded 0", "padded 50"])
def test_empty_data_ends_the_connection(codec: Codec, frame: bytes) -> None:
    peer = Peer(codec)
    assert _last(peer, headers(1, POST, end=False), *[frame] * 10) == "tolerated"
    assert _last(peer, data(1, b"x"), *[frame] * 10) == "tolerated"
    assert _last(peer, frame) == CALM


def test_empty_continuations_end_the_connection(codec: Codec) -> None:
    start, more = fr.frame(fr.HEADERS, 0, 1, b""), fr.frame(fr.CONTINUATION, 0, 1, b"")
    assert _last(Peer(codec), start, *[more] * 9) == "tolerated"
    assert _last(Peer(codec), start, *[more] * 10) == CALM


def test_endless_continuation_ends_after_64_frames(codec: Codec) -> None:
    start, more = fr.frame(fr.HEADERS, 0, 1, plain(GET)), fr.frame(fr.CONTINUATION, 0, 1, plain([(b"a", b"b")]))
    assert _last(Peer(codec), start, *[more] * 64) == "tolerated"
    assert _last(Peer(codec), start, *[more] * 65) == CALM


def test_endless_continuation_ends_after_64_kib(codec: Codec) -> None:
    start, more = (
        fr.frame(fr.HEADERS, 0, 1, plain(GET)),
        fr.frame(fr.CONTINUATION, 0, 1, plain([(b"a", b"b" * 16_000)])),
    )
    assert _last(Peer(codec), start, *[more] * 4) == "tolerated"
    assert _last(Peer(codec), start, *[more] * 5) == CALM


@pytest.mark.parametrize(
    "extra",
    [[(b"x-%d" % n, b"y") for n in range(97)], [(b"x", b"y" * 11_000)] * 3],
    ids=["101 fields", "33,000 bytes"],
)
def test_a_field_list_over_the_limit_is_told_and_the_connection_lives(
    codec: Codec, extra: list[tuple[bytes, bytes]]
) -> None:
    peer = Peer(codec)
    block = plain([*GET, *extra])
    wire = fr.frame(fr.HEADERS, fr.END_STREAM, 1, block[:16_000])
    wire += fr.frame(fr.CONTINUATION, 0, 1, block[16_000:32_000]) + fr.frame(fr.CONTINUATION, 4, 1, block[32_000:])
    assert peer.send(wire) == [RequestRejected(1, 431, True)]
    peer.conn.send_response(1, [(b":status", b"431")], True)
    assert peer.decode(peer.wrote()[0]) == [(b":status", b"431")]


_BOMB = b"\x40" + plain([(b"a", b"b" * 4000)])[1:]


def test_a_small_hpack_bomb_is_a_field_list_over_the_limit(codec: Codec) -> None:
    peer = Peer(codec)
    assert peer.send(fr.frame(fr.HEADERS, 5, 1, _BOMB + b"\xbe" * 90)) == [RequestRejected(1, 431, True)]


def test_a_hpack_bomb_ends_the_connection(codec: Codec) -> None:
    wire = fr.frame(fr.HEADERS, 5, 1, _BOMB + b"\xbe" * 12_000)
    assert _last(Peer(codec), wire) == connection(fr.COMPRESSION_ERROR)


def test_the_tables_stay_in_step_over_streams_that_are_refused(codec: Codec) -> None:
    peer = Peer(codec, limits=FEW)
    peer.send(*(headers(n) for n in (1, 3, 5)))
    entered = fr.frame(fr.HEADERS, 5, 7, plain(GET) + b"\x40\x01a\x01b")
    assert [type(event) for event in peer.send(entered)] == [StreamRefusedByRule]
    peer.conn.reset(1, fr.CANCEL)
    (event,) = peer.send(fr.frame(fr.HEADERS, 5, 9, plain(GET) + b"\xbe"))
    assert [(f.name, f.value) for f in event.fields[4:]] == [(b"a", b"b")]  # type: ignore[union-attr]  # a request


def test_streams_above_the_limit_are_refused_and_the_others_live(codec: Codec) -> None:
    peer = Peer(codec, limits=FEW)
    peer.send(*(headers(n) for n in (1, 3, 5)))
    assert _last(peer, headers(7)) == f"stream 7:{fr.REFUSED_STREAM}"
    assert peer.conn.open_streams == 3
    assert peer.send(data(7, b"late"), fr.rst_stream(7, fr.CANCEL)) == []


def test_a_client_that_knows_the_limit_may_not_exceed_it_for_ever(codec: Codec) -> None:
    peer = Peer(codec, limits=FEW)
    assert _last(peer, *(headers(n) for n in range(1, 30, 2))) == CALM


def test_a_client_that_cannot_know_the_limit_yet_may_exceed_it(codec: Codec) -> None:
    peer = Peer(codec, limits=FEW, greet=False)
    events = peer.send(fr.PREFACE, fr.settings([]), *(headers(n) for n in range(1, 301, 2)))
    assert not any(isinstance(event, ConnectionFailed) for event in events)
    assert len(resets(peer.wrote())) == 147


def test_too_many_settings_in_one_frame_end_the_connection(codec: Codec) -> None:
    assert _last(Peer(codec), fr.settings([(99, 1)] * 32)) == "tolerated"
    assert _last(Peer(codec), fr.settings([(99, 1)] * 33)) == CALM


def test_replies_do_not_pile_up_for_a_peer_that_does_not_read(codec: Codec) -> None:
    peer = Peer(codec)
    peer.conn.backlog(100_000)
    seen = "tolerated"
    for _ in range(101):
        assert seen == "tolerated"
        peer.now += 1
        seen = _last(peer, fr.ping(bytes(8)))
    assert seen == CALM


def test_a_storm_of_interim_responses_ends_the_stream(codec: Codec) -> None:
    peer = Peer(codec, "client")
    peer.request()
    peer.wrote()
    early = headers(1, [(b":status", b"103")], end=False)
    assert _last(peer, *[early] * 16) == "tolerated"
    assert _last(peer, early) == f"stream 1:{fr.ENHANCE_YOUR_CALM}"


def test_a_backends_resets_are_no_flood(codec: Codec) -> None:
    peer = Peer(codec, "client")
    for _ in range(300):
        stream_id = peer.request()
        assert len(peer.send(fr.rst_stream(stream_id, fr.REFUSED_STREAM))) == 1
