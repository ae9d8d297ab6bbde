"""`python -m tests.netns.backend NAME`: an app in a pod, on both families.

8080: HTTP/1.1, answers with its name, and with all header lines it got in the body of /echo. 3306, 7777: it speaks
first, its name and a line end, and ends. 9999: echoes bytes. 4567, 4568: says who asks.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

NAME = sys.argv[1]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        body = head if head.startswith(b"GET /echo ") else NAME.encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(NAME.encode() + b"\n")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host, port = writer.get_extra_info("peername")[:2]
    writer.write(f"{host} {port}\n".encode())


def bounded(serve: Serve) -> Serve:
    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
            if writer.can_write_eof():
                writer.write_eof()
        writer.close()

    return run


async def main() -> None:
    for port, serve in ((8080, web), (3306, greet), (7777, greet), (9999, echo), (4567, tell), (4568, tell)):
        for host in ("0.0.0.0", "::"):
            await asyncio.start_server(bounded(serve), host, port)
    print(f"milliroute: listening {NAME} [::]:8080", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
