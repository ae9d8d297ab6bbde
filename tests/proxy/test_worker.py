"""The worker's end of the pipe: tables in force, counters up, and an end that loses no request."""

import asyncio
import os
import socket

import pytest

from milliroute.proxy import ipc
from milliroute.proxy.downstream import h1 as downstream
from milliroute.proxy.routing.leaf import Endpoint
from tests.proxy.backends import Origin, Visit, named
from tests.proxy.serving import Proxy, get, on_loop, post, serving, to, until
from tests.proxy.tables import authority, leaves, split

# Of a drain that ends for another reason, in seconds: no machine is so slow that it would be this one.
GRACE_S = 600.0


class Gate:
    """A script that answers when it is opened."""

    def __init__(self) -> None:
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self, visit: Visit) -> None:
        while await visit.request():
            await self._open.wait()
            await visit.answer(b"late")


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@on_loop
async def test_worker_says_that_it_listens() -> None:
    async with serving() as proxy:
        await until(lambda: ipc.Ready(os.getpid()) in proxy.said)


@on_loop
async def test_applied_names_the_version_that_is_in_force() -> None:
    async with Origin(named("v1")) as origin, serving() as proxy:
        applied = await proxy.update(to(origin))
        assert (applied.key, applied.epoch, applied.version, applied.error) == ("reviews.default", "e", 1, "")
        assert (await (await proxy.client()).get()).body == b"v1"


BAD_STATES = {
    "negative weight": leaves({"v1": [1], "v2": [2]}, 1, -1),
    "backend that is not there": authority([], split(1)),
}


@pytest.mark.parametrize("what", list(BAD_STATES))
@on_loop
async def test_state_that_cannot_be_routed_by_leaves_the_old_table_in_force(what: str) -> None:
    async with Origin(named("v1")) as origin, serving("fast", to(origin)) as proxy:
        client = await proxy.client()
        assert (await proxy.update(BAD_STATES[what])).error
        assert (await client.get()).body == b"v1"
        assert (await proxy.update(to(origin))).error == ""


@on_loop
async def test_what_was_counted_by_old_weights_is_reported_before_new_ones_are_applied() -> None:
    async with Origin(named("v1")) as origin, serving("fast", to(origin)) as proxy:
        await (await proxy.client()).get()
        applied = await proxy.update(leaves({"v1": [origin.port]}, 2))
        stats = [m for m in proxy.said if isinstance(m, ipc.Stats) and m.leaves]
        assert sum(leaf.requests for report in stats for leaf in report.leaves) == 1
        assert proxy.said.index(stats[-1]) < proxy.said.index(applied)


@on_loop
async def test_deltas_add_up_to_what_was_sent() -> None:
    async with (
        Origin(named("v1")) as v1,
        Origin(named("v2")) as v2,
        serving("fast", leaves({"v1": [v1.port], "v2": [v2.port]}, 3, 1)) as proxy,
    ):
        client = await proxy.client()
        sent = received = 0
        for number in range(40):
            wire = post(b"x" * number)
            await client.send(wire)
            sent += len(wire)
            received += len((await client.reply()).body)
            if number % 7 == 0:
                await proxy.counted()
        await proxy.counted()
        assert [proxy.totals(leaf).requests for leaf in ("v1", "v2")] == [30, 10]
        assert proxy.ledger.tcp["src"].read_bytes == sent
        assert (
            proxy.ledger.tcp["src"].write_bytes == 40 * len(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n") + received
        )
        assert proxy.ledger.tcp["dst"].write_bytes == sent


@on_loop
async def test_forgotten_authority_is_asked_for_again() -> None:
    async with Origin(named("v1")) as origin, serving("fast", to(origin), apex="") as proxy:
        client = await proxy.client()
        await client.get()
        await proxy.tell(ipc.Forget("reviews"))
        await until(origin.visits[0].reader.at_eof)
        await client.send(get())
        await until(lambda: ipc.Watch("reviews") in proxy.said)
        await proxy.update(to(origin))
        assert (await client.reply()).body == b"v1"


async def drained(proxy: Proxy) -> None:
    async with asyncio.timeout(60):
        await asyncio.shield(proxy.worker.done)


@on_loop
async def test_drain_without_connections_ends_the_worker() -> None:
    async with serving() as proxy:
        await proxy.tell(ipc.Drain(GRACE_S))
        await drained(proxy)


@on_loop
async def test_end_of_the_pipe_drains() -> None:
    gate = Gate()
    async with Origin(gate) as origin, serving("fast", to(origin), grace_s=GRACE_S) as proxy:
        client = await proxy.client()
        await client.send(get())
        await until(lambda: bool(origin.asked))
        proxy.pipe.shutdown(socket.SHUT_WR)
        await until(lambda: proxy.worker._context.is_draining)
        gate.open()
        assert (await client.reply()).fields["connection"] == "close"
        await drained(proxy)


@on_loop
async def test_draining_worker_finishes_what_runs_and_says_that_it_closes() -> None:
    gate = Gate()
    async with Origin(gate) as origin, serving("fast", to(origin)) as proxy:
        client = await proxy.client()
        await client.send(get())
        await until(lambda: bool(origin.asked))
        await proxy.tell(ipc.Drain(GRACE_S))
        await until(lambda: proxy.worker._context.is_draining)
        gate.open()
        reply = await client.reply()
        assert (reply.body, reply.fields["connection"]) == (b"late", "close")
        await drained(proxy)


@on_loop
async def test_request_on_its_way_when_draining_begins_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream, "DRAIN_IDLE_S", GRACE_S)
    async with Origin(named("v1")) as origin, serving("fast", to(origin)) as proxy:
        client = await proxy.client()
        await client.get()
        await proxy.tell(ipc.Drain(GRACE_S))
        await until(lambda: proxy.worker._context.is_draining)
        reply = await client.get()
        assert (reply.status, reply.fields["connection"]) == (200, "close")
        await drained(proxy)


