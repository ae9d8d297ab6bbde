"""A client's side that changes the heads of responses on their way: the filters of a Gateway API rule, for one request.

It stands between an exchange and its real client, only where a rule or one of its leaves changes responses, so that all
other requests pay nothing. What the proxy answers by itself is not changed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from milliroute.proxy.errors import ProxyError
from milliroute.proxy.exchange.context import Client
from milliroute.proxy.heads.rewriting import Filters, redressed
from milliroute.proxy.message import RequestHead, ResponseHead
from milliroute.proxy.routing.leaf import Leaf

if TYPE_CHECKING:
    from milliroute.proxy.codec.hpack_static import Field


class Filterable(Protocol):
    """The exchange."""

    head: RequestHead

    @property
    def leaf(self) -> Leaf | None: ...


class Filtered(Client):
    """Implements context.Client."""

    __slots__ = ("_client", "_exchange", "_filters")

    def __init__(self, client: Client, exchange: Filterable | None, filters: Filters) -> None:
        """exchange: where its leaf has a say."""
        self._client = client
        self._exchange = exchange
        self._filters = filters

    @property
    def client_ip(self) -> str:
        return self._client.client_ip

    @property
    def identities(self) -> tuple[str, ...]:
        return self._client.identities

    def send_response(self, head: ResponseHead, body: bytes, is_end: bool) -> None:
        self._change(head)
        self._client.send_response(head, body, is_end)

    def send_body(self, data: bytes, is_end: bool) -> None:
        self._client.send_body(data, is_end)

    def send_trailers(self, fields: "Sequence[Field]") -> None:
        self._client.send_trailers(fields)

    def send_interim(self, head: ResponseHead) -> None:
        self._client.send_interim(head)

    def send_upgraded(self, head: ResponseHead) -> None:
        self._change(head)
        self._client.send_upgraded(head)

    def send_error(self, error: ProxyError) -> None:
        self._exchange = None
        self._client.send_error(error)

    def abort(self) -> None:
        self._client.abort()

    def break_off(self, error: ProxyError) -> None:
        self._client.break_off(error)

    def pause_request(self) -> None:
        self._client.pause_request()

    def resume_request(self) -> None:
        self._client.resume_request()

    def _change(self, head: ResponseHead) -> None:
        if self._filters.response is not None:
            self._filters.response.apply(head)
        # They refer to each other, and must not wait for a collector when all is over.
        exchange, self._exchange = self._exchange, None
        # Of the leaf that has answered, which need not be the one that was asked first.
        leaf = exchange.leaf if exchange is not None else None
        if leaf is not None and leaf.filters is not None and leaf.filters.response is not None:
            leaf.filters.response.apply(head)


def dress(exchange: Filterable, client: Client, filters: Filters, leaf: Leaf) -> Client:
    """Changes the exchange's request for this leaf; returns who takes the response, the client where nothing is
    changed in it."""
    head = exchange.head
    if filters.url is not None:
        filters.url.apply(head)
    if filters.request is not None:
        filters.request.apply(head)
    if filters.has_leaf_requests:
        exchange.head = redressed(head, leaf.filters)
    if filters.response is None and not filters.has_leaf_responses:
        return client
    return Filtered(client, exchange if filters.has_leaf_responses else None, filters)
