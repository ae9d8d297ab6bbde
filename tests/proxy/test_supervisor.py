"""Workers are kept alive, drained or killed."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace

import pytest

from milliroute.proxy.agent import listening
from milliroute.proxy.agent.supervisor import Supervisor
from milliroute.proxy.config import HostPort
from milliroute.proxy.ipc import Alias, Down, Drain, Ready, Up
from tests.proxy.fakes import CONFIG, FakeNursery, FakeWorker, until

TABLE = Alias("reviews", "reviews.default")


class Owner:
    def __init__(self) -> None:
        self.heard: list[Up] = []
        self.gone: list[int] = []

    def on_up(self, worker_id: int, message: Up) -> None:
        self.heard.append(message)

    def on_gone(self, worker_id: int) -> None:
        self.gone.append(worker_id)

    def replay(self) -> Iterable[tuple[str, Down]]:
        return [("alias reviews", TABLE)]


Scenario = Callable[[Supervisor, FakeNursery, Owner], Coroutine[None, None, None]]


def play(scenario: Scenario, workers: int = 2) -> None:
    async def run() -> None:
        group = listening.open_group(HostPort("127.0.0.1", 0), workers)
        nursery, owner = FakeNursery(), Owner()
        config = replace(CONFIG, grace_s=0.0)
        supervisor = Supervisor(config, [[sock] for sock in group], nursery.spawn)
        await supervisor.start(owner)
        await scenario(supervisor, nursery, owner)
        supervisor.drain()
        for worker in nursery.workers:
            worker.die(0)
        await supervisor.wait()

    asyncio.run(run())


def test_a_worker_that_dies_is_replaced_and_told_all_tables_first(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(supervisor: Supervisor, nursery: FakeNursery, owner: Owner) -> None:
        nursery.workers[0].die()
        await until(lambda: len(nursery.workers) == 3)
        assert await nursery.workers[2].hear() == [TABLE]
        assert (owner.gone, supervisor.restarts, supervisor.live_ids) == ([0], 1, [1, 2])

    play(scenario)
    assert caplog.text.count("(SIGKILL): restarting") == 1


def test_all_are_ready_when_each_worker_said_so_and_a_successor_too() -> None:
    async def scenario(supervisor: Supervisor, nursery: FakeNursery, owner: Owner) -> None:
        await nursery.workers[0].say(Ready(1))
        await until(lambda: len(owner.heard) == 1)
        assert not supervisor.are_all_ready
        await nursery.workers[1].say(Ready(2))
        await until(lambda: supervisor.are_all_ready)
        nursery.workers[0].die()
        await until(lambda: len(nursery.workers) == 3)
        assert not supervisor.are_all_ready

    play(scenario)


def test_a_message_for_all_reaches_all() -> None:
    async def scenario(supervisor: Supervisor, nursery: FakeNursery, owner: Owner) -> None:
        supervisor.broadcast("x", Alias("x", "k"))
        for worker in nursery.workers:
            assert await worker.hear(2) == [TABLE, Alias("x", "k")]

    play(scenario)


def test_a_drain_tells_the_workers_and_restarts_none() -> None:
    async def scenario(supervisor: Supervisor, nursery: FakeNursery, owner: Owner) -> None:
        supervisor.drain()
        for worker in nursery.workers:
            assert (await worker.hear(2))[-1] == Drain(0.0)
            worker.die(0)
        await supervisor.wait()
        assert len(nursery.workers) == 2
        assert supervisor.live_ids == []

    play(scenario)


def test_a_worker_that_dies_in_a_drain_is_not_replaced(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(supervisor: Supervisor, nursery: FakeNursery, owner: Owner) -> None:
        supervisor.drain()
        nursery.workers[0].die()
        nursery.workers[1].die(0)
        await supervisor.wait()
        assert supervisor.restarts == 0

    play(scenario)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def _takes_over(nursery: FakeNursery, old: FakeWorker, count: int) -> FakeWorker:
    """The count-th worker comes up, and the old one is told to go."""
    await until(lambda: len(nursery.workers) == count)
    new = nursery.workers[-1]
    assert await new.hear() == [TABLE]
    await new.say(Ready(count))
    assert (await old.hear(2))[-1] == Drain(0.0)
    return new


def test_workers_are_replaced_one_by_one_each_when_its_successor_is_ready(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(supervisor: Supervisor, nursery: FakeNursery, owner: Owner) -> None:
        first, second = nursery.workers
        supervisor.replace_all()
        await _takes_over(nursery, first, 3)
        first.die(0)
        await _takes_over(nursery, second, 4)
        second.die(0)
        await until(lambda: supervisor.live_ids == [2, 3])
        await until(lambda: "replaced 2 workers" in caplog.text)
        assert (supervisor.are_all_ready, supervisor.restarts, len(nursery.workers)) == (True, 0, 4)

    caplog.set_level(logging.INFO)
    play(scenario)


def test_a_successor_that_does_not_come_up_replaces_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(supervisor: Supervisor, nursery: FakeNursery, owner: Owner) -> None:
        supervisor.replace_all()
        await until(lambda: len(nursery.workers) == 3)
        nursery.workers[2].die(1)
        await until(lambda: "did not come up" in caplog.text)
        await until(lambda: not supervisor._tasks)
        assert (supervisor.live_ids, supervisor.restarts, len(nursery.workers)) == ([0, 1], 0, 3)
        assert await nursery.workers[0].hear() == [TABLE]

    play(scenario)


def test_a_worker_that_dies_while_it_is_replaced_has_one_successor() -> None:
    async def scenario(supervisor: Supervisor, nursery: FakeNursery, owner: Owner) -> None:
        supervisor.replace_all()
        await until(lambda: len(nursery.workers) == 3)
        nursery.workers[0].die()
        await until(lambda: owner.gone == [0])
        await nursery.workers[2].say(Ready(3))
        await until(lambda: len(nursery.workers) == 4)
        await nursery.workers[3].say(Ready(4))
        nursery.workers[1].die(0)
        await until(lambda: not supervisor._tasks)
        assert (supervisor.live_ids, supervisor.restarts) == ([2, 3], 0)

    play(scenario)


def test_a_second_order_while_workers_are_replaced_replaces_them_once_more() -> None:
    async def scenario(supervisor: Supervisor, nursery: FakeNursery, owner: Owner) -> None:
        supervisor.replace_all()
        await until(lambda: len(nursery.workers) == 2)
        supervisor.replace_all()
        supervisor.replace_all()
        await nursery.workers[1].say(Ready(2))
        await until(lambda: len(nursery.workers) == 3)
        await nursery.workers[2].say(Ready(3))
        await until(lambda: supervisor._workers[1].is_retiring)
        nursery.workers[0].die(0)
        nursery.workers[1].die(0)
        await until(lambda: not supervisor._tasks)
        assert (supervisor.live_ids, len(nursery.workers)) == ([2], 3)

    play(scenario, workers=1)


def test_the_listening_sockets_are_let_go_when_a_drain_begins() -> None:
    group = listening.open_group(HostPort("127.0.0.1", 0), 1)
    supervisor = Supervisor(CONFIG, [group])
    supervisor.drain()
    assert group[0].fileno() == -1
