"""The backend over HTTP/2, asked by the h2 library, which holds it to the RFC."""

import asyncio
from typing import cast

import h2.config
import h2.connection
import h2.events
import pytest

from benchmarks.backend_h2 import H2BackendConnection, answers
from benchmarks.hpack_plan import Compression
from benchmarks.scenario_h2 import EXCHANGES, Exchange, grain
from tests.benchmarks.test_h2_end import Wire

Fields = dict[bytes, bytes]


def ask(exchange: Exchange, upload: bytes, times: int = 3) -> list[tuple[Fields, int, Fields]]:
    """(fields, bytes of body, trailers) of some requests over one connection."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    backend, wire = H2BackendConnection(answers("stable"), Compression()), Wire()
    backend.connection_made(cast("asyncio.Transport", wire))
    client.initiate_connection()
    return [_asked(client, backend, wire, exchange, upload) for _ in range(times)]


def _asked(
    client: h2.connection.H2Connection, backend: H2BackendConnection, wire: Wire, exchange: Exchange, upload: bytes
) -> tuple[Fields, int, Fields]:
    stream_id, sent = client.get_next_available_stream_id(), 0
    path = f"/{exchange.kind}/x"
    client.send_headers(
        stream_id, [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path)], not upload
    )
    fields: Fields = {}
    trailers: Fields = {}
    size, is_ended = 0, False
    while not is_ended:
        window = min(client.local_flow_control_window(stream_id), 16384) if sent < len(upload) else 0
        if piece := upload[sent : sent + window]:
            sent += len(piece)
            client.send_data(stream_id, piece, sent == len(upload))
        backend.data_received(client.data_to_send())
        for event in client.receive_data(wire.written):
            if isinstance(event, h2.events.ResponseReceived):
                fields = {bytes(name): bytes(value) for name, value in event.headers}
            elif isinstance(event, h2.events.TrailersReceived):
                trailers = {bytes(name): bytes(value) for name, value in event.headers}
            elif isinstance(event, h2.events.DataReceived):
                size += len(event.data)
                client.acknowledge_received_data(event.flow_controlled_length, stream_id)
            is_ended |= isinstance(event, h2.events.StreamEnded)
        wire.written = b""
    return fields, size, trailers


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.kind)
def test_answer_has_eight_fields_its_body_and_for_grpc_its_trailers(exchange: Exchange) -> None:
    piece = grain(exchange, exchange.upload_bytes)
    found = ask(exchange, piece * (exchange.upload_bytes // len(piece) if piece else 0))
    for fields, size, trailers in found:
        assert (fields[b":status"], fields[b"x-backend"], len(fields)) == (b"200", b"stable", 9)
        assert size == exchange.answer_bytes
        assert trailers == ({b"grpc-status": b"0"} if exchange.is_grpc else {})
    assert len({fields[b"etag"] for fields, _, _ in found}) == len(found)


@pytest.mark.parametrize("upload", [b"x" * 104, b"x" * 106])
def test_request_body_of_another_length_is_answered_400(upload: bytes) -> None:
    unary = next(one for one in EXCHANGES if one.kind == "unary")
    assert ask(unary, upload, times=1)[0][0][b":status"] == b"400"
