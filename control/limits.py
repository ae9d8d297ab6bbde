"""Which rate limits hold for the routes of an authority: by annotation, and by Linkerd's HTTPLocalRateLimitPolicy.

In: an Index and the routes of one authority. Out: the same routes with their limits. A split's annotation beats that of
the apex's Service; a policy holds besides, for what its Server guards by the name that is asked for, whatever leaf
answers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from milliroute.control import access
from milliroute.control.index import Index, title
from milliroute.control.model import HTTPLocalRateLimitPolicy, Rate, RateLimit, Reference, Server
from milliroute.control.views import RateLimitView, RouteView

_UNITS = {1000: "s", 60_000: "m", 3_600_000: "h"}


def limited(
    index: Index, host: str, namespace: str, port: int | None, routes: Sequence[RouteView]
) -> tuple[RouteView, ...]:
    """`host`: the authority without its port."""
    split, service = index.splits.get(host), index.services.get(host)
    of_policies = of_servers(index, access.servers(index, host, namespace, port))
    own = _annotated(f"Service {namespace}/{service.name}", service.rate_limit) if service else ()
    of_split = _annotated(f"TrafficSplit {title(split)}", split.rate_limit) if split else ()
    if not (of_policies or own or of_split):
        return tuple(routes)
    name = title(split) if split else None
    return tuple(
        replace(route, rate_limits=((of_split if route.split.name == name else ()) or own) + of_policies)
        for route in routes
    )


def _annotated(name: str, limit: RateLimit | None) -> tuple[RateLimitView, ...]:
    return (RateLimitView(name, limit.text, limit.total, limit.client),) if limit else ()


def of_servers(index: Index, servers: Iterable[Server]) -> tuple[RateLimitView, ...]:
    """Those of the policies for these Servers, each once."""
    return tuple(dict.fromkeys(_of_policies(index, servers))) if index.policies.rate_limits else ()


def _of_policies(index: Index, servers: Iterable[Server]) -> Iterator[RateLimitView]:
    for server in servers:
        for policy in index.policies.rate_limits.get(Reference("Server", server.namespace, server.name), ()):
            overrides = tuple((tuple(access.identities(index, one.accounts)), one.rate) for one in policy.overrides)
            name = f"HTTPLocalRateLimitPolicy {policy.namespace}/{policy.name}"
            yield RateLimitView(name, _text(policy), policy.total, policy.client, overrides)


def _text(policy: HTTPLocalRateLimitPolicy) -> str:
    """As the annotation would say it."""
    parts = [_rate(policy.total)] if policy.total else []
    parts += [f"{_rate(policy.client)} per client"] if policy.client else []
    return "; ".join([*parts, *(f"{_rate(one.rate)} for some" for one in policy.overrides)])


def _rate(rate: Rate) -> str:
    return f"{rate.requests}/{_UNITS.get(rate.period_ms, f'{rate.period_ms}ms')}"
