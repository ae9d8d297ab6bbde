"""Endpoints left out for their failures, of all tables of a worker: out at once, back by a probe. Pure: time comes in.

The exchange says what became of each request; `sweep` lets those try again whose penalty is over. The rule not to
break: an endpoint that is out, of which a split has nothing else, is not left out.
"""

from milliroute.proxy.table import Endpoint


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
        if endpoint.accrual is not None:
            endpoint.accrual.succeeded(now)

    def sweep(self, now: float) -> None:
        """Whose penalty is over is picked again; the exchange makes the first request a probe."""
        for endpoint in [e for e in self.waiting if e.accrual is None or now >= e.accrual.back_s]:
            self.waiting.discard(endpoint)
            endpoint.backend.take_back(endpoint)
