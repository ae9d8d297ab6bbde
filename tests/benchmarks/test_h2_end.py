"""Flow control and frames of both ends, against the h2 library and frames by hand."""

import asyncio
from typing import cast

import h2.config
import h2.connection
import h2.events
import pytest

from benchmarks.h2_end import CONNECTION_WINDOW, STREAM_WINDOW, H2End
from milliroute.proxy.codec import h2_frames

SIZE = 300_000


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.is_aborted = True


class End(H2End):
    """Notes what comes."""

    preface = h2_frames.PREFACE

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[object, ...]] = []
        self.wire = Wire()
        self.connection_made(cast("asyncio.Transport", self.wire))

    def on_block(self, stream_id: int, block: bytes, is_end: bool) -> None:
        self.noted.append(("block", stream_id, block, is_end))

    def on_body(self, stream_id: int, size: int, is_end: bool) -> None:
        self.noted.append(("body", stream_id, size, is_end))

    def on_reset(self, stream_id: int, code: int) -> None:
        self.noted.append(("reset", stream_id, code))

    def on_broken(self, reason: str) -> None:
        self.noted.append(("broken", reason))

    def trailers(self) -> bytes:
        return b"\x88"

    def taken(self) -> bytes:
        """What has been written since it was asked last."""
        written, self.wire.written = self.wire.written, b""
        return written


def server() -> h2.connection.H2Connection:
    """A strict one: it raises on any frame past its windows."""
    made = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    made.initiate_connection()
    return made


@pytest.mark.parametrize("grain", [b"b" * 16384, b"m" * 105])
def test_body_is_sent_whole_and_never_past_the_windows_of_a_strict_server(grain: bytes) -> None:
    end, strict, received, is_ended = End(), server(), 0, False
    end.data_received(strict.data_to_send())
    end.send_block(1, b"\x83\x86\x84\x41\x01a", False)
    end.send_body(1, grain, SIZE, has_trailers=False)
    end.flush()
    while data := end.taken():
        for event in strict.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                received += len(event.data)
                strict.acknowledge_received_data(event.flow_controlled_length, 1)
            is_ended |= isinstance(event, h2.events.StreamEnded)
        end.data_received(strict.data_to_send())
    assert (received, is_ended) == (SIZE, True)


def test_smaller_initial_window_stops_open_streams_until_it_is_made_up_for() -> None:
    end = End()
    end.send_body(1, b"x" * 1000, 100_000, has_trailers=True)
    end.flush()
    end.taken()
    end.data_received(h2_frames.settings([(h2_frames.INITIAL_WINDOW_SIZE, 1000)]) + h2_frames.window_update(0, 99_000))
    end.data_received(h2_frames.window_update(1, 64_000))
    assert not any(note[0] == "broken" for note in end.noted)
    # 65,535 are sent, 1,000 + 64,000 allowed: still 535 too many.
    assert end.taken() == h2_frames.SETTINGS_ACK
    end.data_received(h2_frames.window_update(1, 536))
    assert end.taken() == h2_frames.frame(h2_frames.DATA, 0, 1, b"x")


def test_trailers_follow_the_last_byte_of_a_body() -> None:
    end = End()
    end.taken()
    end.send_body(1, b"x" * 10, 30, has_trailers=True)
    end.flush()
    data = h2_frames.frame(h2_frames.DATA, 0, 1, b"x" * 10)
    assert end.taken() == data * 3 + h2_frames.frame(h2_frames.HEADERS, 0x5, 1, b"\x88")


def test_window_is_topped_up_when_half_used() -> None:
    end, data = End(), h2_frames.frame(h2_frames.DATA, 0, 1, b"x" * 16384)
    end.taken()
    end.data_received(data * (STREAM_WINDOW // 16384 // 2 - 1))
    assert end.taken() == b""
    end.data_received(data)
    assert end.taken() == h2_frames.window_update(1, STREAM_WINDOW // 2)


def test_peer_that_sends_past_a_window_is_cut_off() -> None:
    end = End()
    end.data_received(h2_frames.frame(h2_frames.DATA, 0, 1, b"x" * 16384) * (STREAM_WINDOW // 16384 + 1))
    assert end.noted[-1][0] == "broken"
    assert end.wire.is_aborted
    assert CONNECTION_WINDOW > STREAM_WINDOW


def test_frames_are_read_however_they_are_cut_padded_and_continued() -> None:
    end = End()
    raw = h2_frames.frame(h2_frames.HEADERS, 0, 1, b"ab") + h2_frames.frame(h2_frames.CONTINUATION, 0x4, 1, b"c")
    raw += h2_frames.frame(h2_frames.DATA, h2_frames.PADDED, 1, b"\x02xyz\0\0")
    raw += h2_frames.frame(h2_frames.HEADERS, 0x2D, 3, b"\x01" + b"pppppde" + b"\0")
    for byte in raw:
        end.data_received(bytes([byte]))
    assert end.noted == [("block", 1, b"abc", False), ("body", 1, 3, False), ("block", 3, b"de", True)]


def test_ping_is_answered_and_goaway_is_the_end() -> None:
    end = End()
    end.taken()
    end.data_received(h2_frames.ping(b"12345678"))
    assert end.taken() == h2_frames.ping(b"12345678", is_ack=True)
    end.data_received(h2_frames.goaway(7, 2, "gone"))
    assert end.noted == [("broken", "GOAWAY (last stream, code) (7, 2) b'gone'")]
