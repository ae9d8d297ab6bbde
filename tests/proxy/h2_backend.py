"""HTTP/2 peers of a worker in the test's own loop, on the h2 library: backends that do what a script says, and clients.

A script gets a Visit (one connection of the proxy's) and is done when it returns; what the proxy does against RFC 9113
raises in here. `serving_h2` checks at its end that nothing of any stream is left in the worker.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

import msgspec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame

from milliroute.proxy.config import Codec, Forwarding, Limits, Timeouts
from milliroute.proxy.downstream.h2 import H2Downstream
from milliroute.proxy.state import AuthorityState
from milliroute.proxy.upstream.h2 import H2Pool
from tests.proxy.backends import reset
from tests.proxy.serving import Proxy, serving, until
from tests.proxy.tables import leaves

E = TypeVar("E", bound=Event)
Fields = Sequence[tuple[str, str]]

PIECE_BYTES = 16384
GRPC = (("content-type", "application/grpc"), ("te", "trailers"))
WEBSOCKET = ((":protocol", "websocket"), ("sec-websocket-version", "13"))


@dataclass(frozen=True, slots=True)
class Asked:
    """A whole request."""

    stream_id: int
    fields: dict[str, str]
    body: bytes
    trailers: list[tuple[str, str]]


class Peer:
    """seen: every event so far, in order. takes: gives windows back as data comes. greets: sends SETTINGS at once."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_client: bool,
        takes: bool = True,
        greets: bool = True,
        settings: dict[SettingCodes, int] | None = None,
    ) -> None:
        self.reader, self.writer, self.takes = reader, writer, takes
        self.h2 = H2Connection(H2Configuration(client_side=is_client, header_encoding="utf-8"))
        initial = {SettingCodes.MAX_CONCURRENT_STREAMS: 100, SettingCodes.ENABLE_PUSH: 0, **(settings or {})}
        self.h2.local_settings = Settings(client=is_client, initial_values=initial)
        self.seen: list[Event] = []
        if greets:
            self.greet()

    def greet(self) -> None:
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        if not self.writer.is_closing():
            self.writer.write(self.h2.data_to_send())

    def send_frame(self, *frames: Frame) -> None:
        """Past the library's own rules."""
        self.flush()
        self.writer.write(b"".join(frame.serialize() for frame in frames))

    def goaway(self, last_id: int, code: int = 0) -> None:
        """The library would take its own GOAWAY for the end of the connection."""
        self.send_frame(GoAwayFrame(0, last_stream_id=last_id, error_code=code))

    async def read(self) -> bool:
        """One piece of what the other side sends; False at the end of the connection."""
        data = await self.reader.read(65536)
        for event in self.h2.receive_data(data) if data else ():
            self.seen.append(event)
            if isinstance(event, DataReceived) and self.takes and event.stream_id:
                self.give_back(event)
        self.flush()
        return bool(data)

    def give_back(self, event: DataReceived) -> None:
        if event.flow_controlled_length and event.stream_id:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def all(self, kind: type[E], stream_id: int | None = None) -> list[E]:
        events = [event for event in self.seen if isinstance(event, kind)]
        return [e for e in events if stream_id is None or getattr(e, "stream_id", None) == stream_id]

    async def until(self, kind: type[E], stream_id: int | None = None, count: int = 1) -> E:
        """The last of so many such events (of that stream), seen before or to come."""
        while len(found := self.all(kind, stream_id)) < count:
            assert await self.read(), f"closed before {kind.__name__}: {self.seen}"
        return found[count - 1]

    async def until_closed(self) -> None:
        while await self.read():
            pass

    def body(self, stream_id: int) -> bytes:
        return b"".join(event.data or b"" for event in self.all(DataReceived, stream_id))

    async def until_body(self, stream_id: int, size: int) -> bytes:
        while len(self.body(stream_id)) < size:
            assert await self.read(), f"closed after {len(self.body(stream_id))} bytes"
        return self.body(stream_id)

    def trailers(self, stream_id: int) -> list[tuple[str, str]]:
        return [pair for event in self.all(TrailersReceived, stream_id) for pair in plain(event.headers)]

    def fields(self, stream_id: int) -> dict[str, str]:
        (head,) = self.all(ResponseReceived, stream_id)
        return dict(plain(head.headers))

    # Sending

    def send(self, stream_id: int, data: bytes = b"", *, is_end: bool = False) -> None:
        """data: no more than the windows and a frame allow."""
        self.h2.send_data(stream_id, data, end_stream=is_end)
        self.flush()

    async def send_all(self, stream_id: int, data: bytes, *, is_end: bool = True) -> None:
        """As the windows allow, and reading meanwhile."""
        at = 0
        while at < len(data):
            room = min(self.h2.local_flow_control_window(stream_id), PIECE_BYTES, len(data) - at)
            if room <= 0:
                assert await self.read(), f"closed after {at} bytes"
                continue
            self.send(stream_id, data[at : at + room], is_end=is_end and at + room == len(data))
            at += room

    def request(self, fields: Fields = (), *, method: str = "GET", is_end: bool = True, host: str = "reviews") -> int:
        """Its stream id; fields: pseudo-fields first."""
        stream_id = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":path", f"/{stream_id}"), (":authority", host)]
        self.h2.send_headers(stream_id, [*pseudo, *fields], end_stream=is_end)
        self.flush()
        return stream_id

    def respond(
        self, stream_id: int, body: bytes = b"", fields: Fields = (), *, status: int = 200, is_end: bool = True
    ) -> None:
        """body: no more than the windows allow."""
        self.h2.send_headers(stream_id, [(":status", str(status)), *fields], end_stream=is_end and not body)
        for start in range(0, len(body), PIECE_BYTES):
            piece = body[start : start + PIECE_BYTES]
            self.h2.send_data(stream_id, piece, end_stream=is_end and start + PIECE_BYTES >= len(body))
        self.flush()

    def trail(self, stream_id: int, fields: Fields) -> None:
        self.h2.send_headers(stream_id, fields, end_stream=True)
        self.flush()

    def reset(self, stream_id: int, code: int = 0) -> None:
        self.h2.reset_stream(stream_id, code)
        self.flush()

    async def answer(self, stream_id: int) -> tuple[str, bytes]:
        """Status and body of a response that must come whole; a reset is said as such."""
        while not self.all(StreamEnded, stream_id):
            assert not self.all(StreamReset, stream_id), self.all(StreamReset, stream_id)
            assert await self.read(), f"closed before the end of stream {stream_id}: {self.seen}"
        return self.fields(stream_id)[":status"], self.body(stream_id)

    async def answer_of_open(self, stream_id: int) -> tuple[str, bytes]:
        """The same where the request has no end: the rest of it is refused by a reset without an error."""
        await self.until(StreamEnded, stream_id)
        assert (await self.until(StreamReset, stream_id)).error_code == 0
        return self.fields(stream_id)[":status"], self.body(stream_id)

    async def get(self, fields: Fields = (), *, method: str = "GET") -> tuple[str, bytes]:
        return await self.answer(self.request(fields, method=method))


