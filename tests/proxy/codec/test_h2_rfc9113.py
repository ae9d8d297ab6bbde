"""Each requirement of RFC 9113 sections 3 to 8 on an endpoint: the violation is sent to both codecs.

The table is docs/rfc9113.md; the last test holds the two together.
"""

import re
from pathlib import Path

import pytest

from milliroute.proxy.codec import h2_frames as fr
from milliroute.proxy.codec.h2_events import ConnectionFailed
from tests.proxy.codec.h2_cases import CASES, Case, connection
from tests.proxy.codec.h2_peers import CODECS, POST, Codec, Peer, goaways, headers, kinds, reaction, resets

ROOT = Path(__file__).parent.parent.parent.parent


def _ready(codec: Codec, case: Case) -> Peer:
    peer = Peer(codec, case.role)
    if case.role == "client":
        peer.request()
        peer.request(POST, end=False)
        peer.wrote()
    return peer


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reaction(codec: Codec, case: Case) -> None:
    peer = _ready(codec, case)
    seen = reaction(peer.send(case.wire), peer.wrote())
    assert seen == case.reaction
    # What ends one stream, or nothing, leaves the connection in use; what ends the connection ends it for good.
    peer.send(fr.ping(b"whatever"))
    assert (fr.PING in kinds(peer.wrote())) == (not seen.startswith("connection"))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_reaction_is_the_same_byte_by_byte(codec: Codec, case: Case) -> None:
    if len(case.wire) > 4096:
        return
    peer = _ready(codec, case)
    events = [event for byte in case.wire for event in peer.send(bytes((byte,)))]
    assert reaction(events, peer.wrote()) == case.reaction


@pytest.mark.parametrize("codec", CODECS)
def test_a_wrong_preface_ends_the_connection_at_its_first_wrong_byte(codec: Codec) -> None:
    peer = Peer(codec, greet=False)
    assert peer.send(b"PRI * HTTP/2.0\r\n\r\nS") == []
    assert reaction(peer.send(b"X"), peer.wrote()) == connection(fr.PROTOCOL_ERROR)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("first", [headers(1), fr.ping(bytes(8)), fr.SETTINGS_ACK, fr.frame(0xBA, 0, 0)])
def test_a_first_frame_other_than_settings_ends_the_connection(codec: Codec, role: str, first: bytes) -> None:
    peer = Peer(codec, "server" if role == "server" else "client", greet=False)
    wire = (fr.PREFACE if role == "server" else b"") + first
    assert reaction(peer.send(wire), peer.wrote()) == connection(fr.PROTOCOL_ERROR)


@pytest.mark.parametrize("codec", CODECS)
def test_the_first_frame_of_a_server_is_its_settings(codec: Codec) -> None:
    assert kinds(Peer(codec, greet=False).opening) == [fr.SETTINGS, fr.WINDOW_UPDATE]


@pytest.mark.parametrize("codec", CODECS)
def test_a_client_begins_with_the_preface_and_settings_without_push(codec: Codec) -> None:
    peer = Peer(codec, "client", greet=False)
    assert (fr.ENABLE_PUSH, 0) in list(fr.SETTING.iter_unpack(peer.opening[0].payload))


@pytest.mark.parametrize("codec", CODECS)
def test_an_oversize_frame_is_refused_before_its_payload(codec: Codec) -> None:
    peer = Peer(codec)
    events = peer.send(fr.HEADER.pack(16_385 << 8 | fr.DATA, 0, 1))
    assert reaction(events, peer.wrote()) == connection(fr.FRAME_SIZE_ERROR)


@pytest.mark.parametrize("codec", CODECS)
def test_headers_on_a_stream_that_both_have_ended_end_the_connection(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1))
    peer.conn.send_response(1, [(b":status", b"200")], True)
    peer.wrote()
    assert reaction(peer.send(headers(1)), peer.wrote()) == connection(fr.STREAM_CLOSED)


@pytest.mark.parametrize("codec", CODECS)
def test_frames_under_way_when_we_reset_are_ignored(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1, POST, end=False))
    peer.conn.reset(1, fr.CANCEL)
    assert resets(peer.wrote()) == [(1, fr.CANCEL)]
    wire = fr.frame(fr.DATA, 0, 1, b"abc") + fr.window_update(1, 5) + headers(1, [(b"a", b"b")]) + fr.rst_stream(1, 0)
    assert peer.send(wire) == []
    assert peer.wrote() == []


@pytest.mark.parametrize("codec", CODECS)
def test_a_reset_is_not_answered_with_a_reset(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1, POST, end=False), fr.rst_stream(1, fr.CANCEL))
    assert peer.wrote() == []


@pytest.mark.parametrize("codec", CODECS)
def test_goaway_names_the_highest_stream_it_may_have_processed(codec: Codec) -> None:
    peer = Peer(codec)
    peer.send(headers(1), headers(7), fr.frame(fr.PING, 0, 1, bytes(8)))
    assert goaways(peer.wrote()) == [(7, fr.PROTOCOL_ERROR)]


@pytest.mark.parametrize("codec", CODECS)
def test_nothing_is_read_or_written_after_a_connection_error(codec: Codec) -> None:
    peer = Peer(codec)
    events = peer.send(headers(1), fr.frame(fr.PING, 0, 1, bytes(8)), headers(3))
    assert isinstance(events[-1], ConnectionFailed)
    peer.wrote()
    peer.conn.send_response(1, [(b":status", b"200")], True)
    assert peer.send(headers(5)) == []
    assert peer.wrote() == []


def test_docs_list_every_case_and_name_only_tests_that_exist() -> None:
    table = (ROOT / "docs" / "rfc9113.md").read_text()
    assert [case.name for case in CASES if f"`{case.name}`" not in table] == []
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_h*.py"))
    assert [name for name in set(re.findall(r"`(test_\w+)`", table)) if f"def {name}(" not in sources] == []
