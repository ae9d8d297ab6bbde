"""Without a descriptor for one more connection nothing that was accepted is lost, and no endpoint is blamed."""

import errno

import pytest

from milliroute.proxy.config import Timeouts
from milliroute.proxy.guard.overload import RESERVED_FDS
from milliroute.proxy.routing.leaf import Endpoint
from milliroute.proxy.upstream.dialer import Dialer
from tests.proxy import tables
from tests.proxy.backends import Origin, Visit, named
from tests.proxy.failures import counting, outs
from tests.proxy.h2_backend import Backend, h2_client, over_h2, serving_h2
from tests.proxy.h2_backend import named as h2_named
from tests.proxy.serving import get, on_loop, serving, to, until
from tests.proxy.test_worker import Gate
from tests.proxy.tunnelling import BINARY, is_reset, telling

MANY = 10**9


class Starving:
    """In the place of a function that makes connections: so often there is no descriptor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, times: int) -> None:
        self.left = times
        original = getattr(owner, name)

        async def make(*args: object, **named: object) -> object:
            if self.left:
                self.left -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return await original(*args, **named)

        monkeypatch.setattr(owner, name, make)


@on_loop
async def test_a_request_waits_for_a_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    starving = Starving(monkeypatch, Dialer, "dial", 3)
    async with Origin(named("v1")) as origin, serving("fast", to(origin)) as proxy:
        assert (await (await proxy.client()).get()).body == b"v1"
        assert starving.left == 0


@on_loop
async def test_a_request_takes_a_connection_that_is_given_back_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    async with Origin(gate) as origin, serving("fast", to(origin), timeouts=Timeouts(connect_s=15.0)) as proxy:
        first, second = await proxy.client(), await proxy.client()
        await first.send(get())
        await until(lambda: bool(origin.asked))
        Starving(monkeypatch, Dialer, "dial", MANY)
        await second.send(get())
        await until(lambda: proxy.worker._context.dialer.starved_s > 0)
        gate.open()
        assert [(await one.reply()).status for one in (first, second)] == [200, 200]
        assert len(origin.visits) == 1


@on_loop
async def test_an_idle_connection_to_another_endpoint_is_closed_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Origin(named("v1")) as one, Origin(named("v2")) as two:
        state = tables.leaves({"v1": [one.port], "v2": [two.port]}, 1, 1)
        async with serving("fast", state) as proxy:
            client = await proxy.client()
            first = one if (await client.get()).body == b"v1" else two
            assert proxy.pooled() == 1
            starving = Starving(monkeypatch, Dialer, "dial", 1)
            assert (await client.get()).body == (b"v2" if first is one else b"v1")
            assert starving.left == 0
            await until(first.visits[0].reader.at_eof)


@on_loop
async def test_without_one_in_time_it_is_503_and_not_the_endpoints_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    Starving(monkeypatch, Dialer, "dial", MANY)
    async with Origin(named("v1")) as one, Origin(named("v2")) as two:
        state = counting(tables.leaves({"v1": [one.port], "v2": [two.port]}, 1, 1))
        async with serving("fast", state, timeouts=Timeouts(connect_s=0.05)) as proxy:
            reply = await (await proxy.client()).get()
            assert reply.status == 503
            assert reply.fields["l5d-proxy-error"].startswith("no file descriptor left to connect to 127.0.0.1:")
            assert outs(proxy) == []
            await proxy.counted()
            assert proxy.ledger.errors == {"descriptors": 1}


@on_loop
async def test_http2_requests_wait_for_a_descriptor_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # Here, because only what is open in this test is to be patched.
    from milliroute.proxy.upstream.h2 import H2Pool

    starving = Starving(monkeypatch, H2Pool, "_dial", 3)
    async with Backend(h2_named("v1")) as backend, serving_h2("fast", over_h2(backend)) as proxy:
        assert await (await h2_client(proxy)).get() == ("200", b"v1")
        assert starving.left == 0


@on_loop
async def test_a_tcp_connection_waits_for_a_descriptor_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Origin(telling("v1")) as origin, serving("fast", counting(to(origin))) as proxy:
        loop = proxy.worker._context.dialer.loop

        class Handing:
            """The loop, which cannot be patched, without descriptors for the first connections."""

            left = 3

            async def create_connection(self, *args: object) -> object:
                if self.left:
                    self.left -= 1
                    raise OSError(errno.EMFILE, "Too many open files")
                return await loop.create_connection(*args)  # type: ignore[call-overload]  # as it came

            def __getattr__(self, name: str) -> object:
                return getattr(loop, name)

        client = await proxy.client()
        monkeypatch.setattr(proxy.worker._context.dialer, "loop", Handing())
        await client.send(BINARY)
        assert await client.rest() == b"v1"
        monkeypatch.undo()
        assert outs(proxy) == []


@on_loop
async def test_tcp_without_a_descriptor_in_time_is_reset() -> None:
    async with Origin(telling("v1")) as origin:
        state = counting(to(origin))
        async with serving("fast", state, timeouts=Timeouts(connect_s=0.05)) as proxy:
            with pytest.MonkeyPatch.context() as patched:
                from milliroute.proxy.downstream.opaque import Tunnel

                async def starve(self: Tunnel, endpoint: Endpoint) -> None:
                    exc = OSError(errno.EMFILE, "Too many open files")
                    while True:
                        await self._context.dialer.await_descriptor(exc, endpoint.address)

                patched.setattr(Tunnel, "_dial", starve)
                client = await proxy.client()
                await client.send(BINARY)
                assert await is_reset(client)
            assert outs(proxy) == []
            assert proxy.worker._context.errors._counts == {"descriptors": 1}


@on_loop
async def test_a_limit_that_falls_while_we_run_makes_new_connections_wait_until_it_rises() -> None:
    async with Origin(named("v1")) as origin, serving("fast", to(origin), nofile=1000) as proxy:
        worker = proxy.worker
        kept = await proxy.client()
        assert (await kept.get()).status == 200
        worker._nofile = lambda: RESERVED_FDS + 2
        await until(lambda: worker._is_full)
        late = await proxy.client()  # into the backlog
        await late.send(get())
        assert (await kept.get()).status == 200
        assert len(worker._connections) == 1
        worker._nofile = lambda: 1000
        assert (await late.reply()).status == 200
        assert not worker._is_full


async def _other_trouble(visit: Visit) -> None:
    await visit.reader.read()


@on_loop
async def test_other_failures_to_connect_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise OSError(errno.ECONNREFUSED, "Connection refused")

    monkeypatch.setattr(Dialer, "dial", refuse)
    async with Origin(_other_trouble) as origin, serving("fast", counting(to(origin))) as proxy:
        assert (await (await proxy.client()).get()).status == 502
        assert proxy.worker._context.dialer.starved_s < 0
