# mypy: disable-error-code="call-arg"
"""`python -m tests.chaos.grpc_lanes PORT FILE LANES PAUSE_MS`: paced gRPC calls of all four kinds by grpcio.

They go on until standard input closes, against tests/e2e/grpc_backend.py. FILE gets a Record for each: protocol grpc,
the method's name, status 200 for OK with the right answer, else 0 and gRPC's word.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from time import time_ns

from grpc import aio

from tests.chaos import records
from tests.chaos.records import Record

MESSAGES = 10
DEADLINE_S = 10.0
KINDS = ("Unary", "ServerStream", "ClientStream", "Bidi")


async def _messages(text: bytes) -> AsyncIterator[bytes]:
    for _ in range(MESSAGES):
        yield text


async def _call(channel: "aio.Channel", kind: str, text: bytes) -> bool:
    """Whether the answer was right."""
    path = f"/test.Echo/{kind}"
    if kind == "Unary":
        return bytes(await channel.unary_unary(path)(text, timeout=DEADLINE_S)) == text
    if kind == "ServerStream":
        answers = channel.unary_stream(path)(b"%d" % MESSAGES, timeout=DEADLINE_S)
        return [bytes(answer) async for answer in answers] == [b"%d" % number for number in range(MESSAGES)]
    if kind == "ClientStream":
        answer = await channel.stream_unary(path)(_messages(text), timeout=DEADLINE_S)
        return bytes(answer) == b"%d" % (MESSAGES * len(text))
    echoes = channel.stream_stream(path)(_messages(text), timeout=DEADLINE_S)
    return [bytes(echo) async for echo in echoes] == [text] * MESSAGES


async def _one(channel: "aio.Channel", kind: str, number: int) -> Record:
    sent_ns, status, error = time_ns(), 200, ""
    try:
        if not await _call(channel, kind, b"message %d" % number):
            status, error = 0, "a wrong answer"
    except aio.AioRpcError as exc:
        status, error = 0, f"{exc.code().name} {exc.details()}"
    return Record("grpc", kind, f"/{number}", sent_ns, time_ns(), status, "", error)


async def _main(port: int, lanes: int, pause_s: float) -> list[Record]:
    found: list[Record] = []
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    channel = aio.insecure_channel(f"127.0.0.1:{port}")
    print("milliroute: listening load 127.0.0.1:0", file=sys.stderr, flush=True)

    async def lane(number: int) -> None:
        while not ended.is_set():
            found.append(await _one(channel, KINDS[number % len(KINDS)], number))
            number += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await ended.wait()

    async with asyncio.TaskGroup() as group:
        for number in range(lanes):
            group.create_task(lane(number))
    await channel.close(None)
    return found


if __name__ == "__main__":
    records.write(Path(sys.argv[2]), asyncio.run(_main(int(sys.argv[1]), int(sys.argv[3]), float(sys.argv[4]) / 1000)))
