"""Everything at once: backends that fail in every way by a seeded plan, clients that leave, tables that change.

No request may be lost by the bookkeeping: `serving` checks that each was counted and answered once and that nothing is
pending; here, that who is left out is known to be so, and that a quiet proxy keeps nothing.
"""

import asyncio
import random

import pytest
from h2.events import StreamEnded, StreamReset

from milliroute.proxy.config import Codec
from milliroute.proxy.state import AccrualState, AuthorityState, PolicyState
from tests.proxy.backends import Origin, Visit
from tests.proxy.failures import counting, trying
from tests.proxy.h2_backend import GRPC, Backend, Peer, h2_client, leftovers, speaking
from tests.proxy.h2_backend import Visit as H2Visit
from tests.proxy.serving import BOTH_CODECS, Client, Proxy, get, on_loop, post, serving, until
from tests.proxy.tables import leaves

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("codec", BOTH_CODECS)]

POLICY = PolicyState(
    retry_statuses=[(500, 599)],
    retry_grpc=[4, 14],
    retry_limit=3,
    retry_methods=["POST"],
    try_timeout_ms=20,
    request_timeout_ms=400,
)
ACCRUAL = AccrualState(max_failures=3, min_penalty_ms=20, max_penalty_ms=40)
CLIENTS, REQUESTS = 6, 25


def erratic(seed: int) -> Origin:
    rng = random.Random(seed)

    async def script(visit: Visit) -> None:
        while await visit.request():
            match rng.randrange(8):
                case 0:
                    await visit.answer(b"no", status="503 No")
                case 1:
                    visit.reset()
                    return
                case 2:
                    await visit.reader.read()  # silence
                case 3:
                    await visit.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
                    return
                case 4:
                    await visit.send(b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n")
                    await visit.reader.read()
                case _:
                    await visit.answer(b"yes")

    return Origin(script)


def erratic_h2(seed: int) -> Backend:
    rng = random.Random(seed)

    async def script(visit: H2Visit) -> None:
        while True:
            stream_id = (await visit.head()).stream_id or 0
            if not visit.all(StreamReset, stream_id):
                answer(visit, stream_id, rng.randrange(8))

    def answer(visit: H2Visit, stream_id: int, kind: int) -> None:
        match kind:
            case 0:
                visit.respond(stream_id, fields=[GRPC[0], ("grpc-status", "14")])
            case 1:
                visit.reset(stream_id, rng.choice([2, 7]))
            case 2:
                pass  # silence
            case 3:
                visit.respond(stream_id, b"half", [GRPC[0]], is_end=False)
                visit.reset(stream_id, 2)
            case 4 | 5:
                visit.respond(stream_id, fields=[GRPC[0]], is_end=False)
                visit.trail(stream_id, [("grpc-status", rng.choice(["0", "14"]))])
            case _:
                visit.respond(stream_id, b"yes", [GRPC[0]], is_end=False)
                visit.trail(stream_id, [("grpc-status", "0")])

    return Backend(script)


def state_of(ports: list[int], second: int) -> AuthorityState:
    return trying(counting(leaves({"v1": ports[:2], "v2": ports[2:]}, 3, second), ACCRUAL), POLICY)


def check_who_is_out(proxy: Proxy) -> None:
    waiting = proxy.worker._context.ejections.waiting
    for backend in proxy.worker._router.backends():
        for endpoint in backend.endpoints:
            accrual = endpoint.accrual
            assert accrual is not None
            is_out = endpoint in backend.out
            assert not is_out or accrual.is_out
            assert not (is_out and endpoint not in waiting), "out for ever: nobody probes it and no penalty runs"
            assert not (endpoint in waiting and not is_out)


async def ask(proxy: Proxy, rng: random.Random) -> None:
    client: Client | None = None
    for _ in range(REQUESTS):
        client = client or await proxy.client()
        await client.send(rng.choice([get(), post(b"body")]))
        if not rng.randrange(10):
            client.reset()
            client = None
            continue
        try:
            await client.reply()
        except (asyncio.IncompleteReadError, ConnectionError):  # a response that broke in its middle
            client = None


async def call(peer: Peer, rng: random.Random) -> None:
    for _ in range(REQUESTS):
        stream_id = peer.request([*GRPC, ("grpc-timeout", "300m")], method="POST")
        if not rng.randrange(10):
            peer.reset(stream_id, 8)
            continue
        while not any(
            getattr(e, "stream_id", 0) == stream_id and isinstance(e, StreamEnded | StreamReset) for e in peer.seen
        ):
            assert await peer.read()


@pytest.mark.parametrize("seed", range(2))
@on_loop
async def test_http1_in_every_way(codec: Codec, seed: int) -> None:
    async with erratic(seed) as one, erratic(seed + 10) as two, erratic(seed + 20) as three:
        ports = [one.port, two.port, three.port]
        async with serving(codec, state_of(ports, 1)) as proxy:
            asking = asyncio.gather(*(ask(proxy, random.Random(seed * 100 + n)) for n in range(CLIENTS)))
            for weight in range(10):
                await proxy.update(state_of(ports, weight % 3 + 1))
            await asking
            await proxy.close_clients()
            await until(lambda: leftovers(proxy) == [])
            check_who_is_out(proxy)


@pytest.mark.parametrize("seed", range(2))
@on_loop
async def test_calls_in_every_way(codec: Codec, seed: int) -> None:
    async with erratic_h2(seed) as one, erratic_h2(seed + 10) as two, erratic_h2(seed + 20) as three:
        ports = [one.port, two.port, three.port]

        def state(weight: int) -> AuthorityState:
            return speaking("kubernetes.io/h2c", state_of(ports, weight))

        async with serving(codec, state(1)) as proxy:
            peers = [await h2_client(proxy) for _ in range(CLIENTS)]
            calling = asyncio.gather(*(call(peer, random.Random(seed * 100 + n)) for n, peer in enumerate(peers)))
            for weight in range(10):
                await proxy.update(state(weight % 3 + 1))
            await calling
            await proxy.close_clients()
            await until(lambda: leftovers(proxy) == [])
            check_who_is_out(proxy)
