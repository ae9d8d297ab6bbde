"""`python -m tests.e2e.grpc_watcher NAME ...`: grpc.aio servers that hold calls open and say what became of them.

/test.Watch/Hold (unary: answers never), /Bidi (each message back), /Count (unary, asked past the proxy: calls open now,
the most at once, calls cancelled and deadlines seen, as "open peak cancelled"), /Context (unary: what the server was
told, as lines `name=value`).
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc
from grpc import aio

Context = aio.ServicerContext[bytes, bytes]


class Watch:
    def __init__(self) -> None:
        self._open = 0
        self._peak = 0
        self._cancelled = 0

    def _begin(self) -> None:
        self._open += 1
        self._peak = max(self._peak, self._open)

    async def hold(self, _: bytes, __: Context) -> bytes:
        self._begin()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self._cancelled += 1
            raise
        finally:
            self._open -= 1
        return b""

    async def bidi(self, requests: AsyncIterator[bytes], _: Context) -> AsyncIterator[bytes]:
        self._begin()
        try:
            async for request in requests:
                yield request
        except asyncio.CancelledError:
            self._cancelled += 1
            raise
        finally:
            self._open -= 1

    async def count(self, _: bytes, __: Context) -> bytes:
        return b"%d %d %d" % (self._open, self._peak, self._cancelled)

    async def context(self, _: bytes, context: Context) -> bytes:
        pairs = [f"{name}={value!r}" for name, value in context.invocation_metadata() or ()]
        return "\n".join([*pairs, f"time_remaining={context.time_remaining()}"]).encode()


async def serve(names: list[str]) -> None:
    servers = []
    for name in names:
        watch = Watch()
        handlers = {
            "Hold": grpc.unary_unary_rpc_method_handler(watch.hold),
            "Bidi": grpc.stream_stream_rpc_method_handler(watch.bidi),
            "Count": grpc.unary_unary_rpc_method_handler(watch.count),
            "Context": grpc.unary_unary_rpc_method_handler(watch.context),
        }
        server = aio.server(options=[("grpc.max_concurrent_streams", 1000)])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Watch", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        print(f"milliroute: listening {name} 127.0.0.1:{port}", file=sys.stderr, flush=True)
    parent_is_gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, parent_is_gone.set)
    await parent_is_gone.wait()
    for server in servers:
        await server.stop(0)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
