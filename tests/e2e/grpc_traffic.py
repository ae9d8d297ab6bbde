# mypy: disable-error-code="call-arg"
"""`python -m tests.e2e.grpc_traffic PORT CALLS FILE`: unary gRPC load at full speed until its standard input closes.

So many calls run at once, each after the one before it, on one connection for every 50. FILE gets the records of
tests/e2e/traffic.py: status 200 for OK, else gRPC's code; the body is the leaf that answered, or the error's details.
"""

import asyncio
import sys
from pathlib import Path
from time import time_ns

import msgspec
from grpc import aio

CALLS_PER_CONNECTION = 50


async def _call_on_and_on(
    channel: "aio.Channel", number: int, records: list[tuple[int, int, int, str]], ended: asyncio.Event
) -> None:
    unary = channel.unary_unary("/test.Echo/Unary")
    while not ended.is_set():
        message, sent_ns = b"%d %d" % (number, len(records)), time_ns()
        call = unary(message, timeout=60)
        try:
            answer = await call
        except aio.AioRpcError as exc:
            records.append((sent_ns, time_ns(), exc.code().value[0], exc.details() or ""))
            continue
        done_ns = time_ns()
        assert answer == message, f"sent {message!r}, got the answer {answer!r}"
        leaf = dict(await call.trailing_metadata())["leaf"]
        records.append((sent_ns, done_ns, 200, str(leaf)))


async def _main(port: int, calls: int) -> bytes:
    records: list[tuple[int, int, int, str]] = []
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    options = (("grpc.use_local_subchannel_pool", 1),)
    channels = [aio.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(-(-calls // CALLS_PER_CONNECTION))]
    for channel in channels:  # which takes grpcio seconds on a full machine
        await asyncio.wait_for(channel.channel_ready(), 60)
    print("milliroute: listening load 127.0.0.1:0", file=sys.stderr, flush=True)
    async with asyncio.TaskGroup() as group:
        for number in range(calls):
            group.create_task(_call_on_and_on(channels[number % len(channels)], number, records, ended))
    for channel in channels:
        await channel.close(None)
    return msgspec.msgpack.encode(records)


if __name__ == "__main__":
    Path(sys.argv[3]).write_bytes(asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]))))
