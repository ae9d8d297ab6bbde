"""Endpoints left out for their failures, of all tables of a worker: out at once, back by a probe. Pure: time comes in.

The exchange says what became of each request. When a penalty is over `sweep` lets the endpoint be picked once more, and
the request that picks it is its probe: until that has ended all others go elsewhere, by weight as before. The rule not
to break: an endpoint that is out, of which a split has nothing else, is not left out.
"""

from milliroute.proxy.routing.leaf import Endpoint


class Ejections:
    """waiting: those out, until their penalty is over."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: set[Endpoint] = set()

    def failed(self, endpoint: Endpoint, now: float) -> None:
        accrual = endpoint.accrual
        if accrual is None or not accrual.failed(now):
            return
        if endpoint.backend.leave_out(endpoint):
            self.waiting.add(endpoint)
        else:
            accrual.keep()

    def succeeded(self, endpoint: Endpoint, now: float) -> None:
        if endpoint.accrual is not None and endpoint.accrual.succeeded(now):
            self.waiting.discard(endpoint)
            endpoint.backend.take_back(endpoint)

    def probe(self, endpoint: Endpoint, now: float) -> bool:
        """Whether the request that has picked this endpoint, which is out, is its probe."""
        accrual = endpoint.accrual
        if accrual is None or not accrual.may_probe(now):
            return False
        if endpoint.backend.leave_out(endpoint):
            return True
        accrual.keep()  # there is nothing else any more
        return False

    def probe_lost(self, endpoint: Endpoint) -> None:
        """It ended without a result, by its client: the next sweep lets another be made."""
        if endpoint.accrual is not None and endpoint.accrual.is_out:
            endpoint.accrual.probe_lost()
            self.waiting.add(endpoint)

    def sweep(self, now: float) -> None:
        """Whose penalty is over can be picked again."""
        for endpoint in [e for e in self.waiting if e.accrual is None or now >= e.accrual.back_s]:
            self.waiting.discard(endpoint)
            endpoint.backend.take_back(endpoint)
