"""Election and writing against the stand-in: who leads writes, once, by the conventions of each kind."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random

import pytest

from milliroute.control import snapshot
from milliroute.control.config import ClusterAccess
from milliroute.control.source.kubernetes.api import Api
from milliroute.control.source.kubernetes.leader import Leader
from milliroute.control.source.kubernetes.lease import Election
from milliroute.control.source.kubernetes.source import KubernetesSource
from milliroute.control.source.kubernetes.telling import EventTeller, StatusTeller
from milliroute.control.source.kubernetes.writer import Writer
from tests.control.kubernetes.building import PACE, Json
from tests.control.kubernetes.standing import PATIENCE_S, cluster, crd, eventually, put, service, split
from tests.kube.standin import Standin

pytestmark = pytest.mark.slow

GATEWAY = "gateway.networking.k8s.io"
ROUTE_CRD = crd(GATEWAY, "HTTPRoute", "httproutes", "v1")
WEBHOOK = {"parentRef": {"name": "edge"}, "controllerName": "example.com/edge", "conditions": []}


def route(name: str, backend: str = "reviews-v1", **parent: object) -> Json:
    ref = {"group": "", "kind": "Service", "name": "reviews", **parent}
    return {
        "apiVersion": f"{GATEWAY}/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {"parentRefs": [ref], "rules": [{"backendRefs": [{"name": backend, "port": 80}]}]},
    }


@asynccontextmanager
async def replica(api: Standin, folder: Path, me: str = "one") -> AsyncIterator[Leader]:
    """A source, an election and a writer, as wiring.py puts them together, but quick."""
    client = Api(ClusterAccess(str(api.kubeconfig(folder / me))))
    source = KubernetesSource(client, pace=PACE, rng=Random(0))
    leader = Leader(Election(me, "milliroute-control", "default", duration_s=1), client, retry_s=0.05)
    tellers = (
        EventTeller(client, source.reflectors, lambda: leader.leads, me),
        StatusTeller(client, source.reflectors, lambda: leader.leads),
    )
    writer = Writer(tellers, leader, settle_s=0)

    async def publish() -> None:
        newest = None
        async for objects in source.watch():
            newest = snapshot.build(objects, newest, time.time_ns() // 1_000_000)
            writer.publish(newest)

    source.begin()
    assert await source.is_known_within(PATIENCE_S)
    tasks = [asyncio.create_task(one) for one in (leader.run(), writer.run(), publish())]
    try:
        yield leader
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await source.close()
        await client.close()


def conditions(api: Standin, name: str) -> dict[str, str]:
    """Of our entry: type to status and reason."""
    parents = api.get(f"{GATEWAY}/v1", "HTTPRoute", name).get("status", {}).get("parents", [])
    found = [entry for entry in parents if entry["controllerName"] == "milliroute.io/destination"]
    return {c["type"]: f"{c['status']} {c['reason']}" for entry in found for c in entry["conditions"]}


def reasons(api: Standin) -> list[str]:
    return [event["reason"] for event in api.all("v1", "Event")]


def counts(api: Standin) -> dict[str, int]:
    return {event["reason"]: event["count"] for event in api.all("v1", "Event")}


def has(api: Standin, events: int) -> bool:
    return len(reasons(api)) == events


async def until(call: Callable[[], bool], what: str) -> None:
    await eventually(lambda: call(), what)


def test_a_route_is_told_what_became_of_it_and_again_only_when_that_changes(tmp_path: Path) -> None:
    async def scenario(api: Standin) -> None:
        async with replica(api, tmp_path):
            good = {"Accepted": "True Accepted", "ResolvedRefs": "True ResolvedRefs"}
            await until(lambda: conditions(api, "r") == good, "accepted")
            written = api.get(f"{GATEWAY}/v1", "HTTPRoute", "r")["status"]["parents"]
            assert written[0] == WEBHOOK
            assert written[1]["parentRef"] == {"group": "", "kind": "Service", "name": "reviews"}
            patches = api.requests().count("patch httproutes/status")
            await asyncio.to_thread(put, api, route("r", "nowhere"))
            await until(lambda: conditions(api, "r")["ResolvedRefs"] == "False BackendNotFound", "no such backend")
            assert api.get(f"{GATEWAY}/v1", "HTTPRoute", "r")["status"]["parents"][0] == WEBHOOK
            await asyncio.to_thread(put, api, service("other"))
            await until(lambda: "list services" in api.requests(), "a list")
            assert api.requests().count("patch httproutes/status") == patches + 1

    with cluster(service("reviews"), service("reviews-v1"), ROUTE_CRD) as api:
        found = route("r")
        put(api, {**found, "status": {"parents": [WEBHOOK]}})
        asyncio.run(scenario(api))


def test_a_route_that_cannot_be_read_is_told_so_and_one_of_others_is_let_alone(tmp_path: Path) -> None:
    async def scenario(api: Standin) -> None:
        async with replica(api, tmp_path):
            await until(lambda: conditions(api, "bad").get("Accepted") == "False UnsupportedValue", "refused")
            assert "status" not in api.get(f"{GATEWAY}/v1", "HTTPRoute", "edge")

    bad = route("bad")
    bad["spec"] = {"parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}], "rules": "none"}
    with cluster(service("reviews"), ROUTE_CRD, bad, route("edge", kind="Gateway", group=GATEWAY)) as api:
        asyncio.run(scenario(api))


def test_a_split_is_told_by_events_and_a_new_leader_repeats_none(tmp_path: Path) -> None:
    async def scenario(api: Standin) -> None:
        async with replica(api, tmp_path) as first:
            await until(lambda: reasons(api) == ["Incomplete"], "an event")
            await asyncio.to_thread(put, api, service("reviews-v1"), service("reviews-v2"))
            await until(lambda: "Accepted" in reasons(api), "acceptance")
            await first.release()
        said = reasons(api)
        created = api.requests().count("create events")
        async with replica(api, tmp_path, "two") as second:
            await until(lambda: second.leads, "the other leads")
            await until(lambda: api.requests().count("create events") > created, "it says the same")
            assert reasons(api) == said

    with cluster(split("reviews", "1", "1"), service("reviews")) as api:
        asyncio.run(scenario(api))


def test_what_is_said_again_after_something_else_is_counted(tmp_path: Path) -> None:
    async def scenario(api: Standin) -> None:
        async with replica(api, tmp_path):
            await until(partial(has, api, 1), "acceptance")
            await asyncio.to_thread(put, api, split("reviews", "-1", "1"))
            await until(partial(has, api, 2), "refusal")
            await asyncio.to_thread(put, api, split("reviews", "2", "1"))
            await until(lambda: counts(api) == {"Accepted": 2, "Invalid": 1}, "acceptance again")
        assert "get events" not in api.requests()

    services = [service(name) for name in ("reviews", "reviews-v1", "reviews-v2")]
    with cluster(*services, split("reviews", "1", "1")) as api:
        asyncio.run(scenario(api))


def test_only_one_of_two_leads_and_the_other_follows_when_it_is_gone(tmp_path: Path) -> None:
    async def scenario(api: Standin) -> None:
        async with replica(api, tmp_path, "two") as second:
            async with replica(api, tmp_path, "one") as first:
                await until(lambda: first.leads or second.leads, "a leader")
                for _ in range(20):
                    await asyncio.sleep(0.01)
                    assert not (first.leads and second.leads)
            await until(lambda: second.leads, "the one that is left")

    with cluster() as api:
        asyncio.run(scenario(api))


def test_what_may_not_be_written_is_tried_and_harms_nothing(tmp_path: Path) -> None:
    async def scenario(api: Standin) -> None:
        async with replica(api, tmp_path) as leader:
            await until(lambda: "create events" in api.requests(), "a try")
            assert reasons(api) == []
            assert leader.leads

    with cluster(split("reviews", "1", "1")) as api:
        api.refuse("events", "*")
        asyncio.run(scenario(api))
