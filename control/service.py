"""The destination service: one bidirectional gRPC stream per proxy.

In: WatchRequests (hello, subscribe, unsubscribe, ack, nack). Out: WatchResponses (resolved, then the state of its key,
then every new state; resolved again when another key becomes the right one). Each stream has one task that reads and
one that writes; the writer takes from the stream's slots in the hub, so a slow proxy never holds up another one and
never grows memory.

The one rule: only the writer task writes. Two writes at a time on one gRPC call are an error.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from milliroute.control import encoding, errors, names, pods
from milliroute.control.api import destination_pb2 as pb
from milliroute.control.fleet import Fleet, ProxyStatus
from milliroute.control.hub import Hub, Stamp, State, TooManyKeysError, Watcher
from milliroute.control.subscriptions import Subscriptions

log = logging.getLogger(__name__)

SERVICE = "milliroute.destination.v1.Destination"

# Of a hello: the proxy is a sidecar, and asks for the addresses that its app dials.
DIALS = "addresses"

# Of the initial metadata: whoever sees it is served.
WELCOME = "milliroute-welcome"

# Answers waiting for the writer. Past it the stream's requests are not read, so the peer's flow control holds it.
MAX_WAITING_REPLIES = 1024

# Bytes. The largest request is a hello with labels; grpc's own limit of 4 MiB would be 4 GiB for 1,000 bad peers.
MAX_REQUEST_BYTES = 65_536

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    # A second service on a taken port must fail, not share the port's connections.
    ("grpc.so_reuseport", 0),
    # Past the first number grpc cancels waiting calls at random, past the second all of them; the defaults (1,000 and
    # 3,000) lose streams when a fleet reconnects at once.
    ("grpc.server.max_pending_requests", 1_000_000),
    ("grpc.server.max_pending_requests_hard_limit", 1_000_000),
    # A proxy that vanished without a FIN is noticed within 15 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Proxies ping as often; grpc's default answers that with GOAWAY too_many_pings.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
)

Request = pb.Hello | pb.Subscribe | pb.Unsubscribe | pb.Ack | pb.Nack
Context = aio.ServicerContext[bytes, bytes]
Metadata = Sequence[tuple[str, str | bytes]]


class RefusedError(Exception):
    """The peer broke the protocol; ends its stream with this status."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class DestinationService:
    """Answers Watch for any number of proxies from one hub."""

    def __init__(
        self, hub: Hub, fleet: Fleet, now_unix_ns: Callable[[], int], opens: Callable[[Metadata], bool] | None = None
    ) -> None:
        """opens: whether a call with this metadata is served; None: all are."""
        self._hub = hub
        self._fleet = fleet
        self._now_unix_ns = now_unix_ns
        self._opens = opens
        self._warned_minute = -1

    def handler(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        # Bytes in and out: requests are decoded below, where a bad one can be refused; states are serialised once.
        watch = grpc.stream_stream_rpc_method_handler(self._watch)
        return grpc.method_handlers_generic_handler(SERVICE, {"Watch": watch})

    async def _watch(self, requests: AsyncIterator[bytes], context: Context) -> None:
        try:
            if self._opens is not None and not self._opens([*(context.invocation_metadata() or ())]):
                self._warn_stranger(context.peer())
                raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, "no token, or a wrong one")
            # At once, so that a proxy with a token knows before it says anything.
            await context.send_initial_metadata(((WELCOME, "1"),))
            await self._serve(requests, context)
        except RefusedError as refused:
            await context.abort(refused.code, refused.text)

    def _warn_stranger(self, peer: str) -> None:
        """Once a minute: whoever knocks may knock often."""
        minute = self._now_unix_ns() // 60_000_000_000
        if minute != self._warned_minute:
            self._warned_minute = minute
            log.warning("refused %s: no token, or a wrong one", peer)

    async def _serve(self, requests: AsyncIterator[bytes], context: Context) -> None:
        hello = await _first(requests)
        proxy = self._fleet.hello(hello.proxy_id, hello.namespace, hello.admin_address)
        session = _Session(self._hub, self._fleet, proxy, self._now_unix_ns, hello)
        log.info("proxy %s connected", proxy.id)
        try:
            await session.run(requests, context)
        finally:
            session.close()
            log.info("proxy %s disconnected", proxy.id)


