"""HTTP/2 clients of a worker in the test's own loop; the client is the h2 library."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset

from milliroute.proxy.config import Codec, Limits
from milliroute.proxy.state import AuthorityState
from tests.proxy.backends import Origin, Visit, named
from tests.proxy.serving import BOTH_CODECS, Proxy, on_loop, serving
from tests.proxy.tables import leaves

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)


class H2Client:
    """takes: gives windows back as data comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, takes: bool) -> None:
        self._reader, self._writer, self._takes = reader, writer, takes
        self._h2 = H2Connection(H2Configuration(client_side=True))
        self._h2.initiate_connection()
        self.events: list[Event] = []

    def get(
        self,
        stream_id: int,
        path: str = "/",
        method: str = "GET",
        end: bool = True,
        fields: Sequence[tuple[str, str]] = (),
    ) -> None:
        pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "reviews")]
        self._h2.send_headers(stream_id, [*pseudo, *fields], end_stream=end)
        self._writer.write(self._h2.data_to_send())

    async def until(self, kind: type[Event], stream_id: int) -> Event:
        while True:
            for event in self.events:
                if isinstance(event, kind) and getattr(event, "stream_id", None) == stream_id:
                    return event
            data = await self._reader.read(65536)
            assert data, f"closed before {kind.__name__}"
            for event in self._h2.receive_data(data):
                self.events.append(event)
                if isinstance(event, DataReceived) and self._takes and event.stream_id and event.flow_controlled_length:
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self._writer.write(self._h2.data_to_send())

    def body(self, stream_id: int) -> bytes:
        parts = [e.data for e in self.events if isinstance(e, DataReceived) and e.stream_id == stream_id]
        return b"".join(part for part in parts if part)


def over_http1(state: AuthorityState) -> AuthorityState:
    """The same with backends that say they speak HTTP/1.1, as the origins of these tests do."""
    backends = [msgspec.structs.replace(backend, app_protocol="http") for backend in state.backends]
    return msgspec.structs.replace(state, backends=backends)


async def connect(proxy: Proxy, *, takes: bool = True) -> H2Client:
    raw = await proxy.client()
    return H2Client(raw.reader, raw.writer, takes)


async def big(visit: Visit) -> None:
    while await visit.request():
        await visit.answer(b"x" * 1024 * 1024)


@on_loop
async def test_each_stream_of_a_connection_is_split_on_its_own(codec: Codec) -> None:
    async with Origin(named("v1")) as v1, Origin(named("v2")) as v2:
        state = over_http1(leaves({"v1": [v1.port], "v2": [v2.port]}, 1, 1))
        async with serving(codec, state) as proxy:
            client = await connect(proxy)
            for stream_id in range(1, 21, 2):
                client.get(stream_id)
                await client.until(StreamEnded, stream_id)
            bodies = [client.body(stream_id) for stream_id in range(1, 21, 2)]
            assert sorted(bodies) == [b"v1"] * 5 + [b"v2"] * 5


@on_loop
async def test_stream_whose_client_opens_no_window_is_reset_and_others_go_on(codec: Codec) -> None:
    async with Origin(big) as origin:
        state = over_http1(leaves({"v1": [origin.port]}, 1))
        async with serving(codec, state, limits=Limits(stall_s=0.3)) as proxy:
            stuck, healthy = await connect(proxy, takes=False), await connect(proxy)
            stuck.get(1)
            healthy.get(1)
            await healthy.until(StreamEnded, 1)
            assert len(healthy.body(1)) == 1024 * 1024
            await stuck.until(StreamReset, 1)
            assert len(stuck.body(1)) <= 65535


@on_loop
async def test_error_of_ours_is_a_response_with_its_reason(codec: Codec) -> None:
    async with serving(codec) as proxy:
        await proxy.update(None)
        client = await connect(proxy)
        client.get(1)
        response = await client.until(ResponseReceived, 1)
        assert isinstance(response, ResponseReceived)
        fields = dict(response.headers or [])
        assert fields[b":status"] == b"404"
        assert b"l5d-proxy-error" in fields
