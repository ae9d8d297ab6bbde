"""The destination protocol, read on either side, and the two admin ports."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import cast

import h11

from milliroute.control import admin as control_admin
from milliroute.control import encoding
from milliroute.control.api import destination_pb2 as pb
from milliroute.control.fleet import Fleet
from milliroute.control.hub import Hub
from milliroute.control.service import Context, DestinationService, RefusedError
from milliroute.proxy import ipc
from milliroute.proxy.agent import admin as agent_admin
from milliroute.proxy.agent.catalog import Offer
from milliroute.proxy.agent.destination import GarbledError, StateError, decode_kept, decode_response
from tests.control.watching import FakeClock, FakeState, view
from tests.fuzz.target import Target, check_said
from tests.proxy.test_destination import full_state, response

_REQUESTS = (
    pb.WatchRequest(hello=pb.Hello(proxy_id="p1", namespace="default", admin_address="127.0.0.1:4191")),
    pb.WatchRequest(subscribe=pb.Subscribe(authority="reviews:9080")),
    pb.WatchRequest(subscribe=pb.Subscribe(authority="ratings")),
    pb.WatchRequest(unsubscribe=pb.Unsubscribe(authority="reviews:9080")),
    pb.WatchRequest(ack=pb.Ack(key="reviews.default:9080", epoch="e1", version=4, applied_unix_ns=9)),
    pb.WatchRequest(nack=pb.Nack(key="reviews.default:9080", epoch="e1", version=4, reason="no")),
)
_HTTP = (b"GET", b"POST", b"/live", b"HTTP/1.1", b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n",
         b"origin: x\r\n", b"accept-encoding: gzip\r\n")  # fmt: skip


def _response(data: bytes) -> None:
    """What is taken passes on to a worker as it is."""
    reads: tuple[Callable[[], object], ...] = (lambda: decode_response(data, 5)[0], lambda: decode_kept(data, 5))
    for read in reads:
        try:
            found = read()
        except (GarbledError, StateError):
            continue
        if isinstance(found, Offer):
            frames = ipc.FrameBuffer().feed(ipc.encode(found.update))
            assert [ipc.decode_down(frame) for frame in frames] == [found.update]


class _Stream:
    """As much of a gRPC call as the service uses."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    async def write(self, message: bytes) -> None:
        pb.WatchResponse.FromString(message)
        self.written.append(message)


def _watch(data: bytes) -> None:
    """Requests in a row, each behind its length."""
    state = FakeState(4, {"reviews.default:9080": (4, view("reviews", 900_000, 100_000))})
    hub, stream = Hub("e1", state, encoding.state, FakeClock()), _Stream()
    service = DestinationService(hub, Fleet(), FakeClock())

    async def requests() -> AsyncIterator[bytes]:
        rest = data
        while rest:
            size, rest = rest[0], rest[1:]
            message, rest = rest[:size], rest[size:]
            yield message
            await asyncio.sleep(0)

    try:
        asyncio.run(service._serve(requests(), cast("Context", stream)))
    except RefusedError as refused:
        check_said(refused)


class _Writer:
    def __init__(self) -> None:
        self.out = b""

    def write(self, data: bytes) -> None:
        self.out += data

    async def drain(self) -> None:
        pass

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return ("127.0.0.1", 1)


def _answer(server: control_admin.AdminServer | agent_admin.AdminServer, data: bytes, limit: int) -> bytes:
    async def run() -> bytes:
        reader, writer = asyncio.StreamReader(limit), _Writer()
        reader.feed_data(data)
        reader.feed_eof()
        try:
            answered = await server._answer(reader, cast("asyncio.StreamWriter", writer))
        except asyncio.IncompleteReadError:
            return b""
        return answered or writer.out

    return asyncio.run(run())


def _check_answer(data: bytes, answered: bytes) -> None:
    """Nothing, or one answer that h11 reads to its end, and never 500. What is not understood may not know of HEAD."""
    methods = ("GET", "HEAD") if data.startswith(b"HEAD ") else ("GET",)
    assert not answered or any(_is_one_answer(method, answered) for method in methods), answered


def _is_one_answer(method: str, answered: bytes) -> bool:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(answered)
    client.receive_data(b"")
    try:
        head = client.next_event()
        assert isinstance(head, h11.Response)
        assert head.status_code != HTTPStatus.INTERNAL_SERVER_ERROR
        while not isinstance(client.next_event(), h11.EndOfMessage):
            pass
    except h11.RemoteProtocolError:
        return False
    return client.trailing_data[0] == b""


def _control_admin(data: bytes) -> None:
    pages = {"/live": lambda: control_admin.Page(b"live\n")}
    _check_answer(data, _answer(control_admin.AdminServer(pages), data, control_admin.MAX_HEAD_BYTES))


def _agent_admin(data: bytes) -> None:
    routes: agent_admin.Routes = {
        "/live": {"GET": lambda request: agent_admin.text(200, "live")},
        "/big": {"GET": lambda request: agent_admin.text(200, "x" * 5000)},
        "/order": {"POST": lambda request: agent_admin.text(200, f"did {len(request.body)}")},
    }
    server = agent_admin.AdminServer(cast("socket.socket", None), routes)
    _check_answer(data, _answer(server, data, agent_admin.MAX_HEAD_BYTES))


def _watches() -> list[bytes]:
    rows = [request.SerializeToString() for request in _REQUESTS]
    orders = [rows, rows[:1], rows[:2], [rows[0], rows[4], rows[5]], [rows[0], rows[1], rows[1], rows[3]], rows[1:]]
    return [b"".join(bytes((len(row),)) + row for row in order) for order in orders]


def _responses() -> list[bytes]:
    state = full_state()
    resolved = pb.WatchResponse(resolved=pb.Resolved(authority="reviews", key="reviews.default")).SerializeToString()
    unknown = pb.State(key="k", epoch="e", version=1, unknown=pb.Unknown())
    return [response(state), state.SerializeToString(), resolved, response(unknown)]


def _asks() -> list[bytes]:
    get = b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n"
    post = b"POST /order HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
    return [get, post, get.replace(b"GET", b"HEAD"), get.replace(b"/live", b"/big?x"), get * 2, get.replace(b"\r", b"")]


TARGETS = (
    Target("destination", _responses, _response, (b"\x08", b"\x12\x05", b"\xff\xff\xff\xff\x0f")),
    Target("watch", _watches, _watch, (b"\x00", b"\x0a\x02", b"\x12\x00")),
    Target("control-admin", _asks, _control_admin, _HTTP),
    Target("agent-admin", _asks, _agent_admin, _HTTP),
)
