"""Which pool serves an endpoint: one for each version of HTTP, made at the first use."""

from typing import cast

from milliroute.proxy.dialer import Dialer, Pool
from milliroute.proxy.leaf import Endpoint
from milliroute.proxy.upstream import H1Pool


def pool_of(dialer: Dialer, endpoint: Endpoint, is_h2: bool) -> Pool:
    pool = endpoint.pool_h2 if is_h2 else endpoint.pool
    if pool is not None:
        return pool  # type: ignore[return-value]  # only this function fills them; a table can't name what is above it
    return _h2_pool(dialer, endpoint) if is_h2 else _h1_pool(dialer, endpoint)


def _h1_pool_of(dialer: Dialer, endpoint: Endpoint) -> H1Pool:
    return cast("H1Pool", endpoint.pool) if endpoint.pool is not None else _h1_pool(dialer, endpoint)


def _h1_pool(dialer: Dialer, endpoint: Endpoint) -> H1Pool:
    made = endpoint.pool = H1Pool(endpoint, dialer)
    dialer.pools.add(made)
    return made


def _h2_pool(dialer: Dialer, endpoint: Endpoint) -> Pool:
    # Here, because a worker that never sees HTTP/2 need not carry it.
    from milliroute.proxy.upstream_h2 import H2Pool

    made = endpoint.pool_h2 = H2Pool(endpoint, dialer, _h1_pool_of(dialer, endpoint) if endpoint.tls else None)
    dialer.pools.add(made)
    return made