@on_loop
async def test_connection_in_the_backlog_when_draining_begins_is_served() -> None:
    async with Origin(named("v1")) as origin, serving("fast", to(origin)) as proxy:
        waiting = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(3)]
        proxy.worker.drain(GRACE_S)
        for sock in waiting:
            reader, writer = await asyncio.open_connection(sock=sock)
            writer.write(get())
            assert (await reader.read()).endswith(b"\r\n\r\nv1")
            writer.close()
        await drained(proxy)


@on_loop
async def test_silent_connections_do_not_hold_a_drain_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream, "DRAIN_IDLE_S", 0.05)
    async with serving() as proxy:
        idle = await proxy.client()
        in_backlog = socket.create_connection(("127.0.0.1", proxy.port))
        proxy.worker.drain(GRACE_S)
        assert await idle.rest() == b""
        await drained(proxy)
        in_backlog.close()


@on_loop
async def test_drain_ends_at_the_end_of_its_grace() -> None:
    async with Origin(Gate()) as origin, serving("fast", to(origin)) as proxy:
        client = await proxy.client()
        await client.send(get())
        await until(lambda: bool(origin.asked))
        await proxy.tell(ipc.Drain(0.05))
        await drained(proxy)
        with pytest.raises(ConnectionResetError):
            await client.rest()


@on_loop
async def test_draining_worker_takes_no_new_connection() -> None:
    gate = Gate()
    async with Origin(gate) as origin, serving("fast", to(origin)) as proxy:
        client = await proxy.client()
        await client.send(get())
        await until(lambda: bool(origin.asked))
        proxy.worker.drain(GRACE_S)
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await proxy.client()
        gate.open()
        await client.reply()


@on_loop
async def test_error_in_the_sweep_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Origin(named("v1")) as origin, serving("fast", to(origin)) as proxy:
        swept: list[float] = []

        def broken(dialer: object) -> None:
            swept.append(1.0)
            if len(swept) == 1:
                raise RuntimeError("once")

        loop = asyncio.get_running_loop()
        handler = loop.get_exception_handler()
        reports: list[str] = []
        loop.set_exception_handler(lambda _, context: reports.append(str(context.get("exception"))))
        monkeypatch.setattr(type(proxy.worker._context), "sweep_parked", broken)
        await until(lambda: len(swept) > 2)
        loop.set_exception_handler(handler)
        assert reports == ["once"]


@on_loop
async def test_clients_that_come_and_go_leave_no_descriptor_behind() -> None:
    async with Origin(named("v1")) as origin, serving("fast", to(origin)) as proxy:
        await (await proxy.client()).get()
        await proxy.close_clients()
        before = open_descriptors()
        for _ in range(300):
            await (await proxy.client()).get()
            await proxy.close_clients()
        assert open_descriptors() <= before
        assert len(origin.visits) == 1


@on_loop
async def test_endpoint_taken_away_and_given_back_is_a_new_one() -> None:
    async with Origin(named("v1")) as v1, Origin(named("v2")) as v2, serving("fast", to(v1)) as proxy:
        client = await proxy.client()
        await client.get()
        old: Endpoint = proxy.endpoints()[0]
        await proxy.update(to(v2))
        await proxy.update(to(v1))
        assert proxy.endpoints()[0] is not old
        assert (await client.get()).body == b"v1"
        assert len(proxy.worker._context.dialer.pools) == 1
