"""Heads of tunnels from one version of HTTP to the other."""

import base64

from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.heads import websocket
from milliroute.proxy.heads.message_h2 import H2ResponseHead
from milliroute.proxy.message import RequestHead, ResponseHead

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HOP = {b"connection", b"upgrade", b"sec-websocket-key", b"sec-websocket-accept", b"content-length"}


def upgrade() -> RequestHead:
    wire = (
        b"GET /chat?a=b HTTP/1.1\r\nHost: Reviews:80\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\nOrigin: http://a\r\n\r\n"
    )
    head = RequestHead(b"GET", b"/chat?a=b", b"reviews:80", wire)
    head.upgrade = b"websocket"
    return head


def test_accept_is_the_one_of_the_rfc() -> None:
    assert websocket.accept_of(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3


def test_key_is_new_each_time_and_16_bytes() -> None:
    keys = {websocket.new_key() for _ in range(10)}
    assert {len(base64.b64decode(key)) for key in keys} == {16}
    assert len(keys) == 10


def test_upgrade_becomes_an_extended_connect_without_what_belongs_to_its_hop() -> None:
    assert websocket.connect_fields(upgrade()) == [
        (b":method", b"CONNECT"),
        (b":protocol", b"websocket"),
        (b":scheme", b"http"),
        (b":path", b"/chat?a=b"),
        (b":authority", b"reviews:80"),
        (b"sec-websocket-version", b"13"),
        (b"origin", b"http://a"),
    ]


def test_extended_connect_becomes_an_upgrade_with_a_key_of_ours() -> None:
    fields = websocket.upgrade_fields([(b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"theirs")])
    named = dict(fields)
    assert (named[b"connection"], named[b"upgrade"], named[b"sec-websocket-version"]) == (
        b"upgrade",
        b"websocket",
        b"13",
    )
    assert [name for name, _ in fields].count(b"sec-websocket-key") == 1
    assert len(base64.b64decode(named[b"sec-websocket-key"])) == 16


def test_granted_connect_becomes_a_101_with_the_accept_of_the_clients_key() -> None:
    answer = H2ResponseHead(200, [Field(b":status", b"200"), Field(b"sec-websocket-protocol", b"chat")])
    head = websocket.switching(upgrade(), answer.fields())
    named = dict(head.fields())
    assert (head.status, named[b"sec-websocket-protocol"]) == (101, b"chat")
    assert named[b"sec-websocket-accept"] == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert head.wire.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")


def test_101_becomes_a_200_without_what_belongs_to_its_hop() -> None:
    wire = (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )
    fields = websocket.connected_fields(ResponseHead(101, wire, 0, False))
    assert fields == [(b":status", b"200"), (b"sec-websocket-protocol", b"chat")]
    assert not HOP & {name for name, _ in fields}
