"""The agent's end of a worker's pipe."""

import asyncio
import socket
from collections.abc import Callable, Coroutine

import pytest

from milliroute.proxy.agent.workerlink import WorkerLink
from milliroute.proxy.ipc import Alias, Ready, Up, Watch, encode
from tests.proxy.fakes import FakeWorker


class Owner:
    def __init__(self) -> None:
        self.heard: list[tuple[int, Up]] = []
        self.hangups: asyncio.Queue[int] = asyncio.Queue()

    def on_up(self, worker_id: int, message: Up) -> None:
        self.heard.append((worker_id, message))

    def on_hangup(self, worker_id: int) -> None:
        self.hangups.put_nowait(worker_id)


Scenario = Callable[[WorkerLink, FakeWorker, Owner], Coroutine[None, None, None]]


def play(scenario: Scenario) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        owner = Owner()
        link = WorkerLink(7, owner)
        link.send("early", Alias("early", "k"))
        await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
        await scenario(link, FakeWorker(theirs), owner)
        link.close()
        theirs.close()
        await asyncio.sleep(0)

    asyncio.run(run())


def test_what_was_sent_before_the_pipe_was_attached_arrives_first() -> None:
    async def scenario(link: WorkerLink, worker: FakeWorker, owner: Owner) -> None:
        link.send("late", Alias("late", "k"))
        assert await worker.hear(2) == [Alias("early", "k"), Alias("late", "k")]

    play(scenario)


def test_messages_before_the_end_are_heard_before_the_hangup() -> None:
    async def scenario(link: WorkerLink, worker: FakeWorker, owner: Owner) -> None:
        frames = encode(Ready(1)) + encode(Watch("reviews"))
        for at in range(len(frames)):
            await worker.say_bytes(frames[at : at + 1])
        worker.die()
        assert await owner.hangups.get() == 7
        assert owner.heard == [(7, Ready(1)), (7, Watch("reviews"))]

    play(scenario)


def test_a_worker_that_does_not_read_gets_the_newest_of_each_slot_in_the_end() -> None:
    async def scenario(link: WorkerLink, worker: FakeWorker, owner: Owner) -> None:
        filler = "x" * 10_000
        for version in range(2_000):
            link.send("only", Alias(f"{version}", filler))
        last = Alias("1999", filler)
        while last not in worker.told:
            await worker.hear()
        assert len(worker.told) < 200

    play(scenario)


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\x01\xc1"])
def test_a_worker_that_talks_nonsense_is_hung_up(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(link: WorkerLink, worker: FakeWorker, owner: Owner) -> None:
        await worker.say_bytes(data)
        assert await owner.hangups.get() == 7

    play(scenario)
    assert "worker 7" in caplog.text
