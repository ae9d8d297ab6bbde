"""What every upstream connection of a worker shares, and the two faces between it and an exchange.

An exchange is a Receiver; what carries its request (an HTTP/1 connection, a stream of an HTTP/2 one) is a Carrier.
"""

import asyncio
import errno
import math
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeVar

from milliroute.proxy.codec.h1 import CODECS
from milliroute.proxy.config import Codec, H2Config, Timeouts, TlsFiles
from milliroute.proxy.errors import ConnectFailed, NoDescriptor, ProxyError
from milliroute.proxy.message import RequestHead, ResponseHead
from milliroute.proxy.metrics import TcpSeries
from milliroute.proxy.routing.leaf import Address
from milliroute.proxy.transport.outbox import Outbox

if TYPE_CHECKING:
    from milliroute.proxy.codec.hpack_static import Field
    from milliroute.proxy.transport.tls import ClientContexts
    from milliroute.proxy.transport.tls_link import TlsLink

P = TypeVar("P", bound=asyncio.Protocol)

# Of this process, of the machine.
_NO_DESCRIPTOR = frozenset((errno.EMFILE, errno.ENFILE))
# Between two tries while there is none: a connection that is closed for it has gone by then.
STARVED_S = 0.01


class Receiver(Protocol):
    """What an upstream connection tells about the request it carries. After a call with is_end or failed: no more."""

    __slots__ = ()

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
    """is_h2: by the version of HTTP. is_reused: its connection has served before, so its end may cross a request."""

    @property
    def is_h2(self) -> bool: ...

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

    def spare(self) -> bool:
        """A descriptor is needed elsewhere: closes an idle connection; False where there is none."""


class Pool(Protocol):
    """The connections of one endpoint in one version of HTTP."""

    def take(self) -> Carrier | None: ...

    def connect(self, receiver: Receiver) -> None:
        """Ends in receiver.connected or receiver.connect_failed."""


class Dialer:
    """What all pools of a worker share."""

    __slots__ = ("_contexts", "codec", "codec_name", "h2", "loop", "outbox", "pools", "starved_s", "tasks", "tcp",
                 "timeouts", "upstream_tls")  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        codec: Codec,
        timeouts: Timeouts,
        tcp: TcpSeries,
        h2: H2Config = H2Config(),  # noqa: B008  # a frozen value
    ) -> None:
        self.loop = loop
        self.h2 = h2
        self.codec_name = codec
        self.codec = CODECS[codec]
        self.outbox = Outbox(loop)
        self.timeouts = timeouts
        self.tcp = tcp
        self.pools: set[Swept] = set()
        self.starved_s = -math.inf  # when there was no descriptor the last time
        self.tasks: set[asyncio.Task[None]] = set()
        self._contexts: ClientContexts | None = None  # of TLS, once a backend speaks it
        self.upstream_tls: TlsFiles | None = None  # shown to those that ask for a certificate

    def spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        """Keeps a reference while it runs; only for what is rare, such as a new connection."""
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def dial(self, address: Address, make: Callable[[], P]) -> P:
        """A connection for one HTTP/1 request at a time; the caller limits the time. Raises OSError, and ValueError or
        OverflowError for an address that cannot be one."""
        if address.tls is not None:
            return (await self.secure(address, offers_h2=False)).hand_to(make())
        _, protocol = await self.loop.create_connection(make, address.host, address.port)
        return protocol

    async def secure(self, address: Address, *, offers_h2: bool) -> "TlsLink":
        """To an endpoint that speaks TLS; the link's alpn says which version of HTTP. Raises as `dial` does."""
        # Here, because a worker without TLS need not carry it.
        from milliroute.proxy.transport import tls, tls_link

        wanted = address.tls
        assert wanted is not None
        if self._contexts is None:
            self._contexts = tls.ClientContexts(self.upstream_tls)
        context = self._contexts.get(wanted.ca_file, offers_h2=offers_h2)
        return await tls_link.connect(self.loop, address.host, address.port, context, wanted.sni, self.timeouts.idle_s)

    async def await_descriptor(self, exc: OSError, address: Address) -> None:
        """For who could not begin a connection by exc: returns when it may try again; raises exc if it has another
        cause, and NoDescriptor when the caller's limit of time ends it."""
        if exc.errno not in _NO_DESCRIPTOR:
            raise exc
        self.starved_s = monotonic()
        any(pool.spare() for pool in self.pools)
        try:
            await asyncio.sleep(STARVED_S)
        except asyncio.CancelledError:
            raise NoDescriptor(f"no file descriptor left to connect to {address}") from None

    def sweep(self) -> None:
        """Called once every half of pool_idle_s: closes what has been idle since the call before the last."""
        for pool in list(self.pools):
            pool.sweep()
