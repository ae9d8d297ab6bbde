"""The control stream: one bidirectional Watch to the destination service, kept up for the life of the proxy.

Out: hello, subscriptions and verdicts. In: Resolved and Offer values to the sink. It decides when to try again and
nothing else; what an answer means is the agent's business. Imports grpc, so only the agent may import it, and only
after the workers are forked.

Every try has a channel of its own: grpc's hidden reconnect backoff would make a proxy late by up to its own cap.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Literal, Protocol

import grpc
import grpc.aio

from milliroute.proxy.agent.backoff import control_delay_s
from milliroute.proxy.agent.catalog import Offer, Verdict
from milliroute.proxy.agent.destination import (
    WATCH_METHOD,
    GarbledError,
    Hello,
    Resolved,
    StateError,
    decode_response,
    hello_request,
    subscribe_request,
    unsubscribe_request,
    verdict_request,
)
from milliroute.proxy.agent.mailbox import Mailbox
from milliroute.proxy.config import ControlTls
from milliroute.proxy.ipc import MAX_FRAME_BYTES

log = logging.getLogger(__name__)

State = Literal["connecting", "connected", "disconnected"]

# A connect that takes longer has met a black hole; TCP's own limit is minutes.
CONNECT_TIMEOUT_S = 5.0
# What the service says at once to whom it serves.
WELCOME = "milliroute-welcome"
# The service allows a ping every 5 s. A stopped or unplugged one is noticed after the sum of the two.
KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 7_000, 3_000
_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # What fits into a worker's pipe, so that a big table fails in one place only.
    ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
    # Shared subchannels would keep their backoff from one try to the next.
    ("grpc.use_local_subchannel_pool", 1),
    # The way to the control service is never through http_proxy.
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.primary_user_agent", "milliroute-proxy"),
)


class Sink(Protocol):
    """Who gets the answers; called on the loop, must not block."""

    def wanted(self) -> Iterable[str]: ...

    def on_resolved(self, resolved: Resolved) -> None: ...

    def on_offer(self, offer: Offer, state_bytes: bytes) -> None: ...


class _LostError(Exception):
    """The stream is over, or never was; the text says why."""


class Discovery:
    """now_s is a monotonic clock, unix_ns the wall clock. run() is the one task; the other methods only note down."""

    def __init__(
        self,
        address: str,
        hello: Hello,
        sink: Sink,
        *,
        now_s: Callable[[], float],
        unix_ns: Callable[[], int],
        rng: Random,
        tls: ControlTls = ControlTls(),  # noqa: B008  # a frozen value
    ) -> None:
        self.address = address
        self.state: State = "connecting"
        self.since_unix_ns = unix_ns()
        self.was_connected = False
        self._hello = hello
        self._sink = sink
        self._now_s = now_s
        self._unix_ns = unix_ns
        self._rng = rng
        self._tls = tls
        self._down_since_s = now_s()
        self.failures = 0
        self._outbox = Mailbox()
        self._has_mail = asyncio.Event()

    def subscribe(self, authority: str) -> None:
        self._send(f"watch {authority}", subscribe_request(authority))

    def unsubscribe(self, authority: str) -> None:
        self._send(f"watch {authority}", unsubscribe_request(authority))

    def report(self, verdict: Verdict) -> None:
        self._send(f"verdict {verdict.key}", verdict_request(verdict))

    def down_s(self) -> float:
        """Seconds without a stream; 0 while there is one."""
        return 0.0 if self.state == "connected" else self._now_s() - self._down_since_s

    async def run(self) -> None:
        """Keeps the stream up until cancelled."""
        while True:
            try:
                await self._one_stream()
            except _LostError as lost:
                self._on_lost(str(lost))
            except Exception as error:
                # A bug of ours met by one table must not end the proxy: a dead agent drains its workers.
                log.exception("control stream failed")
                self._on_lost(repr(error))
            await asyncio.sleep(control_delay_s(self.failures, self.down_s(), self._rng))
            self.failures += 1

    def _send(self, slot: str, request: bytes) -> None:
        # Without a stream there is nobody to tell: the next one begins with all that is wanted.
        if self.state == "connected":
            self._outbox.put(slot, request)
            self._has_mail.set()

    async def _one_stream(self) -> None:
        """Ends only by raising _LostError (or cancelled)."""
        try:
            channel, metadata = _open(self.address, self._tls), _token(self._tls.token_file)
        except (OSError, ValueError) as error:
            raise _LostError(f"cannot read {getattr(error, 'filename', None) or 'its files'}: {error}") from error
        async with channel:
            await _connect(channel)
            watch = channel.stream_stream(WATCH_METHOD, None, None)
            call: grpc.aio.StreamStreamCall[bytes, bytes] = watch(None, metadata=metadata)
            try:
                if metadata is not None:
                    await _welcomed(call)
                await call.write(hello_request(self._hello))
                self._on_connected()
                await self._talk(call)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                raise _LostError(_reason(error)) from error
            finally:
                call.cancel()

    async def _talk(self, call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        tasks = (asyncio.ensure_future(self._read(call)), asyncio.ensure_future(self._write(call)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _read(self, call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        while True:
            data = await call.read()
            if not isinstance(data, bytes):
                # The status says more than "end of stream", when there is one.
                raise _LostError(f"ended by the control service ({(await call.code()).name})")
            self.failures = 0
            self._receive(data)

    async def _write(self, call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        while True:
            while (request := self._outbox.take()) is not None:
                await call.write(request)
            self._has_mail.clear()
            await self._has_mail.wait()

    def _receive(self, data: bytes) -> None:
        try:
            answer, state_bytes = decode_response(data, self._unix_ns())
        except GarbledError as error:
            raise _LostError(str(error)) from error
        except StateError as error:
            log.warning("refused %s; the old table stays", error)
            self.report(error.nack)
            return
        if isinstance(answer, Resolved):
            self._sink.on_resolved(answer)
        elif answer is not None:
            self._sink.on_offer(answer, state_bytes)

    def _on_connected(self) -> None:
        log.info("control service %s: connected", self.address)
        self.state, self.since_unix_ns, self.was_connected = "connected", self._unix_ns(), True
        self._outbox.clear()
        for authority in self._sink.wanted():
            self.subscribe(authority)

    def _on_lost(self, reason: str) -> None:
        if self.state != "disconnected":
            log.warning("control service %s: %s; the last tables stay in force", self.address, reason)
            self.state, self.since_unix_ns, self._down_since_s = "disconnected", self._unix_ns(), self._now_s()


def _open(address: str, tls: ControlTls) -> grpc.aio.Channel:
    """Reads the files, so that new ones hold from the next try on. Raises OSError."""
    if not tls.ca:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    key = Path(tls.key).read_bytes() if tls.key else None
    chain = Path(tls.cert).read_bytes() if tls.cert else None
    credentials = grpc.ssl_channel_credentials(Path(tls.ca).read_bytes(), key, chain)
    return grpc.aio.secure_channel(address, credentials, options=_OPTIONS)


def _token(path: str) -> tuple[tuple[str, str], ...] | None:
    """As metadata of the call. Raises OSError; ValueError for what is no token."""
    if not path:
        return None
    token = Path(path).read_text("ascii").strip()
    if not token or not token.isprintable() or " " in token:
        raise ValueError(f"{path}: saw no token, wanted one line of printable ASCII")
    return (("authorization", f"Bearer {token}"),)


async def _connect(channel: grpc.aio.Channel) -> None:
    """Returns once the channel is up; raises _LostError at the first failure."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            state = channel.get_state(try_to_connect=True)
            while state is not grpc.ChannelConnectivity.READY:
                if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                    raise _LostError("cannot connect")
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)
    except TimeoutError as error:
        raise _LostError(f"no connection within {CONNECT_TIMEOUT_S:g} s") from error


async def _welcomed(call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
    """Before anything is written: a write that crosses with a refusal fails without saying why."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            metadata = await call.initial_metadata()
            if metadata is None or WELCOME not in dict(metadata):
                raise _LostError(f"{(await call.code()).name.lower()}: {await call.details()}")
    except TimeoutError as error:
        raise _LostError(f"no word about the token within {CONNECT_TIMEOUT_S:g} s") from error


def _reason(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name.lower()}: {error.details()}"
    return str(error)
