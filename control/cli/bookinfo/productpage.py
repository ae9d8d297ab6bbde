"""`productpage`, the service a browser sees: it asks `details` and `reviews` and answers with HTML."""

import asyncio
import logging
from collections.abc import Mapping

from milliroute.control.cli.bookinfo import page
from milliroute.control.cli.bookinfo.asking import Model, ask
from milliroute.control.cli.bookinfo.client import Unreachable, Upstream
from milliroute.control.cli.bookinfo.model import Details, Reviews
from milliroute.control.cli.bookinfo.server import Answer, Handler, Request, plain

log = logging.getLogger("bookinfo")


def productpage(details: Upstream, reviews: Upstream) -> Handler:
    """Make the handler. A part that does not answer is named on the page, which stays a 200."""

    async def handle(request: Request) -> Answer:
        if request.path == "/":
            return plain(302, "the page is /productpage", (("location", "/productpage"),))
        if request.path != "/productpage":
            return plain(404, f"no {request.path} here, /productpage is")
        book, opinions = await asyncio.gather(
            _part(details, "/details/0", request.headers, Details),
            _part(reviews, "/reviews/0", request.headers, Reviews),
        )
        html = page.render(book, opinions).encode()
        # Every reload must ask again, or the split could not be seen in a browser.
        return Answer(200, "text/html; charset=utf-8", html, (("cache-control", "no-store"),))

    return handle


async def _part(upstream: Upstream, target: str, headers: Mapping[str, str], model: type[Model]) -> Model | None:
    try:
        return await ask(upstream, target, headers, model)
    except Unreachable as error:
        log.warning("%s: %s", target, error)
        return None
