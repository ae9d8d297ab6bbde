"""From an answer of the control service to Ack, through workers that are fakes."""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from milliroute.proxy.agent import listening
from milliroute.proxy.agent.agent import Agent
from milliroute.proxy.agent.destination import Hello
from milliroute.proxy.agent.discovery import Discovery, State
from milliroute.proxy.agent.keeper import Keeper
from milliroute.proxy.agent.statedir import StateDir
from milliroute.proxy.agent.supervisor import Supervisor
from milliroute.proxy.config import HostPort, Sidecar
from milliroute.proxy.ipc import Alias, Applied, Down, Forget, Ready, Update, Watch
from tests.proxy.fakes import CONFIG, FakeControl, FakeNursery, FakeWorker, resolved_message, state_message, until
from tests.proxy.samples import leaf_delta, stats

KEY = "reviews.default"


@dataclass
class Stage:
    """A whole agent between a fake control service and two fake workers."""

    agent: Agent
    control: FakeControl
    nursery: FakeNursery
    discovery: Discovery
    running: "asyncio.Task[int]"

    async def steer(self, version: int, *weights: int) -> None:
        """Resolves the apex and publishes a table."""
        self.control.answer(resolved_message("reviews", KEY))
        self.control.answer(state_message(KEY, version, weights=weights or (1,)))

    async def verdict(self) -> tuple[str, int]:
        """The next Ack or Nack."""
        while True:
            request = await self.control.requests.get()
            if request.WhichOneof("kind") == "ack":
                return "ack", request.ack.version
            if request.WhichOneof("kind") == "nack":
                return request.nack.reason, request.nack.version


Scenario = Callable[[Stage], Coroutine[None, None, None]]


def play(scenario: Scenario, state_dir: Path | None = None, *, has_control: bool = True) -> None:
    async def run() -> None:
        control, nursery = FakeControl(), FakeNursery()
        port = await control.start()
        if not has_control:
            await control.stop()
        group = listening.open_group(HostPort("127.0.0.1", 0), 2)
        config = replace(CONFIG, grace_s=0.0, destination=f"127.0.0.1:{port}")
        supervisor = Supervisor(config, [[sock] for sock in group], nursery.spawn)
        store = StateDir(str(state_dir)) if state_dir else None
        agent = Agent(config, supervisor, Keeper(store) if store else None)
        if store:
            agent.load(store.load()[0], 0)
        hello = Hello("proxy-1", "default", "")
        discovery = Discovery(config.destination, hello, agent, now_s=time.monotonic, unix_ns=lambda: 7, rng=Random(1))
        stage = Stage(agent, control, nursery, discovery, asyncio.ensure_future(agent.run(discovery, None)))
        try:
            await until(lambda: len(nursery.workers) == 2)
            await asyncio.wait_for(scenario(stage), 90)
        finally:
            agent.request_shutdown()
            for worker in nursery.workers:
                worker.die(0)
            assert await stage.running == 0
            if has_control:
                await control.stop()

    asyncio.run(run())


async def apply(worker: FakeWorker, error: str = "") -> Update:
    """Hears the next table and answers it."""
    while True:
        (message,) = await hear_one(worker)
        if isinstance(message, Update):
            await worker.say(Applied(message.key, message.epoch, message.version, 5_000, error))
            return message


async def hear_one(worker: FakeWorker) -> list[Down]:
    """One message that was not looked at yet."""
    if not worker.unread:
        worker.unread.extend(await worker.hear())
    return [worker.unread.pop(0)]


def test_a_version_is_acked_when_the_last_worker_applied_it() -> None:
    async def scenario(stage: Stage) -> None:
        first, second = stage.nursery.workers
        await stage.steer(3)
        assert (await apply(first)).version == 3
        assert not stage.agent.catalog.is_answered("reviews")
        await apply(second)
        assert await stage.verdict() == ("ack", 3)
        assert stage.agent.catalog.is_answered("reviews")

    play(scenario)


def test_a_worker_that_cannot_apply_makes_a_nack_with_its_reason() -> None:
    async def scenario(stage: Stage) -> None:
        first, second = stage.nursery.workers
        await stage.steer(3)
        await apply(first)
        await apply(second, "bad regex")
        assert await stage.verdict() == ("bad regex", 3)

    play(scenario)


def test_a_name_that_a_worker_asks_for_is_subscribed_once_and_answered_to_all() -> None:
    async def scenario(stage: Stage) -> None:
        first, second = stage.nursery.workers
        await until(lambda: stage.discovery.state == "connected")
        for worker in (first, second):
            await worker.say(Watch("ratings"))
        await until(lambda: "ratings" in stage.agent.catalog.wanted)
        stage.control.answer(resolved_message("ratings", "ratings.default"))
        for worker in (first, second):
            assert Alias("ratings", "ratings.default") in await worker.hear()
        asked = [stage.control.requests.get_nowait() for _ in range(stage.control.requests.qsize())]
        assert [request.subscribe.authority for request in asked].count("ratings") == 1

    play(scenario)


