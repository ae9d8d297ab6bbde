"""The source against the stand-in, over HTTP, while all that can go wrong does.

In the end a proxy's table is what the cluster holds, no deletion is lost, and no table was empty in between.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from milliroute.control.model import TrafficSplit
from milliroute.control.source.kubernetes import reflector, resources
from tests.control.kubernetes.standing import (
    GROUP,
    Following,
    cluster,
    crd,
    endpoints,
    eventually,
    following,
    put,
    service,
    split,
)
from tests.kube.standin import Standin

pytestmark = pytest.mark.slow

API = f"{GROUP}/v1alpha1"
SPLITS_ONLY = resources.SPLITS[:1]
BASIS = [service(name) for name in ("reviews", "reviews-v1", "reviews-v2")] + endpoints("reviews-v1", 9001)

Scenario = Callable[[Standin, Following], Awaitable[None]]


def run(
    folder: Path, scenario: Scenario, watched: tuple[resources.Resource, ...] = resources.WATCHED
) -> list[list[str]]:
    """The weights of every state that a proxy was sent; none of them empty."""

    async def main(api: Standin) -> list[list[str]]:
        async with following(api, folder, watched=watched) as found:
            await scenario(api, found)
            return found.seen

    with cluster(split("reviews", "900m", "100m"), *BASIS) as api:
        seen = asyncio.run(main(api))
    assert [] not in seen
    return seen


def held(found: Following) -> dict[str, str]:
    splits = (value for r in found.source.reflectors for value in r.holding.held().objects)
    return {s.name: s.backends[0].weight_text for s in splits if isinstance(s, TrafficSplit)}


def there(api: Standin) -> dict[str, str]:
    return {s["metadata"]["name"]: str(s["spec"]["backends"][0]["weight"]) for s in api.all(API, "TrafficSplit")}


async def in_thread(call: Callable[..., object], *arguments: object) -> None:
    """The stand-in's loop is another thread's; ours must not wait for it."""
    await asyncio.to_thread(call, *arguments)


@pytest.mark.parametrize("part", range(4))
def test_a_connection_that_is_cut_at_any_byte_of_a_watch_loses_nothing(tmp_path: Path, part: int) -> None:
    """Each watch tells one change (some 800 bytes) and is cut after so many bytes of it."""

    async def scenario(api: Standin, found: Following) -> None:
        for cut in range(part, 900, 4):
            await in_thread(api.cut_watch_after, cut)
            await in_thread(api.cut_watches)
            await in_thread(put, api, split("reviews", f"{cut + 1}m", "1"))
            await found.until(f"{cut + 1}m", "1")

    run(tmp_path, scenario, SPLITS_ONLY)


@pytest.mark.parametrize("form", ["event", "status"])
@pytest.mark.parametrize("seed", range(4))
def test_410_at_any_moment_and_everything_else_at_once_ends_in_the_state_of_the_cluster(
    tmp_path: Path, form: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflector, "PAGE_OBJECTS", 2)

    async def scenario(api: Standin, found: Following) -> None:
        api.gone_as(form)
        rng = Random(seed)
        faults: list[Callable[[], object]] = [
            api.expire_history, api.expire_watches, api.cut_watches, api.rotate_token, api.send_bookmarks,
            lambda: api.cut_watches('{"type":"ADD'), lambda: api.next_status(429, 0), lambda: api.next_status(503),
            lambda: api.next_status(500, count=3), lambda: api.next_status(410), lambda: api.cut_watch_after(70),
            lambda: api.dribble(5), api.dribble,
        ]  # fmt: skip
        for number in range(60):
            name = f"s{rng.randrange(5)}"
            if rng.random() < 0.6:
                await in_thread(put, api, split(name, f"{number + 1}m", "1"))
            elif name in there(api):
                await in_thread(api.remove, API, "TrafficSplit", name)
            await in_thread(rng.choice(faults))
            await asyncio.sleep(rng.choice((0, 0, 0.002, 0.01)))
        await in_thread(api.dribble)
        wanted = there(api)
        await eventually(lambda: held(found) == wanted, "the state of the cluster")
        await in_thread(put, api, split("reviews", "1", "9"))
        await found.until("1", "9")

    assert run(tmp_path, scenario)[0] == ["900m", "100m"]


def test_a_deletion_while_nobody_watched_and_history_is_gone_is_found(tmp_path: Path) -> None:
    async def scenario(api: Standin, found: Following) -> None:
        await in_thread(put, api, split("other", "1", "1"))
        await eventually(lambda: "other" in held(found), "other")
        await in_thread(api.refuse, "trafficsplits", "*", 503)
        await in_thread(api.cut_watches)
        await in_thread(api.remove, API, "TrafficSplit", "other")
        await in_thread(api.expire_history)
        await eventually(lambda: found.source.read().sources[2].in_force == "last good", "the outage to be told")
        assert set(held(found)) == {"reviews", "other"}
        await in_thread(api.allow, "trafficsplits")
        await eventually(lambda: set(held(found)) == {"reviews"}, "the deletion")
        await eventually(lambda: found.source.read().sources[2].in_force == "newest", "the recovery to be told")

    run(tmp_path, scenario)


def test_a_server_that_is_away_for_a_while_costs_no_table(tmp_path: Path) -> None:
    async def scenario(api: Standin, found: Following) -> None:
        await in_thread(api.kill)
        await eventually(lambda: any(s.state == "broken" for s in found.source.read().sources), "the outage")
        assert held(found) == {"reviews": "900m"}
        again = await asyncio.to_thread(api.replica, api.port)
        await in_thread(put, api, split("reviews", "5", "5"))
        await found.until("5", "5")
        await in_thread(again.stop)

    run(tmp_path, scenario)


def test_a_rotated_token_is_read_again(tmp_path: Path) -> None:
    async def scenario(api: Standin, found: Following) -> None:
        for number in range(1, 4):
            await in_thread(api.rotate_token)
            await in_thread(api.cut_watches)
            await in_thread(put, api, split("reviews", f"{number}m", "1"))
            await found.until(f"{number}m", "1")

    run(tmp_path, scenario)


def test_a_kind_that_may_not_be_read_leaves_the_others_working_and_is_told(tmp_path: Path) -> None:
    async def scenario(api: Standin, found: Following) -> None:
        await in_thread(api.refuse, "services", "*")
        await in_thread(api.cut_watches)
        await eventually(lambda: found.source.read().sources[0].state == "broken", "the refusal to be told")
        status = found.source.read().sources[0]
        assert status.in_force == "last good"
        assert "status 403" in status.errors[0]
        assert "forbidden" in status.errors[0]
        await in_thread(put, api, split("reviews", "5", "5"))
        await found.until("5", "5")
        await in_thread(api.allow, "services", "*")
        await in_thread(put, api, service("new"))
        await eventually(lambda: any(s.name == "new" for s in found.source.read().services), "the new Service")

    run(tmp_path, scenario)


def test_a_kind_that_is_installed_later_is_found(tmp_path: Path) -> None:
    async def scenario(api: Standin, found: Following) -> None:
        definition = crd("specs.smi-spec.io", "HTTPRouteGroup", "httproutegroups", "v1alpha4")
        group = {
            "apiVersion": "specs.smi-spec.io/v1alpha4",
            "kind": "HTTPRouteGroup",
            "metadata": {"name": "api"},
            "spec": {"matches": [{"name": "get", "methods": ["GET"]}]},
        }
        await in_thread(put, api, definition, group)
        await eventually(lambda: found.source.read().route_groups, "the group")

    run(tmp_path, scenario)
