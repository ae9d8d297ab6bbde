"""What an owner does with a connection: messages both ways, GOAWAY, PING, SETTINGS, resets; on both codecs."""

import pytest

from milliroute.proxy.codec import h2_events as told
from milliroute.proxy.codec import h2_frames as fr
from milliroute.proxy.codec.h2_settings import Role
from milliroute.proxy.codec.hpack_static import Field
from tests.proxy.codec.h2_peers import CODECS, GET, OK, POST, Codec, Peer, data, goaways, headers, kinds, plain, resets

pytestmark = pytest.mark.parametrize("codec", CODECS)

TRAILERS = [(b"grpc-status", b"0")]


def test_a_request_is_told_with_its_verdict(codec: Codec) -> None:
    (event,) = Peer(codec).send(headers(1, [*POST, (b"content-length", b"3")], end=False))
    assert isinstance(event, told.RequestReceived)
    verdict = event.verdict
    assert (verdict.method, verdict.target, verdict.authority, verdict.content_length) == (
        b"POST",
        b"/",
        b"a.example",
        3,
    )


def test_a_whole_exchange_leaves_nothing_behind(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1, POST, end=False), data(1, b"abc"), headers(1, TRAILERS))
    peer.conn.send_response(1, [(b":status", b"103")], False)
    peer.conn.send_response(1, OK, False)
    peer.conn.send_data(1, b"def", False)
    peer.conn.send_trailers(1, TRAILERS)
    wrote = peer.wrote()
    assert kinds(wrote) == [fr.HEADERS, fr.HEADERS, fr.DATA, fr.HEADERS]
    assert [peer.decode(wrote[n])[0][1] for n in (0, 1, 3)] == [b"103", b"200", b"0"]
    assert peer.conn.open_streams == 0


def test_trailers_without_fields_end_the_stream_with_empty_data(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1))
    peer.conn.send_response(1, OK, False)
    peer.conn.send_trailers(1, [])
    assert [(f.kind, f.flags) for f in peer.wrote()[1:]] == [(fr.DATA, fr.END_STREAM)]


def test_a_client_sends_and_is_answered(codec: Codec) -> None:
    peer = Peer(codec, "client")
    stream_id = peer.request(POST, end=False)
    peer.conn.send_data(stream_id, b"abc", True)
    assert kinds(peer.wrote()) == [fr.HEADERS, fr.DATA]
    early, final = [(b":status", b"103")], [*OK, (b"content-length", b"3")]
    events = peer.send(
        headers(1, early, end=False), headers(1, final, end=False), data(1, b"xyz"), headers(1, TRAILERS)
    )
    assert [type(event).__name__ for event in events] == [
        "InterimReceived", "ResponseReceived", "DataReceived", "TrailersReceived",
    ]  # fmt: skip
    assert peer.conn.open_streams == 0


def test_the_answer_to_head_has_a_length_and_no_content(codec: Codec) -> None:
    peer = Peer(codec, "client")
    peer.request([(b":method", b"HEAD"), *GET[1:]])
    (event,) = peer.send(headers(1, [*OK, (b"content-length", b"500")]))
    assert isinstance(event, told.ResponseReceived)


def test_a_sensitive_field_stays_never_indexed(codec: Codec) -> None:
    peer = Peer(codec, "client")
    peer.request([*GET, Field(b"authorization", b"secret", is_sensitive=True)])
    block = peer.wrote()[0].payload
    (event,) = Peer(codec).send(fr.frame(fr.HEADERS, 5, 1, block))
    assert isinstance(event, told.RequestReceived)
    assert event.fields[-1].is_sensitive


def test_sending_on_a_stream_that_is_gone_does_nothing(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1), fr.rst_stream(1, fr.CANCEL))
    peer.conn.send_response(1, OK, False)
    peer.conn.send_data(1, b"x", True)
    peer.conn.send_trailers(1, TRAILERS)
    peer.conn.reset(1, fr.CANCEL)
    peer.conn.consumed(1, 100)
    assert peer.wrote() == []


def test_a_reset_by_the_peer_says_whether_it_was_refused(codec: Codec) -> None:
    peer = Peer(codec, "client")
    peer.request()
    peer.request()
    events = peer.send(fr.rst_stream(1, fr.REFUSED_STREAM), fr.rst_stream(3, fr.CANCEL))
    assert events == [told.StreamReset(1, fr.REFUSED_STREAM, True), told.StreamReset(3, fr.CANCEL, False)]


def test_an_early_answer_may_be_followed_by_a_reset_without_error(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1, POST, end=False))
    peer.conn.send_response(1, OK, True)
    assert peer.conn.open_streams == 1
    peer.conn.reset(1, fr.NO_ERROR)
    assert resets(peer.wrote()) == [(1, fr.NO_ERROR)]
    assert peer.conn.open_streams == 0


def test_ping_is_answered_with_its_payload(codec: Codec) -> None:
    peer = Peer(codec)
    assert peer.send(fr.ping(b"abcdefgh")) == []
    assert peer.wrote() == [(fr.PING, fr.ACK, 0, b"abcdefgh")]


@pytest.mark.parametrize("role", ["server", "client"])
def test_our_ping_is_told_when_it_is_answered(codec: Codec, role: Role) -> None:
    peer = Peer(codec, role)
    for _ in range(1000):  # each within the rate that answers may have
        peer.now += 1
        peer.conn.ping()
        (ping,) = peer.wrote()
        assert peer.send(fr.ping(ping.payload, is_ack=True)) == [told.PingAcked()]
        assert peer.wrote() == []
    assert peer.send(fr.ping(b"whatever", is_ack=True)) == []


