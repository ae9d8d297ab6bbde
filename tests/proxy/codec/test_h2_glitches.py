"""What a peer's errors make us do (MadeYouReset, CVE-2025-8671) and frames that say nearly nothing, on both codecs."""

from collections.abc import Callable

import pytest

from milliroute.proxy.codec import h2_events as told
from milliroute.proxy.codec import h2_frames as fr
from milliroute.proxy.codec.h2_events import ConnectionFailed
from milliroute.proxy.codec.h2_limits import H2Limits
from tests.proxy.codec.h2_cases import TOLERATED, connection
from tests.proxy.codec.h2_peers import CODECS, GET, OK, POST, Codec, Peer, data, headers, reaction, resets

pytestmark = pytest.mark.parametrize("codec", CODECS)

CALM = connection(fr.ENHANCE_YOUR_CALM)
FEW = H2Limits(reset_burst=5, control_burst=5, control_per_stream=0, tiny_data_burst=20)
LENGTH = (b"content-length", b"3")

MADE_RESETS: dict[str, Callable[[int], bytes]] = {
    "WINDOW_UPDATE by 0": lambda n: headers(n) + fr.window_update(n, 0),
    "a window over 2**31-1": lambda n: headers(n) + fr.window_update(n, 2**31 - 1),
    "DATA after END_STREAM": lambda n: headers(n) + data(n, b"abcdef"),
    "HEADERS after END_STREAM": lambda n: headers(n) + headers(n),
    "PRIORITY of the wrong size": lambda n: headers(n) + fr.frame(fr.PRIORITY, 0, n, bytes(4)),
    "content over its length": lambda n: headers(n, [*POST, LENGTH], end=False) + data(n, b"abcdef"),
    "trailers without END_STREAM": lambda n: headers(n, POST, end=False) + headers(n, [(b"a", b"b")], end=False),
    "trailers that are malformed": lambda n: headers(n, POST, end=False) + headers(n, [(b"A", b"b")]),
    "a malformed request": lambda n: headers(n, [*GET, (b"connection", b"close")]),
    "a request of nothing but padding": lambda n: fr.frame(fr.HEADERS, fr.END_HEADERS | fr.PADDED, n, b"\3\0\0\0"),
}


@pytest.mark.parametrize("wire", MADE_RESETS.values(), ids=MADE_RESETS)
def test_resets_that_the_peer_makes_us_send_count_too(codec: Codec, wire: Callable[[int], bytes]) -> None:
    peer = Peer(codec)
    events = peer.send(*map(wire, range(1, 301, 2)))
    assert isinstance(events[-1], ConnectionFailed)
    assert events[-1].code == fr.ENHANCE_YOUR_CALM
    assert len(resets(peer.wrote())) == 101


def test_a_backend_that_writes_on_streams_that_have_ended_is_cut_off(codec: Codec) -> None:
    peer = Peer(codec, "client", FEW)
    for stream_id in (1, 3, 5, 7, 9, 11):
        peer.request()
        peer.send(headers(stream_id, OK))
    late = [data(stream_id, b"abcdef") for stream_id in (1, 3, 5, 7, 9, 11)]
    assert reaction(peer.send(*late), peer.wrote()[6:]) == CALM


def test_a_backends_wrong_answers_end_their_streams_and_never_the_connection(codec: Codec) -> None:
    peer = Peer(codec, "client", FEW)
    for stream_id in range(1, 101, 2):
        peer.request()
        peer.wrote()
        events = peer.send(headers(stream_id, [*OK, (b"connection", b"close")]))
        assert reaction(events, peer.wrote()) == f"stream {stream_id}:{fr.PROTOCOL_ERROR}"


@pytest.mark.parametrize("frame", [data(1, b"1234"), data(1, b"1", pad=99)], ids=["4 bytes", "1 byte and padding"])
def test_data_of_a_few_bytes_in_masses_ends_the_connection(codec: Codec, frame: bytes) -> None:
    peer = Peer(codec, limits=FEW)
    assert reaction(peer.send(headers(1, POST, end=False), *[frame] * 20), peer.wrote()) == TOLERATED
    assert reaction(peer.send(frame), peer.wrote()) == CALM


def test_data_of_a_few_bytes_is_forgiven_with_time(codec: Codec) -> None:
    peer = Peer(codec, limits=FEW)
    peer.send(headers(1, POST, end=False))
    for _ in range(100):
        peer.now += 0.01
        assert reaction(peer.send(*[data(1, b"x")] * 10), peer.wrote()) == TOLERATED


def test_data_of_a_few_bytes_on_a_stream_that_is_gone_counts_too(codec: Codec) -> None:
    peer = Peer(codec, limits=FEW)
    peer.send(headers(1, POST, end=False))
    peer.conn.reset(1, fr.CANCEL)
    peer.wrote()
    assert reaction(peer.send(*[data(1, b"x")] * 21), peer.wrote()) == CALM


def test_empty_grpc_messages_are_no_flood(codec: Codec) -> None:
    peer = Peer(codec, limits=FEW)
    peer.send(headers(1, POST, end=False))
    assert reaction(peer.send(*[data(1, bytes(5))] * 5000), peer.wrote()) == TOLERATED


def test_a_backend_may_answer_byte_by_byte(codec: Codec) -> None:
    peer = Peer(codec, "client", FEW)
    peer.request()
    peer.wrote()
    assert reaction(peer.send(headers(1, OK, end=False), *[data(1, b"x")] * 1000), peer.wrote()) == TOLERATED


def test_small_data_that_came_together_is_told_as_one(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1, POST, end=False), headers(3, POST, end=False))
    events = peer.send(data(1, b"ab"), data(1, b"cd", pad=2), data(3, b"x"), data(1, b"ef", end=True))
    assert events == [
        told.DataReceived(1, b"abcd", 7, False),
        told.DataReceived(3, b"x", 1, False),
        told.DataReceived(1, b"ef", 2, True),
    ]


def test_small_data_that_is_told_as_one_stays_small(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1, POST, end=False))
    events = peer.send(*[data(1, b"x" * 100)] * 82, data(1, b"y" * 2000))
    assert [len(event.data) for event in events if isinstance(event, told.DataReceived)] == [4100, 6100]


def test_data_is_told_as_one_up_to_sixteen_times_its_frames(codec: Codec) -> None:
    peer = Peer(codec, limits=H2Limits(stream_window_bytes=1024 * 1024))
    peer.send(headers(1, POST, end=False))
    large, small = data(1, b"x" * 16_384), data(1, b"y" * 10)
    events = peer.send(*[large] * 17, *[small] * 2, large, data(1, b"z" * 16_384, end=True))
    told_as = [(len(event.data), event.end_stream) for event in events if isinstance(event, told.DataReceived)]
    assert told_as == [(262_144, False), (16_384, False), (16_404, False), (16_384, True)]
