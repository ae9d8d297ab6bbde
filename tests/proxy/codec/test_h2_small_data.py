"""Rows of DATA frames, which the fast codec reads in one go, long bodies, and heads that go out with their body."""

import random
from collections.abc import Sequence

import pytest

from milliroute.proxy.codec import h2_frames as fr
from milliroute.proxy.codec.h2_events import DataReceived, Event
from milliroute.proxy.codec.h2_limits import H2Limits
from milliroute.proxy.codec.h2_receiver import Receiver
from tests.proxy.codec.h2_peers import CODECS, OK, POST, Codec, Frame, Peer, data, data_of, headers, reaction

SEEDS = 300


def _row(rng: random.Random) -> list[bytes]:
    """DATA of two streams, mostly small; now and then padded, empty, large, or the last of a stream."""
    frames, stream_id = [], 1
    for _ in range(rng.randrange(1, 120)):
        if rng.random() < 0.05:
            stream_id = rng.choice((1, 3))
        size = rng.choice((5, 5, 100, 100, 300, 1000, 1024, 1025, 4, 0, 5000))
        pad = 3 if rng.random() < 0.03 else None
        frames.append(data(stream_id, rng.randbytes(size), end=rng.random() < 0.01, pad=pad))
    return frames


def _told(length: int | None, wire: Sequence[bytes]) -> tuple[list[Event], list[Frame], str]:
    """What becomes of frames on two open streams, one perhaps with a content-length; wire: as a transport reads it."""
    peer = Peer("fast", limits=H2Limits(connection_window_bytes=70_000))
    more = [(b"content-length", b"%d" % length)] if length is not None else []
    peer.send(headers(1, [*POST, *more], end=False), headers(3, POST, end=False))
    peer.wrote()
    events = [event for chunk in wire for event in peer.send(chunk)]
    written = peer.wrote()
    return events, written, reaction(events, written)


@pytest.mark.slow
@pytest.mark.parametrize("is_cut", [False, True])
def test_row_of_small_data_is_told_as_frame_by_frame(is_cut: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, by_row = set(), Receiver.data_row
    for seed in range(SEEDS):
        rng = random.Random(seed)
        length, wire = rng.choice((None, None, 700, 5000)), b"".join(_row(rng))
        cut = rng.randrange(len(wire)) if is_cut else 0
        monkeypatch.setattr(Receiver, "data_row", by_row)
        told = _told(length, (wire[:cut], wire[cut:]))
        monkeypatch.setattr(Receiver, "data_row", lambda self, data, at, stream_id, events: at)
        assert told == _told(length, (wire[:cut], wire[cut:])), seed
        seen.add(told[2])
    # It is no test where all goes well, or nothing.
    assert {"tolerated", "stream 1:1", "stream 3:5", f"connection:{fr.FLOW_CONTROL_ERROR}"} <= seen


def test_rows_of_any_size_are_told_alike_by_both_codecs() -> None:
    lengths = set()
    for seed in range(40):
        rng = random.Random(seed)
        sizes = [rng.choice((0, 4, 5, 1000, 1024, 1025, 5000, 16_383, 16_384)) for _ in range(rng.randrange(1, 30))]
        pads = [3 if size <= 5000 and rng.random() < 0.1 else None for size in sizes]
        frames = [data(1, rng.randbytes(size), pad=pad) for size, pad in zip(sizes, pads, strict=True)]
        wire = b"".join([*frames, data(1, b"the end", end=True)])
        at, told = rng.randrange(len(wire)), []
        for codec in CODECS:
            peer = Peer(codec, limits=H2Limits(stream_window_bytes=1024 * 1024))
            peer.send(headers(1, POST, end=False))
            told.append([event for part in (wire[:at], wire[at:]) for event in peer.send(part)])
        assert told[0] == told[1], seed
        lengths |= {len(event.data) for event in told[0] if isinstance(event, DataReceived)}
    assert max(lengths) > 65_536


@pytest.mark.parametrize("codec", CODECS)
def test_row_of_small_data_takes_from_both_windows(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1, POST, end=False))
    (*_, last) = peer.send(*(data(1, b"x" * 100) for _ in range(655)))
    assert isinstance(last, DataReceived)
    assert reaction(peer.send(data(1, b"x" * 36)), peer.wrote()) == f"connection:{fr.FLOW_CONTROL_ERROR}"


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("size", "window"), [(10, 65_535), (4096, 65_535), (4097, 65_535), (20_000, 65_535), (10, 4)])
def test_head_with_body_is_as_head_and_body_one_after_the_other(codec: Codec, size: int, window: int) -> None:
    written = []
    for is_together in (True, False):
        peer = Peer(codec)
        peer.send(fr.settings([(fr.INITIAL_WINDOW_SIZE, window)]), headers(1))
        peer.wrote()
        if is_together:
            peer.conn.send_response(1, OK, True, b"x" * size)
        else:
            peer.conn.send_response(1, OK, False)
            peer.conn.send_data(1, b"x" * size, True)
        written.append((peer.wrote(), peer.conn.queued(1), peer.conn.open_streams))
    assert written[0] == written[1]
    assert len(data_of(written[0][0], 1)) == min(size, window)


@pytest.mark.parametrize("window", [1, 10_000, 16_384, 40_000, 70_000, 100_000])
def test_long_body_is_cut_alike_by_both_codecs(window: int) -> None:
    body, written = random.Random(window).randbytes(100_000), []
    for codec in CODECS:
        peer = Peer(codec)
        peer.send(fr.settings([(fr.INITIAL_WINDOW_SIZE, window)]), fr.window_update(0, 34_465), headers(1))
        peer.conn.send_response(1, OK, False)
        peer.conn.send_data(1, body[:50_000], False)
        peer.conn.send_data(1, body[50_000:], True)
        sent = [frame for frame in peer.wrote() if frame.kind == fr.DATA]
        events = peer.send(fr.window_update(1, 20_000)) + peer.send(fr.window_update(1, 100_000))
        sent += [frame for frame in peer.wrote() if frame.kind == fr.DATA]
        assert data_of(sent, 1) == body
        assert peer.conn.open_streams == 0
        written.append(([(len(frame.payload), frame.flags) for frame in sent], events))
    assert written[0] == written[1]


@pytest.mark.parametrize("codec", CODECS)
def test_body_that_comes_with_its_head_waits_behind_a_backlog(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1))
    peer.conn.backlog(1024 * 1024)
    peer.conn.send_response(1, OK, True, b"x" * 10)
    assert data_of(peer.wrote(), 1) == b""
    peer.conn.backlog(0)
    assert data_of(peer.wrote(), 1) == b"x" * 10
