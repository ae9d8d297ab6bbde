"""`python -m tests.e2e.grpc_backend NAME ...`: grpcio servers, one port each, with all four kinds of call.

/test.Echo/Unary, /ServerStream (so many messages as the request says), /ClientStream (the sum of lengths), /Bidi (each
message back). Every answer's trailing metadata has `leaf` with the server's name, and `seen-bin` echoes `ask-bin`.
"""

import os
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc


class Echo:
    def __init__(self, name: str) -> None:
        self._name = name

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._mark(context)
        if request.startswith(b"fail "):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, request[5:].decode())
        return request

    def server_stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self._mark(context)
        for number in range(int(request)):
            yield b"%d" % number

    def client_stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        self._mark(context)
        return b"%d" % sum(len(request) for request in requests)

    def bidi(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self._mark(context)
        yield from requests

    def _mark(self, context: grpc.ServicerContext) -> None:
        asked = dict(context.invocation_metadata()).get("ask-bin", b"")
        context.set_trailing_metadata((("leaf", self._name), ("seen-bin", asked)))


def serve(
    name: str, wanted_port: int = 0, credentials: grpc.ServerCredentials | None = None
) -> tuple[grpc.Server, int]:
    """credentials: with them it speaks TLS."""
    echo = Echo(name)
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo.unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(echo.server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(echo.client_stream),
        "Bidi": grpc.stream_stream_rpc_method_handler(echo.bidi),
    }
    size = ("grpc.max_receive_message_length", 16 * 1024 * 1024)
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[size])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    address = f"127.0.0.1:{wanted_port}"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    return server, port


if __name__ == "__main__":
    servers = []
    secret = None
    if "TLS_CERT" in os.environ:  # and TLS_KEY: files
        pair = Path(os.environ["TLS_KEY"]).read_bytes(), Path(os.environ["TLS_CERT"]).read_bytes()
        secret = grpc.ssl_server_credentials([pair])
    for wanted in sys.argv[1:]:
        made, bound = serve(wanted, credentials=secret)
        servers.append(made)
        print(f"milliroute: listening {wanted} 127.0.0.1:{bound}", file=sys.stderr, flush=True)
    sys.stdin.read()
    for one in servers:
        one.stop(0)
