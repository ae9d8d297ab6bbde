"""Which pool serves an endpoint, and that none is kept for one that is gone."""

import asyncio

import pytest

from milliroute.proxy.config import Timeouts
from milliroute.proxy.metrics import TcpSeries
from milliroute.proxy.routing.leaf import Endpoint
from milliroute.proxy.state import EndpointState
from milliroute.proxy.upstream.dialer import Dialer
from milliroute.proxy.upstream.pools import pool_of
from tests.proxy.serving import on_loop


def made() -> tuple[Dialer, Endpoint]:
    dialer = Dialer(asyncio.get_running_loop(), "fast", Timeouts(), TcpSeries("dst"))
    return dialer, Endpoint(EndpointState("127.0.0.1", 1), 0.0)


@on_loop
async def test_each_version_of_http_has_one_pool() -> None:
    dialer, endpoint = made()
    pools = [pool_of(dialer, endpoint, is_h2) for is_h2 in (False, True, False, True)]
    assert pools[:2] == pools[2:]
    assert len(dialer.pools) == 2


@pytest.mark.parametrize("is_h2", [False, True])
@on_loop
async def test_a_pool_first_asked_for_when_its_endpoint_is_gone_is_swept_by_nobody(is_h2: bool) -> None:
    """By a request that was routed by the table before."""
    dialer, endpoint = made()
    endpoint.close_pools()
    assert pool_of(dialer, endpoint, is_h2).take() is None
    assert not dialer.pools
