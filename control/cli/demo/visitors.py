"""The visitors of the page: a gentle, steady stream of views, counted."""

import asyncio
from dataclasses import dataclass

from milliroute.control.cli.bookinfo.client import Unreachable, Upstream

VIEWS_PER_S = 5.0
# Views in flight at most: while the page hangs, more visitors would only wait as well.
MAX_IN_FLIGHT = 20


@dataclass(slots=True)
class Views:
    """What the visitors saw so far. `partial`: a 200 in which a part of the page was unavailable."""

    total: int = 0
    partial: int = 0
    failed: int = 0
    last_failure: str = ""


async def view(page: Upstream) -> str:
    """View the page once: "" when whole, else what is wrong. Raises Unreachable when it is not a 200."""
    reply = await page.get("/productpage", [("user-agent", "milliroute-demo")])
    if reply.status != 200:
        raise Unreachable(f"{page.address}/productpage: status {reply.status}, wanted 200")
    return "a part of the page is unavailable" if b'class="missing"' in reply.body else ""


class Visitors:
    """Views the page until cancelled."""

    def __init__(self, page: Upstream, views_per_s: float = VIEWS_PER_S) -> None:
        self._page = page
        self._pause_s = 1.0 / views_per_s
        self._in_flight: set[asyncio.Task[None]] = set()
        self.views = Views()

    async def run(self) -> None:
        """Start a view at each beat, whether or not the one before has ended."""
        try:
            while True:
                if len(self._in_flight) < MAX_IN_FLIGHT:
                    task = asyncio.create_task(self.visit())
                    self._in_flight.add(task)
                    task.add_done_callback(self._in_flight.discard)
                await asyncio.sleep(self._pause_s)
        finally:
            for task in self._in_flight:
                task.cancel()

    async def visit(self) -> None:
        """View the page once and count it."""
        try:
            problem = await view(self._page)
        except Unreachable as error:
            self.views.failed += 1
            self.views.last_failure = str(error)
        else:
            self.views.partial += bool(problem)
        self.views.total += 1
