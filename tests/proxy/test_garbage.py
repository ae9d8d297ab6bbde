"""What is replaced or closed ends by itself. The collector comes seldom, and 12 MiB waited for it (docs/chaos.md)."""

import gc
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from milliroute.proxy.codec.h2_frames import CANCEL
from milliroute.proxy.config import Codec
from milliroute.proxy.routing.router import Router
from milliroute.proxy.state import AuthorityState
from tests.proxy.backends import Origin, named
from tests.proxy.failures import counting
from tests.proxy.h2_backend import (
    Backend,
    h2_client,
    h2_downstreams,
    h2_pools,
    mute,
    over_h2,
    serving_h2,
    streams_upstream,
)
from tests.proxy.h2_backend import named as named_h2
from tests.proxy.serving import BOTH_CODECS, on_loop, serving, to, until
from tests.proxy.tables import KEY, leaves

NOBODY = leaves({"v1": []}, 1)


@pytest.fixture(autouse=True)
def _collector_at_rest() -> Iterator[None]:
    """And blind to what other tests have left."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def garbage() -> Counter[str]:
    """Objects of ours that only the collector can free."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return Counter(
            type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith("milliroute.proxy")
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def test_what_is_only_held_by_itself_is_seen() -> None:
    router = Router(random.Random(1), lambda: 0.0, lambda: 0.0)
    router._series["a", "b", "c", "d"] = router  # type: ignore[assignment]  # a cycle
    del router
    assert garbage()["Router"] == 1


@pytest.mark.parametrize("is_counted", [False, True])
def test_a_table_that_was_replaced_needs_no_collector(is_counted: bool) -> None:
    router = Router(random.Random(1), lambda: 0.0, lambda: 0.0)
    router.alias("reviews", KEY)

    def update(version: int, state: AuthorityState) -> None:
        router.update(KEY, version, counting(state) if is_counted else state)

    for version in range(10):
        update(version, leaves({"v1": [1, 2 + version % 3], "v2": [4]}, 1, 1 + version))
    update(10, leaves({"v2": [4]}, 1))
    router.update(KEY, 11, None)
    update(12, leaves({"v1": [1, 2], "v2": [4]}, 1, 1))
    router.forget("reviews")
    assert not garbage()


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_an_endpoint_that_went_needs_no_collector(codec: Codec) -> None:
    async with Origin(named("v1")) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        assert (await client.get()).status == 200
        await proxy.update(NOBODY)
        await until(lambda: not proxy.pools() and origin.visits[0].reader.at_eof())
        client.close()
        await until(lambda: not proxy.downstreams())
        assert not garbage()


@on_loop
async def test_http2_connections_that_ended_need_no_collector() -> None:
    async with Backend(named_h2("v1")) as backend, serving_h2("fast", over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        assert await client.get() == ("200", b"v1")
        await proxy.update(NOBODY)
        await until(lambda: not h2_pools(proxy))
        client.writer.close()
        await until(lambda: not h2_downstreams(proxy))
        assert not garbage()


@pytest.mark.parametrize("is_reset", [False, True])
@on_loop
async def test_http2_requests_that_their_clients_gave_up_need_no_collector(is_reset: bool) -> None:
    async with Backend(mute) as backend, serving_h2("fast", over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request()
        await until(lambda: streams_upstream(proxy) == 1)
        if is_reset:
            client.reset(stream_id, CANCEL)
        else:
            client.writer.close()
        await until(lambda: not streams_upstream(proxy))
        client.writer.close()
        await until(lambda: not h2_downstreams(proxy))
        assert not garbage()
