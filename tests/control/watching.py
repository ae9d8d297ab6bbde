"""Fakes for the hub and the destination service: states without a snapshot, a proxy's end of a stream, a set clock."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from grpc import aio

from milliroute.control import encoding, names, service
from milliroute.control.api import destination_pb2 as pb
from milliroute.control.fleet import Fleet
from milliroute.control.hub import Hub, Stamp, State
from milliroute.control.views import AuthorityView, BackendView, EndpointView, RouteView, SplitView, WeightView

WATCH = f"/{service.SERVICE}/Watch"


class FakeState:
    """Each view with the version in which it last changed; of the names in `portless` the port means nothing."""

    def __init__(
        self,
        version: int,
        views: Mapping[str, tuple[int, AuthorityView]] | None = None,
        portless: Collection[str] = (),
    ) -> None:
        self.version = version
        self.is_partial = False
        self.consumers: Mapping[str, frozenset[str]] = {}
        self._views = dict(views or {})
        self._portless = portless

    def key_of(self, asked: str, namespace: str) -> str:
        key = names.canonical(asked, namespace)
        host, _ = names.split_port(key)
        return host if host in self._portless else key

    dialled_key = key_of

    def view(self, key: str) -> AuthorityView | None:
        return self._views[key][1] if key in self._views else None

    def version_of(self, key: str) -> int:
        return self._views[key][0] if key in self._views else 0


class FakeClock:
    def __init__(self) -> None:
        self.unix_ns = 1_000

    def __call__(self) -> int:
        return self.unix_ns


def view(name: str, *weights_micro: int) -> AuthorityView:
    """An authority with one leaf per weight."""
    backends = tuple(
        BackendView(f"{name}-v{n}", "default", endpoints=(EndpointView("127.0.0.1", 9000 + n),))
        for n in range(1, len(weights_micro) + 1)
    )
    weights = tuple(WeightView(n, micro, f"{micro}u") for n, micro in enumerate(weights_micro))
    return AuthorityView(name, "default", backends, (RouteView(SplitView(f"default/{name}", weights, apex=name)),))


def plain(stamp: Stamp, authority: AuthorityView | None) -> bytes:
    """A serialiser for people."""
    return f"{stamp.key}@{stamp.version}:{authority.name if authority else 'unknown'}".encode()


def open_watch(channel: aio.Channel) -> "aio.StreamStreamCall[bytes, bytes]":
    """A Watch stream of raw bytes."""
    return channel.stream_stream(WATCH)()  # type: ignore[call-arg]  # the stubs know no defaults


class FakeProxy:
    """A proxy's end of one Watch stream."""

    def __init__(self, channel: aio.Channel) -> None:
        self.call = open_watch(channel)

    async def hello(
        self, proxy_id: str = "p1", namespace: str = "", capabilities: Collection[str] = (), **labels: str
    ) -> None:
        hello = pb.Hello(
            proxy_id=proxy_id,
            namespace=namespace,
            admin_address="127.0.0.1:4191",
            capabilities=capabilities,
            labels=labels,
        )
        await self.send(hello=hello)

    async def send(self, **kind: pb.Hello | pb.Subscribe | pb.Unsubscribe | pb.Ack | pb.Nack) -> None:
        request = pb.WatchRequest(**kind)  # type: ignore[arg-type]  # one of a closed set of kinds
        await self.call.write(request.SerializeToString())

    async def subscribe(self, authority: str) -> tuple[pb.Resolved, pb.State]:
        await self.send(subscribe=pb.Subscribe(authority=authority))
        return await self.answer()

    async def answer(self) -> tuple[pb.Resolved, pb.State]:
        return await self.resolved(), await self.state()

    async def resolved(self) -> pb.Resolved:
        response = await self.response()
        assert response.WhichOneof("kind") == "resolved"
        return response.resolved

    async def state(self) -> pb.State:
        response = await self.response()
        assert response.WhichOneof("kind") == "state"
        return response.state

    async def response(self) -> pb.WatchResponse:
        raw = await self.call.read()
        assert isinstance(raw, bytes), "the stream ended"
        return pb.WatchResponse.FromString(raw)

    async def ack(self, state: pb.State, applied_unix_ns: int) -> None:
        await self.send(
            ack=pb.Ack(key=state.key, epoch=state.epoch, version=state.version, applied_unix_ns=applied_unix_ns)
        )


class Running:
    """A destination service on a free port, with what it is made of."""

    def __init__(self, state: State, clock: FakeClock) -> None:
        self.clock = clock
        self.hub = Hub("e1", state, encoding.state, clock)
        self.fleet = Fleet()
        self.service = service.DestinationService(self.hub, self.fleet, clock)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[aio.Channel]:
        server = aio.server(handlers=[self.service.handler()], options=service.SERVER_OPTIONS)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
        finally:
            await server.stop(None)
