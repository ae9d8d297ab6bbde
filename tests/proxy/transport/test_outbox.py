"""Each connection that was marked is flushed once a turn, whatever becomes of the others."""

import asyncio

from milliroute.proxy.transport.outbox import Outbox
from tests.proxy.serving import on_loop


class Link:
    def __init__(self, *, is_broken: bool = False) -> None:
        self.is_dirty = False
        self.flushed = 0
        self._is_broken = is_broken

    def flush(self) -> None:
        self.flushed += 1
        if self._is_broken:
            raise OSError("of one connection")


@on_loop
async def test_a_connection_is_flushed_once_a_turn_however_often_it_is_marked() -> None:
    outbox, link = Outbox(asyncio.get_running_loop()), Link()
    for turn in (1, 2):
        outbox.mark(link)
        outbox.mark(link)
        await asyncio.sleep(0)
        assert link.flushed == turn


@on_loop
async def test_an_error_of_one_connection_keeps_no_other_from_its_turn() -> None:
    loop, reports = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _, context: reports.append(context["exception"]))
    outbox, links = Outbox(loop), [Link(), Link(is_broken=True), Link()]
    for turn in (1, 2):
        for link in links:
            outbox.mark(link)
        await asyncio.sleep(0)
        assert [link.flushed for link in links] == [turn] * 3
    assert len(reports) == 2