def test_the_same_version_after_a_reconnect_is_acked_again() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.steer(3)
        for worker in stage.nursery.workers:
            await apply(worker)
        assert await stage.verdict() == ("ack", 3)
        stage.control.hang_up()
        await stage.steer(3)
        assert await stage.verdict() == ("ack", 3)

    play(scenario)


def test_a_successor_of_a_dead_worker_is_fed_and_its_table_needs_no_second_ack() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.steer(3)
        for worker in stage.nursery.workers:
            await apply(worker)
        assert await stage.verdict() == ("ack", 3)
        stage.nursery.workers[0].die()
        await until(lambda: len(stage.nursery.workers) == 3)
        assert (await apply(stage.nursery.workers[2])).version == 3
        await stage.steer(4)
        for worker in stage.nursery.workers[1:]:
            await apply(worker)
        assert await stage.verdict() == ("ack", 4)

    play(scenario)


def test_ready_means_workers_listening_and_a_table_for_every_apex_and_not_draining() -> None:
    async def scenario(stage: Stage) -> None:
        agent = stage.agent
        await stage.steer(3)
        for worker in stage.nursery.workers:
            await apply(worker)
        await stage.verdict()
        assert not agent.is_ready()
        for worker in stage.nursery.workers:
            await worker.say(Ready(1))
        await until(agent.is_ready)
        agent.request_drain()
        assert not agent.is_ready()

    play(scenario)


def test_counts_of_a_split_begin_anew_when_new_weights_are_in_force() -> None:
    async def scenario(stage: Stage) -> None:
        first, second = stage.nursery.workers
        for version, weights in ((1, (9, 1)), (2, (5, 5))):
            await stage.steer(version, *weights)
            for worker in (first, second):
                await worker.say(stats(leaf_delta("b0", 4, split="s", authority=KEY)))
                await apply(worker)
            assert await stage.verdict() == ("ack", version)
        (view,) = stage.agent.splits().authorities
        assert [leaf.requests for leaf in view.splits[0].leaves] == [0, 0]

    play(scenario)


def test_an_unknown_name_is_forgotten_by_the_workers_too() -> None:
    async def scenario(stage: Stage) -> None:
        worker = stage.nursery.workers[0]
        await worker.say(Watch("gone"))
        await until(lambda: "gone" in stage.agent.catalog.wanted)
        stage.agent.expire(1e12)
        assert Forget("gone") in await worker.hear()

    play(scenario)


def test_a_sidecar_forgets_what_is_idle_only_while_somebody_would_answer_anew() -> None:
    async def scenario(stage: Stage) -> None:
        agent = stage.agent
        agent.config = replace(agent.config, sidecar=Sidecar())
        await stage.nursery.workers[0].say(Watch("10.96.0.7:80"))
        await until(lambda: "10.96.0.7:80" in agent.catalog.wanted)
        stage.control.answer(resolved_message("10.96.0.7:80", "ratings.default"))
        stage.control.answer(state_message("ratings.default", 1, weights=(1,)))
        await until(lambda: "ratings.default" in agent.catalog.entries)
        states: list[tuple[State, bool]] = [("disconnected", True), ("connected", False)]
        for state, is_kept in states:
            stage.discovery.state = state
            agent.expire(1e12)
            assert ("10.96.0.7:80" in agent.catalog.wanted) is is_kept

    play(scenario)


def test_a_proxy_restarted_without_its_control_service_serves_the_tables_on_disk(tmp_path: Path) -> None:
    async def before(stage: Stage) -> None:
        await stage.steer(3)
        for worker in stage.nursery.workers:
            await apply(worker)
        await stage.verdict()

    async def after(stage: Stage) -> None:
        for worker in stage.nursery.workers:
            assert (await apply(worker)).version == 3
            await worker.say(Ready(1))
        await until(stage.agent.is_ready)
        entry = stage.agent.catalog.entries[KEY]
        assert entry.newest.is_from_disk

    play(before, tmp_path)
    play(after, tmp_path, has_control=False)


def test_a_second_signal_is_not_polite() -> None:
    async def run() -> int:
        nursery = FakeNursery()
        group: list[list[socket.socket]] = [[]]
        supervisor = Supervisor(replace(CONFIG, grace_s=60.0), group, nursery.spawn)
        agent = Agent(CONFIG, supervisor, None)
        hello = Hello("proxy-1", "default", "")
        discovery = Discovery("127.0.0.1:1", hello, agent, now_s=lambda: 0.0, unix_ns=lambda: 0, rng=Random(1))
        running = asyncio.ensure_future(agent.run(discovery, None))
        await until(lambda: bool(supervisor.live_ids))
        agent.on_signal()
        agent.on_signal()
        assert nursery.workers[0].child.was_killed
        nursery.workers[0].die()
        return await running

    assert asyncio.run(run()) == 1
