"""An HTTP/2 backend that answers the first request of each connection by what a case says, right or wrong."""

import asyncio

from milliroute.proxy.codec import h2_frames as fr
from tests.conformance.h2_text import End, Step
from tests.proxy.backends import Visit


class HostileBackend:
    """asked: requests that came to their end, over all connections."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = steps
        self.asked = 0

    async def __call__(self, visit: Visit) -> None:
        await visit.reader.readexactly(len(fr.PREFACE))
        await visit.send(fr.settings([]) + fr.SETTINGS_ACK)
        is_first = True
        while True:
            kind, flags, payload = await _frame(visit.reader)
            if kind == fr.PING and not flags & fr.ACK:
                await visit.send(fr.ping(payload, is_ack=True))
            if kind in (fr.HEADERS, fr.DATA) and flags & fr.END_STREAM:
                self.asked += 1
                if is_first:
                    is_first = False
                    if await self._answer(visit):
                        return

    async def _answer(self, visit: Visit) -> bool:
        """Whether it has ended the connection; in the cases the stream is 1."""
        for step in self._steps:
            match step:
                case End(is_reset):
                    if is_reset:
                        visit.reset()
                    return True
                case bytes():
                    await visit.send(step)
        return False


async def _frame(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    length_and_kind, flags, _ = fr.HEADER.unpack(await reader.readexactly(fr.HEADER_BYTES))
    return length_and_kind & 0xFF, flags, await reader.readexactly(length_and_kind >> 8)
