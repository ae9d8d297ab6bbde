"""What every upstream connection of a worker shares, and the two faces between it and an exchange.

An exchange is a Receiver; what carries its request (an HTTP/1 connection, a stream of an HTTP/2 one) is a Carrier.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Protocol

from milliroute.proxy.codec.h1 import CODECS
from milliroute.proxy.config import Codec, Timeouts
from milliroute.proxy.errors import ConnectFailed, ProxyError
from milliroute.proxy.message import RequestHead, ResponseHead
from milliroute.proxy.metrics import TcpSeries
from milliroute.proxy.outbox import Outbox

if TYPE_CHECKING:
    from milliroute.proxy.codec.hpack_static import Field


class Receiver(Protocol):
    """What an upstream connection tells about the request it carries. After a call with is_end or failed: no more."""

    def response(self, head: ResponseHead, body: bytes, is_end: bool) -> None: ...

    def response_body(self, data: bytes, is_end: bool) -> None: ...

    def interim(self, head: ResponseHead) -> None: ...

    def response_trailers(self, fields: "Sequence[Field]") -> None:
        """The end of a response over HTTP/2 that has them."""

    def upgraded(self, head: ResponseHead) -> None: ...

    def failed(self, error: ProxyError, *, is_untouched: bool, is_unprocessed: bool = False) -> None:
        """is_untouched: not one byte of a response had come. is_unprocessed: the backend said that it did nothing."""

    def pause_request(self) -> None: ...

    def resume_request(self) -> None: ...

    def connected(self, connection: "Carrier") -> None: ...

    def connect_failed(self, error: ConnectFailed) -> None: ...


class Carrier(Protocol):
    """is_reused: its connection has served before, so its end may cross a request."""

    is_reused: bool
    is_paused: bool

    def send(self, receiver: Receiver, head: RequestHead, body: bytes, is_request_done: bool) -> None:
        """body: what of it there is; the rest comes by `write`."""

    def write(self, data: bytes, is_request_done: bool) -> None: ...

    def write_trailers(self, fields: "Sequence[Field]") -> None: ...

    def write_eof(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abort(self) -> None:
        """Nobody waits for the rest of this response."""

    def return_unused(self) -> None:
        """Made for a client that has left before anything was sent."""


class Swept(Protocol):
    def sweep(self) -> None: ...


class Pool(Protocol):
    """The connections of one endpoint in one version of HTTP."""

    def take(self) -> Carrier | None: ...

    def connect(self, receiver: Receiver) -> None:
        """Ends in receiver.connected or receiver.connect_failed."""


class Dialer:
    """What all pools of a worker share."""

    __slots__ = ("codec", "codec_name", "loop", "outbox", "pools", "tasks", "tcp", "timeouts")

    def __init__(self, loop: asyncio.AbstractEventLoop, codec: Codec, timeouts: Timeouts, tcp: TcpSeries) -> None:
        self.loop = loop
        self.codec_name = codec
        self.codec = CODECS[codec]
        self.outbox = Outbox(loop)
        self.timeouts = timeouts
        self.tcp = tcp
        self.pools: set[Swept] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        """Keeps a reference while it runs; only for what is rare, such as a new connection."""
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def sweep(self) -> None:
        """Called once every half of pool_idle_s: closes what has been idle since the call before the last."""
        for pool in list(self.pools):
            pool.sweep()
