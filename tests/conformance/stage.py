"""A proxy that lives as long as a test module, in a loop that turns while a case runs: cases are many and short.

After each case the loop must have nothing to report, and at the end no request may be left pending (`serving`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TypeVar

import msgspec
import uvloop

from milliroute.proxy.config import Codec
from milliroute.proxy.state import AuthorityState
from tests.conformance.recorders import RECORDERS, Record
from tests.proxy.serving import Proxy, serving, until
from tests.proxy.tables import leaves

# A case takes some milliseconds; one that waits for what never comes has failed.
CASE_LIMIT_S = 30.0
T = TypeVar("T")
PROTOCOLS = {"h1": "http", "h2": "kubernetes.io/h2c"}


class Stage:
    """run: one case, to its end, on the proxy and the record of its backend (speaking `version`)."""

    def __init__(self, runner: "asyncio.Runner", codec: Codec, version: str) -> None:
        self._runner = runner
        self.codec = codec
        self.version = version
        self.record = Record()
        self.proxy: Proxy
        self.reports: list[str] = []
        self.own_port = 0

    async def enter(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.reports.append(repr(context)))
        server = await loop.create_server(lambda: RECORDERS[self.version](self.record), "127.0.0.1", 0)
        stack.callback(server.close)
        self.own_port = server.sockets[0].getsockname()[1]
        self.proxy = await stack.enter_async_context(serving(self.codec))
        stack.push_async_callback(self._hang_up)
        await self.restore()

    async def restore(self) -> None:
        """Its own backend is the one again; those to others that are idle are closed."""
        await self.proxy.update(speaking(leaves({"v1": [self.own_port]}, 1), self.version))

    def run(self, case: Callable[["Stage"], Awaitable[None]]) -> None:
        async def watched() -> None:
            async with asyncio.timeout(CASE_LIMIT_S):
                await case(self)

        self.record.clear()
        self.reports.clear()
        self._runner.run(watched())
        assert self.reports == []

    def call(self, work: Coroutine[None, None, T]) -> T:
        """In the stage's loop."""
        return self._runner.run(work)

    async def settled(self) -> None:
        """The backend has seen all that the proxy sends it for what was asked so far."""
        await self.probe()
        await until(lambda: self.record.open_count == 0)

    async def probe(self) -> None:
        """A client that does nothing wrong is served, whatever the case has done."""
        client = await self.proxy.client()
        reply = await client.get("/probe")
        client.close()
        assert reply.status == 200
        await until(lambda: any(seen.target == "/probe" for seen in self.record.seen))
        self.record.seen = [seen for seen in self.record.seen if seen.target != "/probe"]

    async def _hang_up(self) -> None:
        for transport in list(self.record.connections):
            transport.abort()


def speaking(state: AuthorityState, version: str) -> AuthorityState:
    """The same with backends that say which version of HTTP they speak."""
    backends = [msgspec.structs.replace(backend, app_protocol=PROTOCOLS[version]) for backend in state.backends]
    return msgspec.structs.replace(state, backends=backends)


@contextmanager
def stage(codec: Codec, version: str) -> Iterator[Stage]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        made, stack = Stage(runner, codec, version), AsyncExitStack()
        runner.run(made.enter(stack))
        try:
            yield made
        finally:
            runner.run(stack.aclose())
