"""HTTP/1.1 clients before backends that know only HTTP/2, and the other way round: trailers, 1xx and broken answers."""

import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from h2.events import InformationalResponseReceived, RequestReceived, StreamEnded, StreamReset

from tests.e2e.h2_peer import Peer, backend, client, plain
from tests.e2e.h2_stand import H2C, run_speaking
from tests.e2e.stand import PATIENCE_S, stand
from tests.sizes import CODEC

pytestmark = CODEC
GET = b"GET /x HTTP/1.1\r\nhost: reviews\r\nte: trailers\r\nconnection: te, close\r\n\r\n"


@contextmanager
def _asked(folder: Path, codec: str, request: bytes) -> Iterator[tuple[socket.socket, Peer, int]]:
    """An HTTP/1.1 client that has sent this, the backend that has it over HTTP/2, and its stream there."""
    with stand(folder) as here, backend() as origin:
        port = run_speaking(here, [origin.port, 1], codec, H2C, "1", "0").port("proxy")
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock:
            sock.sendall(request)
            server = origin.accept()
            stream_id = server.until(StreamEnded).stream_id
            assert stream_id is not None
            yield sock, server, stream_id


def _rest(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def test_trailers_of_an_http2_backend_end_a_chunked_answer(tmp_path: Path, codec: str) -> None:
    with _asked(tmp_path, codec, GET) as (sock, server, stream_id):
        server.respond(stream_id, b"answer", [("trailer", "x-sum")], is_end=False)
        server.h2.send_headers(stream_id, [("x-sum", "7")], end_stream=True)
        server.flush()
        answer = _rest(sock)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\n\r\n6\r\nanswer\r\n0\r\nx-sum: 7\r\n\r\n" in answer


def test_chunks_of_an_http1_client_arrive_as_one_body(tmp_path: Path, codec: str) -> None:
    head = b"POST /x HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    chunks = b"3\r\nabc\r\n5;ext=1\r\ndefgh\r\n0\r\nx-sum: 7\r\n\r\n"
    with _asked(tmp_path, codec, head + chunks) as (sock, server, stream_id):
        assert server.body(stream_id) == b"abcdefgh"
        names = [name for name, _ in plain(server.until(RequestReceived).headers)]
        assert not {"transfer-encoding", "connection", "host"} & set(names)
        server.respond(stream_id, fields=[("x-seen", "yes")])
        assert b"\r\nx-seen: yes\r\n" in _rest(sock)


def test_interim_responses_pass_to_an_http1_client(tmp_path: Path, codec: str) -> None:
    with _asked(tmp_path, codec, GET) as (sock, server, stream_id):
        server.h2.send_headers(stream_id, [(":status", "103"), ("link", "</a.css>; rel=preload")])
        server.respond(stream_id, b"final", [("content-length", "5")])
        interim, _, final = _rest(sock).partition(b"\r\n\r\n")
        assert interim.startswith(b"HTTP/1.1 103 ")
        assert b"link: </a.css>; rel=preload" in interim
        assert final.startswith(b"HTTP/1.1 200 ")
        assert final.endswith(b"final")


def test_an_http2_answer_that_breaks_off_is_not_ended_for_an_http1_client(tmp_path: Path, codec: str) -> None:
    with _asked(tmp_path, codec, GET) as (sock, server, stream_id):
        server.respond(stream_id, b"half of", is_end=False)
        while b"half of" not in sock.recv(65536):
            pass
        server.h2.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
        server.flush()
        with pytest.raises(ConnectionResetError):
            _rest(sock)


def test_an_http1_client_that_resets_its_connection_cancels_its_stream(tmp_path: Path, codec: str) -> None:
    with _asked(tmp_path, codec, GET.replace(b", close", b"")) as (sock, server, stream_id):
        # Not by FIN: that may be a client that only has no more to say.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        assert server.until(StreamReset, stream_id).error_code == ErrorCodes.CANCEL


def test_cookie_crumbs_are_one_field_for_an_http1_backend_and_its_answer_comes_with_trailers(
    tmp_path: Path, codec: str
) -> None:
    with stand(tmp_path) as here, closing(socket.create_server(("127.0.0.1", 0))) as origin:
        origin.settimeout(PATIENCE_S)
        port = run_speaking(here, [origin.getsockname()[1], 1], codec, "http", "1", "0").port("proxy")
        with client(port) as peer:
            sid = peer.request([("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")])
            with origin.accept()[0] as server:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += server.recv(65536)
                assert head.lower().count(b"cookie:") == 1
                assert b"cookie: a=1; b=2\r\n" in head
                assert b"host: reviews\r\n" in head
                server.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n")
                server.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n")
                assert peer.answer(sid) == ("200", b"ok")
            (hint,) = peer.all(InformationalResponseReceived, sid)
            assert dict(plain(hint.headers))[":status"] == "103"
            assert peer.trailers(sid) == [("x-sum", "7")]
