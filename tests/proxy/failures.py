"""States with policies and failure accrual, and backends that fail by plan, for the tests of both."""

import itertools

from msgspec.structs import replace

from milliroute.proxy.state import AccrualState, AuthorityState, PolicyState
from tests.proxy.backends import Origin, Visit
from tests.proxy.h2_backend import GRPC, Backend, h2_pools
from tests.proxy.h2_backend import Visit as H2Visit
from tests.proxy.serving import Proxy

# Out with the first failure; back so late that no test sees it, but by end_penalties().
AT_ONCE = AccrualState(max_failures=1, min_penalty_ms=60_000, jitter_percent=0)
ON_503 = PolicyState(retry_statuses=[(503, 503)])
ON_UNAVAILABLE = PolicyState(retry_grpc=[14])


def trying(state: AuthorityState, policy: PolicyState = ON_503) -> AuthorityState:
    """With this policy on every split."""
    routes = [replace(route, split=replace(route.split, policy=policy)) for route in state.routes]
    return replace(state, routes=routes)


def counting(state: AuthorityState, accrual: AccrualState = AT_ONCE) -> AuthorityState:
    """With failure accrual on every backend."""
    return replace(state, backends=[replace(backend, accrual=accrual) for backend in state.backends])


def answering(*statuses: int) -> Origin:
    """Answers request after request with these, over all its connections, the last one for ever; with the status as
    the body. A 0 is a reset."""
    plan = itertools.chain(statuses, itertools.repeat(statuses[-1]))

    async def script(visit: Visit) -> None:
        while await visit.request():
            status = next(plan)
            if not status:
                visit.reset()
                return
            await visit.answer(b"%d" % status, status=f"{status} Whatever")

    return Origin(script)


def calls(*statuses: int, style: str = "trailers-only") -> Backend:
    """The same for gRPC. style "trailers": head, then trailers; "message": a message in between."""
    plan = itertools.chain(statuses, itertools.repeat(statuses[-1]))

    async def script(visit: H2Visit) -> None:
        while True:
            asked = await visit.request_end()
            status = ("grpc-status", str(next(plan)))
            if style == "trailers-only":
                visit.respond(asked.stream_id, fields=[GRPC[0], status])
                continue
            visit.respond(asked.stream_id, fields=[GRPC[0]], is_end=False)
            if style == "message":
                visit.send(asked.stream_id, b"message")
            visit.trail(asked.stream_id, [status])

    return Backend(script)


def prefer(proxy: Proxy, origin: Origin) -> None:
    """The balancer takes this one first: by what it measures itself, that is whichever had the luckier answer."""
    for endpoint in proxy.endpoints():
        if endpoint.port != origin.port:
            endpoint.load.rtt_s = 3600.0


def outs(proxy: Proxy) -> list[int]:
    """Ports of the endpoints that are left out."""
    tables = [table for table in proxy.worker._router._by_key.values() if table is not None]
    return sorted(endpoint.port for table in tables for backend in table.backends for endpoint in backend.out)


def end_penalties(proxy: Proxy) -> None:
    """Whoever is out is tried again with the next sweep. Not by a short penalty: a slow machine would miss it."""
    for endpoint in proxy.worker._context.ejections.waiting:
        assert endpoint.accrual is not None
        endpoint.accrual.back_s = 0.0


def streams_open(proxy: Proxy) -> int:
    return sum(one.h2.open_streams for pool in h2_pools(proxy) for one in pool._connections)
