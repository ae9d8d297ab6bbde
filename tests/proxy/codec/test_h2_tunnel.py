"""CONNECT, plain and extended (RFC 8441, RFC 9113 section 8.5): who may ask for it, and what a tunnel may carry."""

import pytest

from milliroute.proxy.codec import h2_events as told
from milliroute.proxy.codec import h2_frames as fr
from milliroute.proxy.codec.h2_limits import H2Limits
from tests.proxy.codec.h2_cases import TOLERATED, stream
from tests.proxy.codec.h2_peers import (
    CODECS,
    CONNECT,
    GET,
    OK,
    Codec,
    Pairs,
    Peer,
    data,
    data_of,
    headers,
    reaction,
    resets,
)

pytestmark = pytest.mark.parametrize("codec", CODECS)

LENGTH = (b"content-length", b"5")


def _asking(codec: Codec) -> Peer:
    """A client that has asked for a tunnel on stream 1."""
    peer = Peer(codec, "client")
    peer.request(CONNECT, end=False)
    peer.wrote()
    return peer


def test_extended_connect_passes_where_it_is_offered(codec: Codec) -> None:
    peer = Peer(codec)
    assert (fr.ENABLE_CONNECT_PROTOCOL, 1) in list(fr.SETTING.iter_unpack(peer.opening[0].payload))
    (event,) = peer.send(headers(1, CONNECT, end=False))
    assert isinstance(event, told.RequestReceived)
    assert (event.verdict.method, event.verdict.protocol) == (b"CONNECT", b"websocket")
    assert (event.verdict.target, event.verdict.authority) == (b"/", b"a.example")


def test_extended_connect_that_was_not_offered_is_malformed(codec: Codec) -> None:
    peer = Peer(codec, limits=H2Limits(may_extended_connect=False))
    assert fr.ENABLE_CONNECT_PROTOCOL not in dict(fr.SETTING.iter_unpack(peer.opening[0].payload))
    assert reaction(peer.send(headers(1, CONNECT, end=False)), peer.wrote()) == stream(fr.PROTOCOL_ERROR)


def test_plain_connect_can_be_answered_with_501(codec: Codec) -> None:
    events = Peer(codec).send(headers(1, [(b":method", b"CONNECT"), GET[3]], end=False))
    assert events == [told.RequestRejected(1, 501, False)]


def test_a_protocol_other_than_websocket_can_be_answered_with_501(codec: Codec) -> None:
    fields = [CONNECT[0], (b":protocol", b"connect-udp"), *CONNECT[2:]]
    assert Peer(codec).send(headers(1, fields, end=False)) == [told.RequestRejected(1, 501, False)]


def test_a_client_learns_from_the_settings_whether_it_may_ask(codec: Codec) -> None:
    peer = Peer(codec, "client")
    assert not peer.conn.peer_settings.may_extended_connect
    peer.send(fr.settings([(fr.ENABLE_CONNECT_PROTOCOL, 1)]))
    assert peer.conn.peer_settings.may_extended_connect


def test_a_tunnel_carries_bytes_both_ways_until_each_side_ends_it(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1, CONNECT, end=False))
    peer.conn.send_response(1, OK, False)
    assert peer.send(data(1, b"up")) == [told.DataReceived(1, b"up", 2, False)]
    assert peer.send(data(1, end=True)) == [told.DataReceived(1, b"", 0, True)]
    peer.conn.send_data(1, b"down", False)
    assert data_of(peer.wrote(), 1) == b"down"
    peer.conn.send_data(1, b"", True)
    assert (peer.wrote()[-1].flags, peer.conn.open_streams) == (fr.END_STREAM, 0)


@pytest.mark.parametrize("fields", [[*OK, LENGTH], [*OK, (b"content-length", b"no")], [(b":status", b"204"), LENGTH]])
def test_a_content_length_beside_a_granted_tunnel_is_ignored_and_not_passed_on(codec: Codec, fields: Pairs) -> None:
    peer = _asking(codec)
    answer, *rest = peer.send(headers(1, fields, end=False), data(1, b"12345678"), data(1, b"9", end=True))
    assert isinstance(answer, told.ResponseReceived)
    assert [f.name for f in answer.fields] == [b":status"]
    assert rest == [told.DataReceived(1, b"123456789", 9, True)]


def test_a_refused_tunnel_is_an_ordinary_response(codec: Codec) -> None:
    peer = _asking(codec)
    refusal = headers(1, [(b":status", b"403"), LENGTH], end=False)
    assert reaction(peer.send(refusal, data(1, b"123"), headers(1, [(b"a", b"b")])), peer.wrote()) == stream(
        fr.PROTOCOL_ERROR
    )
    peer = _asking(codec)
    trailers = headers(1, [(b"a", b"b")])
    assert reaction(peer.send(refusal, data(1, b"12345"), trailers), peer.wrote()) == TOLERATED


def test_fields_from_the_backend_of_a_tunnel_reset_it(codec: Codec) -> None:
    peer = _asking(codec)
    events = peer.send(headers(1, OK, end=False), data(1, b"x"), headers(1, [(b"a", b"b")]))
    assert [type(event) for event in events[:2]] == [told.ResponseReceived, told.DataReceived]
    assert reaction(events, peer.wrote()) == stream(fr.PROTOCOL_ERROR)


def test_either_side_may_reset_a_tunnel(codec: Codec) -> None:
    peer = _asking(codec)
    peer.send(headers(1, OK, end=False))
    peer.conn.reset(1, fr.CANCEL)
    assert resets(peer.wrote()) == [(1, fr.CANCEL)]
    peer = _asking(codec)
    events = peer.send(headers(1, OK, end=False), fr.rst_stream(1, fr.CONNECT_ERROR))
    assert events[-1] == told.StreamReset(1, fr.CONNECT_ERROR, False)
