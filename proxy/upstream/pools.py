"""Which pool serves an endpoint: one for each version of HTTP, made at the first use."""

from typing import Protocol, TypeVar, cast

from milliroute.proxy.routing.leaf import Closable, Endpoint
from milliroute.proxy.upstream.dialer import Dialer, Pool, Swept
from milliroute.proxy.upstream.h1 import H1Pool


class _Kept(Pool, Swept, Closable, Protocol):
    """What a worker does with a pool."""


P = TypeVar("P", bound=_Kept)


def pool_of(dialer: Dialer, endpoint: Endpoint, is_h2: bool) -> Pool:
    pool = endpoint.pool_h2 if is_h2 else endpoint.pool
    if pool is not None:
        return pool  # type: ignore[return-value]  # only this function fills them; a table can't name what is above it
    return _h2_pool(dialer, endpoint) if is_h2 else _h1_pool(dialer, endpoint)


def _h1_pool_of(dialer: Dialer, endpoint: Endpoint) -> H1Pool:
    return cast("H1Pool", endpoint.pool) if endpoint.pool is not None else _h1_pool(dialer, endpoint)


def _h1_pool(dialer: Dialer, endpoint: Endpoint) -> H1Pool:
    made = endpoint.pool = H1Pool(endpoint.address, dialer)
    return _opened(made, endpoint, dialer)


def _h2_pool(dialer: Dialer, endpoint: Endpoint) -> Pool:
    # Here, because a worker that never sees HTTP/2 need not carry it.
    from milliroute.proxy.upstream.h2 import H2Pool

    made = endpoint.pool_h2 = H2Pool(endpoint.address, dialer, _h1_pool_of(dialer, endpoint) if endpoint.tls else None)
    return _opened(made, endpoint, dialer)


def _opened(pool: P, endpoint: Endpoint, dialer: Dialer) -> P:
    dialer.pools.add(pool)
    if endpoint.is_gone:
        pool.close()  # for the one request that goes there by a table that is not in force any more
    return pool
