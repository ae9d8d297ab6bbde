"""HTTP/2 message by message through a real milliroute, with the h2 library as client and as backend."""

from pathlib import Path

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    InformationalResponseReceived,
    RequestReceived,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes

from tests.e2e.h2_peer import backend, client, plain
from tests.e2e.h2_stand import BOTH_CODECS, accepted, between, run
from tests.e2e.stand import stand

pytestmark = BOTH_CODECS
PIECE = bytes(range(250)) * 4


def test_heads_longer_than_a_frame_pass_in_continuations(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, origin, _):
        # Not compressible, so that they need more than the 16,384 bytes of a frame.
        long = [(f"x-long-{number}", "~" * 1000) for number in range(25)]
        sid = peer.request(long)
        server, upstream_id = accepted(origin)
        seen = dict(plain(server.until(RequestReceived).headers))
        assert {name: seen[name] for name, _ in long} == dict(long)
        server.respond(upstream_id, b"ok", long)
        assert peer.answer(sid) == ("200", b"ok")
        got = dict(plain(peer.until(ResponseReceived, sid).headers))
        assert {name: got[name] for name, _ in long} == dict(long)


def test_trailers_pass_both_ways(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, origin, _):
        sid = peer.request([("te", "trailers")], method="POST", is_end=False)
        peer.h2.send_data(sid, b"question")
        peer.h2.send_headers(sid, [("x-sum", "7"), ("sum-bin", "AAE=")], end_stream=True)
        peer.flush()
        server, upstream_id = accepted(origin)
        assert server.trailers(upstream_id) == [("x-sum", "7"), ("sum-bin", "AAE=")]
        assert ("te", "trailers") in plain(server.until(RequestReceived).headers)
        assert server.body(upstream_id) == b"question"
        server.respond(upstream_id, b"answer", is_end=False)
        server.h2.send_headers(upstream_id, [("grpc-status", "0"), ("x-end", "yes")], end_stream=True)
        server.flush()
        assert peer.trailers(sid) == [("grpc-status", "0"), ("x-end", "yes")]
        assert peer.answer(sid) == ("200", b"answer")


def test_interim_responses_come_before_the_final_one(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, origin, _):
        sid = peer.request()
        server, upstream_id = accepted(origin)
        for number in range(3):
            server.h2.send_headers(upstream_id, [(":status", "103"), ("link", f"</{number}.css>; rel=preload")])
        server.flush()
        hints = [peer.until(InformationalResponseReceived, sid, count=number + 1) for number in range(3)]
        assert [dict(plain(hint.headers))["link"] for hint in hints] == [f"</{n}.css>; rel=preload" for n in range(3)]
        server.respond(upstream_id, b"final")
        assert peer.answer(sid) == ("200", b"final")


def test_a_client_that_cancels_one_stream_cancels_it_at_the_backend_and_no_other(tmp_path: Path, codec: str) -> None:
    """Streams have the same numbers on both sides, since the proxy has no other client."""
    with between(tmp_path, codec) as (peer, origin, _):
        gone, stays = peer.request(), peer.request()
        server = origin.accept()
        server.until(RequestReceived, count=2)
        server.respond(1, PIECE, is_end=False)
        server.respond(3, PIECE, is_end=False)
        peer.until(DataReceived, gone)
        peer.h2.reset_stream(gone, ErrorCodes.CANCEL)
        peer.flush()
        assert server.until(StreamReset, 1).error_code == ErrorCodes.CANCEL
        server.h2.send_data(3, b"end", end_stream=True)
        server.flush()
        assert peer.answer(stays) == ("200", PIECE + b"end")


def test_a_response_that_breaks_off_is_reset_and_never_taken_for_whole(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, origin, _):
        broken, stays = peer.request(), peer.request()
        server = origin.accept()
        server.until(RequestReceived, count=2)
        server.respond(1, PIECE, is_end=False)
        peer.until(DataReceived, broken)
        server.h2.reset_stream(1, ErrorCodes.INTERNAL_ERROR)
        server.respond(3, b"whole")
        assert peer.until(StreamReset, broken).error_code == ErrorCodes.INTERNAL_ERROR
        assert peer.all(StreamEnded, broken) == []
        assert peer.answer(stays) == ("200", b"whole")


def test_a_backend_that_resets_before_it_answers_is_a_502(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, origin, _):
        sid = peer.request(method="POST")
        server, upstream_id = accepted(origin)
        server.h2.reset_stream(upstream_id, ErrorCodes.INTERNAL_ERROR)
        server.flush()
        assert peer.answer(sid) == ("502", b"")


def test_a_refused_stream_is_sent_again_whatever_its_method(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, origin, _):
        sid = peer.request(method="POST", is_end=False)
        peer.h2.send_data(sid, b"once", end_stream=True)
        peer.flush()
        server, upstream_id = accepted(origin)
        server.until(StreamEnded, upstream_id)
        server.h2.reset_stream(upstream_id, ErrorCodes.REFUSED_STREAM)
        server.flush()
        again, again_id = accepted(origin)
        again.until(StreamEnded, again_id)
        assert again.body(again_id) == b"once"
        again.respond(again_id, b"done")
        assert peer.answer(sid) == ("200", b"done")


def test_streams_above_the_backends_limit_wait_or_go_over_another_connection(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, origin, _):
        first = peer.request()
        server = origin.accept()
        server.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        server.flush()
        server.until(SettingsAcknowledged, count=2)
        second = peer.request()
        other, other_id = accepted(origin)
        other.respond(other_id, b"second")
        server.respond(1, b"first")
        assert peer.answer(first) == ("200", b"first")
        assert peer.answer(second) == ("200", b"second")


def test_a_client_above_our_stream_limit_is_refused_the_excess_and_keeps_the_rest(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, origin, _):
        peer.h2.remote_settings.max_concurrent_streams = 1000
        sids = [peer.request() for _ in range(101)]
        assert peer.until(StreamReset, sids[100]).error_code == ErrorCodes.REFUSED_STREAM
        server = origin.accept()
        for number in range(100):
            stream_id = server.until(RequestReceived, count=number + 1).stream_id
            assert stream_id is not None
            server.respond(stream_id, b"%d" % number)
        assert [peer.answer(sid)[0] for sid in sids[:100]] == ["200"] * 100


def test_a_client_that_leaves_cancels_all_its_streams_at_the_backend(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here, backend() as origin:
        proxy = run(here, [origin.port, 1], codec, "1", "0")
        with client(proxy.port("proxy")) as peer:
            for _ in range(10):
                peer.request()
            server = origin.accept()
            server.until(RequestReceived, count=10)
        server.until(StreamReset, count=10)
        assert {event.error_code for event in server.all(StreamReset)} == {ErrorCodes.CANCEL}


def test_a_grpc_timeout_that_the_client_does_not_watch_itself_is_kept_by_the_proxy(tmp_path: Path, codec: str) -> None:
    with between(tmp_path, codec) as (peer, origin, _):
        grpc = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "300m")]
        sid = peer.request(grpc, method="POST")
        server, upstream_id = accepted(origin)
        # What is left of it, in whatever unit.
        assert "grpc-timeout" in dict(plain(server.until(RequestReceived).headers))
        assert peer.answer(sid) == ("200", b"")
        assert dict(plain(peer.until(ResponseReceived, sid).headers))["grpc-status"] == "4"
        assert server.until(StreamReset, upstream_id).error_code == ErrorCodes.CANCEL