class _Session:
    """One stream after its hello."""

    def __init__(
        self,
        hub: Hub,
        fleet: Fleet,
        proxy: ProxyStatus,
        now_unix_ns: Callable[[], int],
        hello: pb.Hello,
    ) -> None:
        self._hub = hub
        self._labels = dict(hello.labels)
        self._dials = DIALS in hello.capabilities
        self._fleet = fleet
        self._proxy = proxy
        self._now_unix_ns = now_unix_ns
        self._namespace = proxy.namespace or "default"
        self._watcher: Watcher = hub.watcher()
        self._replies: deque[bytes] = deque()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._subscriptions = Subscriptions()
        self._resolved_by = hub.snapshot
        # What was said while not all was read is said anew, all of it, on a new stream.
        self._is_partial = hub.snapshot.is_partial
        self._watcher.wakes_on_snapshots = self._is_partial
        self._subscribed_unix_ns: dict[str, int] = {}
        self._is_full = False

    async def run(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Serve until the peer ends its half of the stream or either task fails."""
        reader = asyncio.ensure_future(self._read(requests))
        writer = asyncio.ensure_future(self._write(context))
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, writer):
                task.cancel()
            outcomes = await asyncio.gather(reader, writer, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    def close(self) -> None:
        self._watcher.close()
        self._fleet.bye(self._proxy)

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        async for raw in requests:
            self._accept(_decode(raw))
            await self._has_room.wait()

    async def _write(self, context: Context) -> None:
        while self._is_partial <= self._hub.snapshot.is_partial:
            self._resolve_again()
            while self._replies:
                await context.write(self._replies.popleft())
                self._has_room.set()
            publication = self._watcher.take()
            if publication is None:
                await self._watcher.wait()
                continue
            stamp = publication.stamp
            self._fleet.sent(self._proxy, stamp.key, stamp.epoch, stamp.version, self._due_unix_ns(stamp))
            await context.write(publication.payload)

    def _due_unix_ns(self, stamp: Stamp) -> int:
        return max(stamp.published_unix_ns, self._subscribed_unix_ns.get(stamp.key, 0))

    def _accept(self, request: Request | None) -> None:
        match request:
            case pb.Subscribe():
                self._subscribe(request.authority)
            case pb.Unsubscribe():
                self._unsubscribe(request.authority)
            case pb.Ack():
                self._fleet.ack(self._proxy, request.key, request.epoch, request.version, request.applied_unix_ns)
            case pb.Nack():
                log.warning("proxy %s: %s version %d refused: %s", *_nack_words(self._proxy.id, request))
                self._fleet.nack(self._proxy, request.key, request.version, request.reason)
            case pb.Hello():
                raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, "a second hello on one stream")

    def _resolve_again(self) -> None:
        """Once per snapshot: ports may have come to mean something, or to mean nothing any more; and this namespace
        may have got routes of its own, or lost them."""
        if self._resolved_by is self._hub.snapshot:
            return
        is_moved = self._own_routes(self._resolved_by) != self._own_routes(self._hub.snapshot)
        self._resolved_by = self._hub.snapshot
        for authority, before in self._subscriptions.all() if is_moved else self._subscriptions.unsettled():
            key, is_settled = self._resolve(authority)
            if key != before:
                self._subscribe(authority)
            elif is_settled:
                self._subscriptions.add(authority, key, is_settled=True)

    def _own_routes(self, snapshot: State) -> frozenset[str]:
        return snapshot.consumers.get(self._namespace, frozenset())

    def _resolve(self, authority: str) -> tuple[str, bool]:
        """The key, and whether it stays while the Service exists: it has the port asked for. Raises AuthorityError."""
        if authority.startswith(pods.INBOUND):
            return pods.inbound_key(authority, self._namespace, self._labels), True
        snapshot = self._hub.snapshot
        if self._dials and names.is_address(authority):
            return snapshot.dialled_key(authority, self._namespace), False  # whose it is may change with every Service
        key = snapshot.key_of(authority, self._namespace)
        port = names.split_port(key)[1]
        is_as_asked = key == names.canonical(authority, self._namespace)
        return key, is_as_asked and not (port is not None and snapshot.view(key) is None)

    def _subscribe(self, authority: str) -> None:
        try:
            key, is_settled = self._resolve(authority)
        except errors.AuthorityError:
            self._answer_unknown(authority, authority)
            return
        self._subscribed_unix_ns.setdefault(key, self._now_unix_ns())
        try:
            self._watcher.subscribe(key)
        except TooManyKeysError as full:
            del self._subscribed_unix_ns[key]
            self._warn_once(full)
            self._answer_unknown(authority, key)
            return
        self._leave(self._subscriptions.add(authority, key, is_settled=is_settled))
        self._watcher.wakes_on_snapshots = self._is_partial or self._subscriptions.has_unsettled
        self._reply(encoding.resolved(authority, key, self._hub.snapshot.is_partial))

    def _unsubscribe(self, authority: str) -> None:
        self._leave(self._subscriptions.drop(authority))
        self._watcher.wakes_on_snapshots = self._is_partial or self._subscriptions.has_unsettled

    def _leave(self, key: str | None) -> None:
        """No authority means `key` any more; None is no key."""
        if key is not None:
            self._subscribed_unix_ns.pop(key, None)
            self._watcher.unsubscribe(key)
            self._fleet.forget(self._proxy, key)

    def _answer_unknown(self, authority: str, key: str) -> None:
        """Answer and do not watch: a name that is not one will never exist, and a full stream takes no more."""
        snapshot = self._hub.snapshot
        stamp = Stamp(key, self._hub.epoch, snapshot.version, self._now_unix_ns(), snapshot.is_partial)
        self._reply(encoding.resolved(authority, key, self._hub.snapshot.is_partial))
        self._reply(encoding.state(stamp, None))

    def _reply(self, payload: bytes) -> None:
        self._replies.append(payload)
        if len(self._replies) >= MAX_WAITING_REPLIES:
            self._has_room.clear()
        self._watcher.wake()

    def _warn_once(self, full: TooManyKeysError) -> None:
        # Ending the stream instead would take the tables of all other names from the proxy, again and again.
        if not self._is_full:
            self._is_full = True
            log.warning("proxy %s: %s; further names are answered as unknown", self._proxy.id, full)


def _decode(raw: bytes) -> Request | None:
    """The one message inside; None for a kind that a newer proxy may send. Raises RefusedError."""
    try:
        request = pb.WatchRequest.FromString(raw)
    except DecodeError:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "not a WatchRequest") from None
    kind = request.WhichOneof("kind")
    return getattr(request, kind) if kind else None


async def _first(requests: AsyncIterator[bytes]) -> pb.Hello:
    async for raw in requests:
        request = _decode(raw)
        if not isinstance(request, pb.Hello):
            raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, "the first message of a stream must be hello")
        if not request.proxy_id:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "hello without a proxy_id")
        return request
    raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, "the stream ended before a hello")


def _nack_words(proxy_id: str, nack: pb.Nack) -> tuple[str, str, int, str]:
    return proxy_id, nack.key, nack.version, nack.reason[:500]
