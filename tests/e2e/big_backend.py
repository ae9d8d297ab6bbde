"""`python -m tests.e2e.big_backend NAME ...`: as tests.e2e.backend, but /big is answered with 4 MiB."""

import asyncio
import resource
import socket
import sys

import uvloop

from tests.e2e.backend import Backend, serve

MIB = 1024 * 1024
# More than the kernel holds for a slow reader.
_BIG = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (4 * MIB) + bytes(4 * MIB)


# Of each connection, in the kernel. Else it would take some MiB for each slow reader, and all of this machine would be
# out of memory for TCP: here it is that of both ends.
_SEND_BUFFER = 128 * 1024


class BigBackend(Backend):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET /big "):
            self._transport.write(_BIG)
        else:
            super().data_received(data)


def use_all_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    use_all_descriptors()
    uvloop.run(serve(sys.argv[1:], BigBackend))
