"""Fakes of the agent's surroundings: a worker as the other end of its pipe, and a control service."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import grpc
import grpc.aio

from milliroute.control.api import destination_pb2 as pb
from milliroute.proxy.config import HostPort, Listener, ProxyConfig
from milliroute.proxy.ipc import Down, FrameBuffer, Up, decode_down, encode

CONFIG = ProxyConfig("proxy-1", "127.0.0.1:1", (Listener(HostPort("127.0.0.1", 0), "reviews"),), None, workers=2)


class FakeChild:
    """Ends when told to; no process is behind it."""

    def __init__(self) -> None:
        self.pid = 4_194_305
        self.code: int | None = None
        self.was_killed = False

    def kill(self) -> None:
        self.was_killed = True

    def exit_code(self) -> int | None:
        return self.code


class FakeWorker:
    """The worker's end of a pipe: what it is told is in told, and it says what the test says."""

    def __init__(self, pipe: socket.socket) -> None:
        self.child = FakeChild()
        self.told: list[Down] = []
        self.unread: list[Down] = []
        self._pipe = pipe
        self._frames = FrameBuffer()
        pipe.setblocking(False)

    async def hear(self, count: int = 1) -> list[Down]:
        """The next count messages."""
        loop = asyncio.get_running_loop()
        start = len(self.told)
        while len(self.told) < start + count:
            data = await loop.sock_recv(self._pipe, 65536)
            assert data, f"the pipe ended after {self.told[start:]}"
            self.told.extend(decode_down(frame) for frame in self._frames.feed(data))
        return self.told[start:]

    async def say(self, message: Up) -> None:
        await self.say_bytes(encode(message))

    async def say_bytes(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._pipe, data)

    def die(self, code: int = -9) -> None:
        self.child.code = code
        self._pipe.close()


class FakeNursery:
    """Stands for children.spawn: each spawn makes a FakeWorker."""

    def __init__(self) -> None:
        self.workers: list[FakeWorker] = []
        self.born: asyncio.Queue[FakeWorker] = asyncio.Queue()

    def spawn(self, listening: Sequence[socket.socket], config: ProxyConfig) -> tuple[FakeChild, socket.socket]:
        ours, theirs = socket.socketpair()
        worker = FakeWorker(theirs)
        self.workers.append(worker)
        self.born.put_nowait(worker)
        return worker.child, ours


class FakeControl:
    """A destination service that says what the test says; every stream's requests are in requests."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[pb.WatchRequest] = asyncio.Queue()
        self._answers: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None

    async def start(self, port: int = 0) -> int:
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        handler = grpc.stream_stream_rpc_method_handler(self._watch)
        service = grpc.method_handlers_generic_handler("milliroute.destination.v1.Destination", {"Watch": handler})
        self._server.add_generic_rpc_handlers((service,))
        bound = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()
        return bound

    async def stop(self) -> None:
        assert self._server is not None
        await self._server.stop(0)

    def answer(self, response: pb.WatchResponse) -> None:
        self._answers.put_nowait(response.SerializeToString())

    def answer_bytes(self, data: bytes) -> None:
        self._answers.put_nowait(data)

    def hang_up(self) -> None:
        """Ends the stream as a service does that goes away in order."""
        self._answers.put_nowait(None)

    async def _watch(self, requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        listener = asyncio.ensure_future(self._listen(requests))
        try:
            while (answer := await self._answers.get()) is not None:
                yield answer
        finally:
            listener.cancel()

    async def _listen(self, requests: AsyncIterator[bytes]) -> None:
        async for request in requests:
            self.requests.put_nowait(pb.WatchRequest.FromString(request))


def state_message(key: str, version: int, epoch: str = "e1", weights: Iterable[int] = (1,)) -> pb.WatchResponse:
    """A known authority whose one split has a backend b0, b1, ... for each weight."""
    micros = list(weights)
    backends = [pb.Backend(name=f"b{i}", endpoints=[pb.Endpoint(host="10.0.0.1", port=80)]) for i in range(len(micros))]
    split = pb.Split(name="s", weights=[pb.Weight(backend=i, micro=micro) for i, micro in enumerate(micros)])
    body = pb.Authority(name="reviews", namespace="default", backends=backends, routes=[pb.Route(split=split)])
    return pb.WatchResponse(state=pb.State(key=key, epoch=epoch, version=version, authority=body))


def resolved_message(authority: str, key: str) -> pb.WatchResponse:
    return pb.WatchResponse(resolved=pb.Resolved(authority=authority, key=key))


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop turn until it holds; pytest's own timeout ends what never does."""
    # A condition of any object, not an event that somebody sets.
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
