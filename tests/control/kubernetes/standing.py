"""A control service over the API server stand-in, in this process, and what a proxy is told by it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import TypeVar

from grpc import aio

from milliroute.control.api import destination_pb2 as pb
from milliroute.control.config import ClusterAccess, ControlConfig
from milliroute.control.server import ControlServer
from milliroute.control.source.kubernetes import resources
from milliroute.control.source.kubernetes.api import Api
from milliroute.control.source.kubernetes.resources import Resource
from milliroute.control.source.kubernetes.source import KubernetesSource
from tests.control.kubernetes.building import PACE, Json
from tests.control.watching import FakeProxy
from tests.kube.standin import Standin

T = TypeVar("T")

# Seconds until a test that waits gives up; what it waits for takes some milliseconds.
PATIENCE_S = 60.0
GROUP = "split.smi-spec.io"


def crd(group: str, kind: str, plural: str, *versions: str) -> Json:
    """A definition that takes anything; the first version is stored."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": name, "served": True, "storage": name == versions[0], "schema": schema,
                    "subresources": {"status": {}},
                }
                for name in versions
            ],
        },
    }  # fmt: skip


SPLIT_CRD = crd(GROUP, "TrafficSplit", "trafficsplits", "v1alpha1", "v1alpha2")


def split(name: str, *weights: object, version: str = "v1alpha1") -> Json:
    """In the namespace default."""
    backends = [{"service": f"{name}-v{n}", "weight": weight} for n, weight in enumerate(weights, 1)]
    spec = {"service": name, "backends": backends}
    return {"apiVersion": f"{GROUP}/{version}", "kind": "TrafficSplit", "metadata": {"name": name}, "spec": spec}


def service(name: str, port: int = 80) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"port": port, "protocol": "TCP"}]},
    }


def endpoints(name: str, *ports: int) -> list[Json]:
    """Slices of a Service, one for each port on loopback."""
    return [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-{port}", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        }
        for port in ports
    ]


@contextmanager
def cluster(*objects: Json) -> Iterator[Standin]:
    """A stand-in that knows TrafficSplits and holds these, in the namespace default."""
    with Standin() as api:
        put(api, SPLIT_CRD, *objects)
        yield api


def put(api: Standin, *objects: Json) -> None:
    for found in objects:
        metadata = found["metadata"]
        assert isinstance(metadata, dict)
        if found["kind"] != "CustomResourceDefinition":
            metadata.setdefault("namespace", "default")
        api.put(found)


class Following:
    """A control service and one proxy's stream to it; `seen` are the weights of `name` in every state it was sent."""

    def __init__(self, source: KubernetesSource, server: ControlServer, proxy: FakeProxy) -> None:
        self.source, self.server = source, server
        self.seen: list[list[str]] = []
        self._proxy = proxy
        self._changed = asyncio.Condition()

    async def follow(self) -> None:
        while True:
            await self._take(await self._proxy.state())

    async def _take(self, state: pb.State) -> None:
        routes = state.authority.routes
        weights = [weight.text for weight in routes[0].split.weights] if routes else []
        async with self._changed:
            self.seen.append(weights)
            self._changed.notify_all()

    async def until(self, *weights: str) -> None:
        async with self._changed, asyncio.timeout(PATIENCE_S):
            await self._changed.wait_for(lambda: bool(self.seen) and self.seen[-1] == list(weights))


@asynccontextmanager
async def following(
    api: Standin, folder: Path, name: str = "reviews", watched: Sequence[Resource] = resources.WATCHED
) -> AsyncIterator[Following]:
    """The whole control service but for its election and its writing; begun when everything was listed once."""
    client = Api(ClusterAccess(str(api.kubeconfig(folder))))
    source = KubernetesSource(client, watched=watched, pace=PACE, rng=Random(0))
    source.begin()
    config = ControlConfig(files=("cluster",), listen="127.0.0.1:0", admin="127.0.0.1:0")
    tasks: list[asyncio.Task[None]] = []
    assert await source.is_known_within(PATIENCE_S)
    server = ControlServer(config, source)
    listening: dict[str, str] = {}
    try:
        await server.start(listening.__setitem__)
        async with aio.insecure_channel(listening["grpc"]) as channel:
            proxy = FakeProxy(channel)
            await proxy.hello()
            found = Following(source, server, proxy)
            await found._take((await proxy.subscribe(name))[1])
            tasks = [asyncio.create_task(server.follow()), asyncio.create_task(found.follow())]
            yield found
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await server.stop()
        await source.close()
        await client.close()


async def eventually(probe: Callable[[], T | None], what: str) -> T:
    """The first truthy result of probe."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if result := probe():
                return result
            await asyncio.sleep(0.005)
    raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")