class Closed(Exception):
    """A script that serves ends with its connection."""


class Visit(Peer):
    """A backend's side of one connection, as a script sees it. number: 0 for a backend's first."""

    number = 0
    _taken = 0

    async def head(self) -> RequestReceived:
        """The next request's head; raises Closed when none comes."""
        self._taken += 1
        while len(heads := self.all(RequestReceived)) < self._taken:
            if not await self.read():
                raise Closed
        return heads[self._taken - 1]

    async def request_end(self) -> Asked:
        """The next request, in the order of their heads, when it is whole."""
        stream_id = (await self.head()).stream_id
        assert stream_id is not None
        await self.until(StreamEnded, stream_id)
        (head,) = self.all(RequestReceived, stream_id)
        return Asked(stream_id, dict(plain(head.headers)), self.body(stream_id), self.trailers(stream_id))

    def abort(self) -> None:
        reset(self.writer)


Script = Callable[[Visit], Awaitable[None]]


class Backend:
    """async with Backend(script): listens while inside. greets, takes, settings: of each of its connections."""

    def __init__(
        self,
        script: Script,
        *,
        takes: bool = True,
        greets: bool = True,
        settings: dict[SettingCodes, int] | None = None,
    ) -> None:
        self.port = 0
        self.visits: list[Visit] = []
        self._script, self._takes, self._greets, self._settings = script, takes, greets, settings
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.failures: list[BaseException] = []

    async def __aenter__(self) -> "Backend":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        assert exc is not None or self.failures == []

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        options = {"takes": self._takes, "greets": self._greets}
        visit = Visit(reader, writer, is_client=False, settings=self._settings, **options)
        visit.number = len(self.visits)
        self.visits.append(visit)
        task = asyncio.get_running_loop().create_task(self._play(visit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, visit: Visit) -> None:
        try:
            await self._script(visit)
        except (ConnectionError, Closed):
            pass  # the proxy hung up
        except Exception as exc:  # told at the end, where pytest sees it
            self.failures.append(exc)
        finally:
            visit.writer.close()


def named(name: str) -> Script:
    """Answers every whole request with its name, as long as the connection lives."""

    async def script(visit: Visit) -> None:
        done = 0
        while True:
            ended = visit.all(StreamEnded)
            for event in ended[done:]:
                if event.stream_id and not visit.all(StreamReset, event.stream_id):
                    visit.respond(event.stream_id, name.encode())
            done = len(ended)
            if not await visit.read():
                return

    return script


async def silent(visit: Visit) -> None:
    """Reads and says nothing."""
    await visit.until_closed()


async def mute(visit: Visit) -> None:
    """Not even SETTINGS."""
    await visit.reader.read()


def over_h2(*backends: Backend) -> AuthorityState:
    """All requests to one leaf, "v1", with these endpoints, which speak HTTP/2."""
    return speaking("kubernetes.io/h2c", leaves({"v1": [backend.port for backend in backends]}, 1))


def speaking(app_protocol: str, state: AuthorityState) -> AuthorityState:
    backends = [msgspec.structs.replace(backend, app_protocol=app_protocol) for backend in state.backends]
    return msgspec.structs.replace(state, backends=backends)


async def h2_client(proxy: Proxy, *, takes: bool = True, settings: dict[SettingCodes, int] | None = None) -> Peer:
    raw = await proxy.client()
    return Peer(raw.reader, raw.writer, is_client=True, takes=takes, settings=settings)


def h2_pools(proxy: Proxy) -> list[H2Pool]:
    return [pool for pool in proxy.worker._context.dialer.pools if isinstance(pool, H2Pool)]


def h2_downstreams(proxy: Proxy) -> list[H2Downstream]:
    return [one for one in proxy.worker._connections if isinstance(one, H2Downstream)]


def streams_upstream(proxy: Proxy) -> int:
    """As the proxy counts them, on all connections it has to backends."""
    return sum(len(connection.streams) for pool in h2_pools(proxy) for connection in pool._connections)


def leftovers(proxy: Proxy) -> list[str]:
    """What an exchange that is over must have taken with it."""
    context = proxy.worker._context
    kept = [f"{len(one._clients)} streams of a client" for one in h2_downstreams(proxy) if one._clients]
    for pool in h2_pools(proxy):
        kept += [f"{pool.address}: {len(pool.waiting)} wait"] if pool.waiting else []
        kept += [f"{pool.address}: {len(one.streams)} streams" for one in pool._connections if one.streams]
        kept += [f"{pool.address}: {one.h2.open_streams} in h2" for one in pool._connections if one.h2.open_streams]
    return kept + (["deadlines"] if context._deadlines else []) + (["parked"] if context.parked else [])


@asynccontextmanager
async def serving_h2(
    codec: Codec,
    state: AuthorityState,
    *,
    timeouts: Timeouts | None = None,
    grace_s: float = 5.0,
    limits: Limits | None = None,
    forwarding: Forwarding | None = None,
) -> AsyncIterator[Proxy]:
    serve = serving(codec, state, timeouts=timeouts, grace_s=grace_s, limits=limits, forwarding=forwarding)
    async with serve as proxy:
        yield proxy
        await proxy.close_clients()
        await until(lambda: leftovers(proxy) == [])


def plain(fields: object) -> list[tuple[str, str]]:
    """Fields of an event as pairs of text, as header_encoding makes them."""
    assert isinstance(fields, list)
    return [(str(name), str(value)) for name, value in fields]
