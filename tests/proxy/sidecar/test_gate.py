"""What a sidecar does with a connection, by where it was going; tests/netns has the real redirections."""

import pytest
from h2.events import StreamEnded

from milliroute.proxy import ipc
from milliroute.proxy.config import Codec, InboundDefault, Sidecar, Timeouts
from milliroute.proxy.exchange import context
from milliroute.proxy.sidecar import original
from milliroute.proxy.sidecar.original import Target
from milliroute.proxy.sidecar.roles import MAX_INBOUND_PORTS, Inbound
from milliroute.proxy.state import AuthorityState, GuardState
from tests.proxy import h2_backend, tables
from tests.proxy.backends import Origin, Visit, named
from tests.proxy.downstream.test_h2 import connect, over_http1
from tests.proxy.serving import BOTH_CODECS, Proxy, on_loop, serving, to, until
from tests.proxy.tunnelling import declared, echo, greeting, is_reset

CLUSTER_IP = Target("10.96.0.7", 80)
KEY = "reviews.default:80"
# No request, and one that would be refused.
ODD_BYTES = b"GET / HTTP/1.1\nHost:  x\n\n\n\0\1\xff"


def going_to(patch: pytest.MonkeyPatch, target: Target | None) -> None:
    """From now on every connection was redirected from there."""
    patch.setattr(original, "original_destination", lambda sock: target)


def at(origin: Origin) -> Target:
    return Target("127.0.0.1", origin.port)


async def know(proxy: Proxy, state: AuthorityState | None, target: Target = CLUSTER_IP) -> None:
    await proxy.update(state, str(target), KEY)


