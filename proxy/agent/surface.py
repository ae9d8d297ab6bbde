"""What the admin listener offers: paths, verbs and what each does.

In: a Facade (the agent). Out: the route table of admin.answer. /metrics loads prometheus_client at the first scrape.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from milliroute.proxy.agent import build
from milliroute.proxy.agent.admin import Action, Request, Response, Routes, json, text
from milliroute.proxy.agent.splitsview import SplitsView
from milliroute.proxy.config import ProxyConfig
from milliroute.proxy.logs import current_level, set_level

if TYPE_CHECKING:
    from milliroute.proxy.agent.collector import Sources

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Facade(Protocol):
    @property
    def config(self) -> ProxyConfig: ...

    def is_ready(self) -> bool: ...

    def splits(self) -> SplitsView: ...

    def sources(self) -> "Sources": ...

    def request_drain(self) -> None: ...

    def request_shutdown(self) -> None: ...


def routes(facade: Facade) -> Routes:
    gets: dict[str, Action] = {
        "/metrics": _metrics(facade),
        "/ready": lambda request: text(200, "ready") if facade.is_ready() else text(503, "not ready"),
        "/live": lambda request: text(200, "live"),
        "/version": _version,
        "/config": lambda request: json(msgspec.json.encode(facade.config)),
        "/splits": lambda request: json(msgspec.json.encode(facade.splits())),
    }
    return {
        **{path: {"GET": action} for path, action in gets.items()},
        "/log-level": {"GET": lambda request: text(200, current_level()), "POST": _set_log_level},
        "/drain": {"POST": _order(facade.request_drain, "draining")},
        "/shutdown": {"POST": _order(facade.request_shutdown, "shutdown")},
    }


def _version(request: Request) -> Response:
    return json(msgspec.json.encode({"version": build.version(), "python": build.python_version()}))


def _order(order: Callable[[], None], answer: str) -> Action:
    def act(request: Request) -> Response:
        order()
        return text(200, answer)

    return act


def _set_log_level(request: Request) -> Response:
    try:
        set_level(request.body.decode("latin-1").strip().lower())
    except ValueError as error:
        return text(400, str(error))
    return text(200, current_level())


def _metrics(facade: Facade) -> Action:
    render: Callable[[], bytes] | None = None

    def scrape(request: Request) -> Response:
        nonlocal render
        if render is None:
            from milliroute.proxy.agent.collector import renderer

            render = renderer(facade.sources())
        return Response(200, render(), _METRICS_TYPE)

    return scrape
