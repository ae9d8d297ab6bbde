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
from tests.proxy.fakes import CONFIG, FakeNursery, until

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


def test_the_listening_sockets_are_let_go_when_a_drain_begins() -> None:
    group = listening.open_group(HostPort("127.0.0.1", 0), 1)
    supervisor = Supervisor(CONFIG, [group])
    supervisor.drain()
    assert group[0].fileno() == -1