def asked(proxy: Proxy) -> list[str]:
    return [said.authority for said in proxy.said if isinstance(said, ipc.Watch)]


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_the_dialled_address_decides_and_not_what_the_request_names(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_to(monkeypatch, CLUSTER_IP)
    async with Origin(named("v1")) as one, Origin(named("v2")) as two:
        state = tables.leaves({"v1": [one.port], "v2": [two.port]}, 900_000, 100_000)
        async with serving(codec, sidecar=Sidecar(), side="outbound") as proxy:
            await know(proxy, state)
            client = await proxy.client()
            bodies = [(await client.get(host=f"other-{n}.example")).body for n in range(100)]
    assert (bodies.count(b"v1"), bodies.count(b"v2")) == (90, 10)
    heads = {asked.head for asked in (*one.asked, *two.asked)}
    assert heads == {b"GET / HTTP/1.1\r\nhost: other-%d.example\r\n\r\n" % n for n in range(100)}


@on_loop
async def test_the_first_bytes_wait_for_the_answer_also_when_the_client_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going_to(monkeypatch, CLUSTER_IP)
    async with Origin(named("v1")) as origin, serving(sidecar=Sidecar(), side="outbound") as proxy:
        clients = [await proxy.client() for _ in range(3)]
        for client in clients:
            await client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        clients[0].half_close()
        await until(lambda: asked(proxy) == [str(CLUSTER_IP)])  # once
        await know(proxy, to(origin))
        assert [(await client.reply()).body for client in clients] == [b"v1"] * 3
        assert await clients[0].rest() == b""


@on_loop
async def test_who_leaves_while_nothing_is_known_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    going_to(monkeypatch, CLUSTER_IP)
    async with serving(sidecar=Sidecar(), side="outbound") as proxy:
        client = await proxy.client()
        await until(lambda: bool(proxy.worker._context.parked))
        client.reset()
        await until(lambda: not (proxy.worker._context.parked or proxy.worker._connections))


@on_loop
async def test_an_unknown_address_is_passed_byte_for_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Origin(echo) as origin, serving(sidecar=Sidecar(), side="outbound") as proxy:
        going_to(monkeypatch, at(origin))
        await know(proxy, None, at(origin))
        client = await proxy.client()
        await client.send(ODD_BYTES)
        client.half_close()
        assert await client.rest() == ODD_BYTES


@on_loop
async def test_an_unknown_address_that_refuses_resets_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Origin(echo) as origin:
        gone = at(origin)
    going_to(monkeypatch, gone)
    async with serving(sidecar=Sidecar(), side="outbound") as proxy:
        await know(proxy, None, gone)
        assert await is_reset(await proxy.client())
        await proxy.counted()
        assert proxy.ledger.errors == {"connect": 1}


@on_loop
async def test_without_an_answer_in_time_it_passes_untouched_and_nobody_waits_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timeouts = Timeouts(discovery_s=0.03)
    async with Origin(echo) as origin, Origin(named("v1")) as v1:
        going_to(monkeypatch, at(origin))
        async with serving(sidecar=Sidecar(), side="outbound", timeouts=timeouts) as proxy:
            for _ in range(2):
                client = await proxy.client()
                await client.send(ODD_BYTES)
                assert await client.reader.readexactly(len(ODD_BYTES)) == ODD_BYTES
                assert not proxy.worker._context.parked
            # The second one asked for whoever comes next, in case that the first question was lost.
            await until(lambda: asked(proxy) == [str(at(origin))] * 2)
            await know(proxy, to(v1), at(origin))
            assert (await (await proxy.client()).get()).body == b"v1"


@pytest.mark.parametrize(("port", "protocol"), [(3306, ""), (80, "linkerd.io/opaque"), (80, "TCP")])
@on_loop
async def test_an_opaque_port_is_not_looked_into(port: int, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target("10.96.0.7", port)
    going_to(monkeypatch, target)
    async with Origin(greeting) as origin, serving(sidecar=Sidecar(), side="outbound") as proxy:
        await know(proxy, declared(protocol, origin), target)
        client = await proxy.client()
        assert await client.reader.readline() == b"220 ready\r\n"
        await client.send(ODD_BYTES)
        assert await client.reader.readexactly(len(ODD_BYTES)) == ODD_BYTES


@on_loop
async def test_a_service_that_says_http_is_looked_into_on_any_port(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target("10.96.0.7", 3306)
    going_to(monkeypatch, target)
    async with Origin(named("v1")) as origin, serving(sidecar=Sidecar(), side="outbound") as proxy:
        await know(proxy, declared("http", origin), target)
        client = await proxy.client()
        assert [(await client.get()).body for _ in range(2)] == [b"v1", b"v1"]


@on_loop
async def test_a_silent_client_is_taken_to_wait_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    going_to(monkeypatch, CLUSTER_IP)
    async with Origin(greeting) as origin, serving(sidecar=Sidecar(detect_s=0.05), side="outbound") as proxy:
        await know(proxy, to(origin))
        assert await (await proxy.client()).reader.readline() == b"220 ready\r\n"


@on_loop
async def test_a_client_between_two_requests_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    going_to(monkeypatch, CLUSTER_IP)
    async with Origin(named("v1")) as origin, serving(sidecar=Sidecar(detect_s=0.8), side="outbound") as proxy:
        await know(proxy, to(origin))
        client = await proxy.client()
        await client.get()
        (downstream,) = proxy.downstreams()
        downstream.check_time(proxy.worker._context.now + 1.0)
        assert (await client.get()).body == b"v1"


@on_loop
async def test_an_app_that_speaks_tls_itself_passes_whatever_the_service_declares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going_to(monkeypatch, CLUSTER_IP)
    hello = b"\x16\x03\x01\x00\x05hello"
    async with Origin(echo) as origin, serving(sidecar=Sidecar(), side="outbound") as proxy:
        await know(proxy, declared("https", origin))
        client = await proxy.client()
        await client.send(hello)
        assert await client.reader.readexactly(len(hello)) == hello


@pytest.mark.parametrize("side", ["outbound", "inbound"])
@on_loop
async def test_a_connection_to_the_proxy_itself_goes_nowhere(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(sidecar=Sidecar(), side="inbound" if side == "inbound" else "outbound") as proxy:
        for target in (None, Target("127.0.0.1", proxy.port)):
            going_to(monkeypatch, target)
            client, binary = await proxy.client(), await proxy.client()
            assert (await client.get()).status == 508
            await binary.send(b"\0\1\2")
            assert await binary.rest() == b""
        prefix = "inbound " if side == "inbound" else ""
        await proxy.counted()
        assert proxy.ledger.errors == {f"{prefix}loop": 4}


OVERRIDE = "l5d-dst-override: Ratings:80"


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_in_ingress_mode_a_field_decides_for_each_request(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    going_to(monkeypatch, CLUSTER_IP)
    async with (
        Origin(named("v1")) as origin,
        Origin(named("ratings")) as ratings,
        serving(codec, sidecar=Sidecar(is_ingress=True), side="outbound") as proxy,
    ):
        await know(proxy, to(origin))
        await proxy.update(to(ratings), "ratings:80", "ratings.default:80")
        client = await proxy.client()
        assert (await client.get("/", OVERRIDE)).body == b"ratings"
        assert (await client.get()).body == b"v1"
        assert (await client.get("/", OVERRIDE)).body == b"ratings"
        assert (await client.get("/", OVERRIDE, OVERRIDE)).status == 400
    assert all("l5d" not in one.head.decode().lower() for one in ratings.asked)


@on_loop
async def test_elsewhere_that_field_decides_nothing_and_goes_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    going_to(monkeypatch, CLUSTER_IP)
    async with Origin(named("v1")) as origin, serving(sidecar=Sidecar(), side="outbound") as proxy:
        await know(proxy, to(origin))
        assert (await (await proxy.client()).get("/", OVERRIDE)).body == b"v1"
    assert origin.asked[0].field("l5d-dst-override") == ""


@pytest.mark.parametrize(("default", "status"), [("all-unauthenticated", 200), ("deny", 403)])
@on_loop
async def test_inbound_the_default_policy_holds_until_the_control_service_has_answered(
    default: InboundDefault, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar, timeouts = Sidecar(inbound_default=default, workload="web"), Timeouts(discovery_s=0.03)
    async with Origin(named("app")) as app, serving(sidecar=sidecar, side="inbound", timeouts=timeouts) as proxy:
        going_to(monkeypatch, at(app))
        client = await proxy.client()
        assert (await client.get()).status == status
        (authority,) = asked(proxy)
        assert authority == f"inbound:{at(app)}"
        answered = to(app) if default == "deny" else denied(app)
        await proxy.update(answered, authority, f"{authority}?=default&app=web")
        assert (await client.get()).status == (403 if status == 200 else 200)


def denied(app: Origin) -> AuthorityState:
    state = to(app)
    return AuthorityState(
        state.name, state.namespace, state.backends, state.routes, access=[GuardState("default", "deny")]
    )


@on_loop
async def test_inbound_a_port_that_too_many_others_wait_before_is_asked_for_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else whoever scans the pod would leave it to the default policy for good."""
    monkeypatch.setattr(context, "MAX_PARKED_NAMES", 0)
    async with Origin(named("app")) as app, serving(sidecar=Sidecar(), side="inbound") as proxy:
        going_to(monkeypatch, at(app))
        client = await proxy.client()
        assert (await client.get()).status == 200
        await until(lambda: asked(proxy) == [f"inbound:{at(app)}"])
        await proxy.update(denied(app), f"inbound:{at(app)}", "k")
        assert (await client.get()).status == 403


@on_loop
async def test_inbound_an_answer_that_knows_nothing_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a control service that is older than this proxy."""
    async with Origin(named("app")) as app, serving(sidecar=Sidecar(), side="inbound") as proxy:
        going_to(monkeypatch, at(app))
        await proxy.update(None, f"inbound:{at(app)}", "k")
        client = await proxy.client()
        assert (await client.get()).body == b"app"
        await proxy.update(denied(app), f"inbound:{at(app)}", "k")
        assert (await client.get()).status == 403


@on_loop
async def test_inbound_counts_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts = Timeouts(discovery_s=0.03)
    sidecar = Sidecar(workload="web")
    async with Origin(named("app")) as app, serving(sidecar=sidecar, side="inbound", timeouts=timeouts) as proxy:
        going_to(monkeypatch, at(app))
        await (await proxy.client()).get()
        await proxy.counted()
        (key,) = proxy.ledger.leaves
        assert (key.authority, key.leaf) == (f"inbound:{at(app)}", "web")
        assert set(proxy.ledger.tcp) == {"inbound src", "inbound dst"}


@on_loop
async def test_whoever_scans_a_pod_makes_it_remember_little(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(sidecar=Sidecar(), side="inbound") as proxy:
        inbound = Inbound(proxy.worker._context, Sidecar(), frozenset(), "default")
        router = proxy.worker._router
        for port in range(1, 2000):
            target = Target("127.0.0.1", port)
            inbound.table_without_answer(inbound.authority_of(target), target)
        assert len(router._by_key) == MAX_INBOUND_PORTS
        assert len(router.series()) < 2 * MAX_INBOUND_PORTS + 3


@on_loop
async def test_both_ways_wait_for_the_end_of_a_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(visit: Visit) -> None:
        await visit.request()
        proxy.worker.drain(5.0)
        await visit.answer(b"late")

    going_to(monkeypatch, CLUSTER_IP)
    async with Origin(slow) as origin, serving(sidecar=Sidecar(), side="outbound") as proxy:
        await know(proxy, to(origin))
        assert (await (await proxy.client()).get()).body == b"late"


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_in_ingress_mode_it_decides_for_each_stream_too(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    going_to(monkeypatch, CLUSTER_IP)
    async with (
        Origin(named("v1")) as origin,
        Origin(named("ratings")) as ratings,
        serving(codec, sidecar=Sidecar(is_ingress=True), side="outbound") as proxy,
    ):
        await know(proxy, over_http1(to(origin)))
        await proxy.update(over_http1(to(ratings)), "ratings:80", "ratings.default:80")
        client = await connect(proxy)
        order = ("l5d-dst-override", "ratings:80")
        client.get(1, fields=[order])
        client.get(3)
        client.get(5, fields=[order, order])
        for stream_id in (1, 3, 5):
            await client.until(StreamEnded, stream_id)
        assert [client.body(stream_id) for stream_id in (1, 3, 5)] == [b"ratings", b"v1", b""]
        client.get(7)
        await client.until(StreamEnded, 7)
    assert ratings.asked[0].field("l5d-dst-override") == ""


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_inbound_http2_stays_http2(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts = Timeouts(discovery_s=0.03)
    async with (
        h2_backend.Backend(h2_backend.named("app")) as app,
        serving(codec, sidecar=Sidecar(), side="inbound", timeouts=timeouts) as proxy,
    ):
        going_to(monkeypatch, Target("127.0.0.1", app.port))
        client = await h2_backend.h2_client(proxy)
        assert [await client.answer(client.request()) for _ in range(2)] == [("200", b"app")] * 2
