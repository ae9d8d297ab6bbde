"""The usual Python way: `python -m benchmarks.grpc_aio HOST:PORT HOST:PORT`, a pass-through of grpc.aio.

A generic handler, bytes in and bytes out, metadata and deadline passed on, one channel to each backend, nine of ten
calls to the first, at random. It is told by the path which calls are unary, which costs it least: a proxy that does not
know would treat all as streams.
"""

import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import uvloop

from benchmarks.backend import announce_port, until_stdin_ends

if TYPE_CHECKING:
    Handler = grpc.GenericRpcHandler[bytes, bytes]
    MethodHandler = grpc.RpcMethodHandler[bytes, bytes]
    Context = grpc.aio.ServicerContext[bytes, bytes]
else:
    Handler, MethodHandler, Context = grpc.GenericRpcHandler, object, object

_WEIGHTS = (900, 100)
# What grpc sets anew on the next hop.
_OWN = frozenset(("user-agent", "te", "content-type"))
Metadata = tuple[tuple[str, str | bytes], ...]


class PassThrough(Handler):
    """Every method, to one of two channels."""

    def __init__(self, channels: tuple[grpc.aio.Channel, grpc.aio.Channel]) -> None:
        self._channels = channels

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> MethodHandler:
        method = handler_call_details.method
        if method.startswith("/unary/"):
            return grpc.unary_unary_rpc_method_handler(self._unary(method))
        return grpc.unary_stream_rpc_method_handler(self._stream(method))

    def _channel(self) -> grpc.aio.Channel:
        return random.choices(self._channels, _WEIGHTS)[0]

    def _unary(self, method: str) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def answer(request: bytes, context: Context) -> bytes:
            ask = self._channel().unary_unary(method, None, None)
            call = ask(request, timeout=context.time_remaining(), metadata=_passed_on(context))
            await context.send_initial_metadata(await call.initial_metadata())
            response: bytes = await call
            context.set_trailing_metadata(await call.trailing_metadata())
            return response

        return answer

    def _stream(self, method: str) -> Callable[[bytes, Context], AsyncIterator[bytes]]:
        async def answer(request: bytes, context: Context) -> AsyncIterator[bytes]:
            ask = self._channel().unary_stream(method, None, None)
            call = ask(request, timeout=context.time_remaining(), metadata=_passed_on(context))
            await context.send_initial_metadata(await call.initial_metadata())
            async for message in call:
                yield message
            context.set_trailing_metadata(await call.trailing_metadata())

        return answer


def _passed_on(context: Context) -> Metadata:
    return tuple((name, value) for name, value in context.invocation_metadata() or () if name not in _OWN)


async def _main(stable: str, canary: str) -> None:
    async with grpc.aio.insecure_channel(stable) as first, grpc.aio.insecure_channel(canary) as second:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((PassThrough((first, second)),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        announce_port(port)
        await (await until_stdin_ends()).wait()
        await server.stop(None)


if __name__ == "__main__":
    # 5 to 15 % less than on asyncio's own loop.
    uvloop.run(_main(sys.argv[1], sys.argv[2]))