def test_settings_are_applied_and_acknowledged(codec: Codec) -> None:
    peer = Peer(codec, "client")
    values = [(fr.MAX_CONCURRENT_STREAMS, 1), (fr.MAX_FRAME_SIZE, 20_000), (fr.ENABLE_CONNECT_PROTOCOL, 1)]
    assert peer.send(fr.settings(values)) == [told.SettingsReceived()]
    assert peer.wrote() == [(fr.SETTINGS, fr.ACK, 0, b"")]
    settings = peer.conn.peer_settings
    assert (settings.max_streams, settings.max_frame_bytes, settings.may_extended_connect) == (1, 20_000, True)


def test_our_settings_are_settled_once_acknowledged(codec: Codec) -> None:
    peer = Peer(codec, greet=False)
    peer.send(fr.PREFACE, fr.settings([]))
    assert not peer.conn.is_settled
    peer.send(fr.SETTINGS_ACK)
    assert peer.conn.is_settled


def test_a_smaller_header_table_is_obeyed_and_announced(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(fr.settings([(fr.HEADER_TABLE_SIZE, 0)]), headers(1), headers(3))
    peer.wrote()
    for stream_id in (1, 3):
        peer.conn.send_response(stream_id, [*OK, (b"server", b"x")], True)
    first, second = peer.wrote()
    assert first.payload[0] == 0x20  # RFC 7541 section 4.2: the update begins the next block
    assert [peer.decode(frame) for frame in (first, second)] == [[*OK, (b"server", b"x")]] * 2


def test_streams_open_only_up_to_the_peers_limit(codec: Codec) -> None:
    peer = Peer(codec, "client")
    peer.send(fr.settings([(fr.MAX_CONCURRENT_STREAMS, 1)]))
    assert peer.conn.can_open()
    peer.request()
    assert not peer.conn.can_open()
    peer.send(headers(1, OK))
    assert peer.conn.can_open()


def test_a_server_says_goodbye_in_two_steps(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1))
    peer.conn.goaway()
    first, ping = peer.wrote()
    assert goaways([first]) == [(2**31 - 1, fr.NO_ERROR)]
    assert not peer.conn.is_closing
    assert len(peer.send(headers(3))) == 1  # was under way
    peer.send(fr.ping(ping.payload, is_ack=True))
    assert goaways(peer.wrote()) == [(3, fr.NO_ERROR)]
    assert peer.conn.is_closing


def test_streams_after_the_last_goaway_are_ignored_and_the_older_ones_end_well(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1))
    peer.conn.goaway()
    peer.conn.goaway()
    assert goaways(peer.wrote()) == [(2**31 - 1, 0), (1, 0)]
    assert peer.send(fr.frame(fr.HEADERS, 4, 3, plain(GET) + b"\x40\x01a\x01b"), data(3, b"x", end=True)) == []
    peer.conn.send_response(1, OK, True)
    assert kinds(peer.wrote()) == [fr.HEADERS]
    assert peer.conn.open_streams == 0


def test_the_last_stream_of_goaway_never_rises(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1))
    peer.conn.goaway(fr.NO_ERROR, 1)
    peer.send(headers(3), fr.frame(fr.PING, 0, 1, bytes(8)))
    assert goaways(peer.wrote()) == [(1, fr.NO_ERROR), (1, fr.PROTOCOL_ERROR)]


def test_goaway_with_an_error_is_final(codec: Codec) -> None:
    peer = Peer(codec)
    peer.conn.goaway(fr.ENHANCE_YOUR_CALM)
    assert goaways(peer.wrote()) == [(0, fr.ENHANCE_YOUR_CALM)]
    assert peer.conn.is_closing


def test_a_servers_goaway_refuses_the_streams_above_it(codec: Codec) -> None:
    peer = Peer(codec, "client")
    for _ in range(3):
        peer.request()
    peer.wrote()
    events = peer.send(fr.goaway(1, fr.NO_ERROR))
    assert events[0] == told.GoAwayReceived(1, fr.NO_ERROR)
    assert events[1:] == [told.StreamReset(n, fr.REFUSED_STREAM, True) for n in (3, 5)]
    assert (peer.wrote(), peer.conn.can_open(), peer.conn.open_streams) == ([], False, 1)
    assert len(peer.send(headers(1, OK))) == 1


def test_goaway_comes_in_two_steps_too(codec: Codec) -> None:
    peer = Peer(codec, "client")
    peer.request()
    assert peer.send(fr.goaway(2**31 - 1, 0)) == [told.GoAwayReceived(2**31 - 1, 0)]
    assert peer.send(fr.goaway(0, 0))[1:] == [told.StreamReset(1, fr.REFUSED_STREAM, True)]


def test_no_stream_opens_on_a_closing_connection(codec: Codec) -> None:
    peer = Peer(codec, "client")
    peer.send(fr.goaway(0, 0))
    with pytest.raises(RuntimeError):
        peer.conn.open_stream()


def test_a_target_over_the_limit_can_be_answered_with_414(codec: Codec) -> None:
    events = Peer(codec).send(headers(1, [*GET[:2], (b":path", b"/" + b"a" * 8192), GET[3]]))
    assert events == [told.RequestRejected(1, 414, True)]
