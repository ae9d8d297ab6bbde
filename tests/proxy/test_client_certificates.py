"""Mutual TLS: who may connect, what their certificates let them do, and what we show to backends."""

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from h2.events import ResponseReceived

from milliroute.proxy.config import TlsFiles
from milliroute.proxy.state import AuthenticationState, AuthorizationState, MatchState
from tests.certificates import Authority, authority
from tests.proxy.backends import Origin, named
from tests.proxy.downstream.test_h2 import H2Client, over_http1
from tests.proxy.serving import Client, Proxy, get, on_loop, serving, to, until
from tests.proxy.test_access_requests import guarded
from tests.proxy.transport.test_tls import by_tls, errors

WEB = "spiffe://shop.example/ns/default/sa/web"
OPS = "spiffe://shop.example/ns/default/sa/ops"
REFUSED = (OSError, asyncio.IncompleteReadError)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("mtls"))


@pytest.fixture(scope="module")
def files(ours: Authority) -> TlsFiles:
    return replace(ours.server("reviews", "reviews.default.svc"), client_ca=str(ours.ca))


def showing(ours: Authority, shown: TlsFiles | None, *alpn: str) -> ssl.SSLContext:
    context = ours.client_context(*alpn)
    if shown is not None:
        context.load_cert_chain(shown.cert, shown.key)
    return context


def web(ours: Authority) -> TlsFiles:
    return ours.client("web", f"URI:{WEB}")


def for_identity(name: str, *matches: MatchState) -> AuthorizationState:
    return AuthorizationState("ids", [AuthenticationState("m", identities=[name])], list(matches))


async def _is_refused(proxy: Proxy, context: ssl.SSLContext) -> bool:
    """In TLS 1.3 the client learns of it with the first read."""
    try:
        client = await proxy.client(context)
        await client.send(get())
        return await client.reader.read(1) == b""
    except REFUSED:
        return True


def nothing(ours: Authority, folder: Path) -> TlsFiles | None:
    return None


def foreign(ours: Authority, folder: Path) -> TlsFiles | None:
    return authority(folder, "foreign").client("web", f"URI:{WEB}")


def expired(ours: Authority, folder: Path) -> TlsFiles | None:
    return ours.client("expired", f"URI:{WEB}", days=-1)


def two_ids(ours: Authority, folder: Path) -> TlsFiles | None:
    return ours.client("two", f"URI:{WEB}", f"URI:{OPS}")


def nameless(ours: Authority, folder: Path) -> TlsFiles | None:
    return ours.client("nameless")


def of_a_server(ours: Authority, folder: Path) -> TlsFiles | None:
    return ours.client("server", f"URI:{WEB}", extensions=("extendedKeyUsage=serverAuth",))


def of_an_authority(ours: Authority, folder: Path) -> TlsFiles | None:
    return ours.client("ca", f"URI:{WEB}", extensions=("basicConstraints=critical,CA:TRUE",))


@pytest.mark.parametrize("shown", [nothing, foreign, expired, two_ids, nameless, of_a_server, of_an_authority])
@on_loop
async def test_a_client_without_a_good_certificate_reaches_nothing(
    shown: object, tmp_path: Path, ours: Authority, files: TlsFiles
) -> None:
    assert callable(shown)
    async with Origin(named("v1")) as origin, serving(state=to(origin), tls=files) as proxy:
        assert await _is_refused(proxy, showing(ours, shown(ours, tmp_path)))
        await until(lambda: not proxy.worker._connections)
        assert origin.visits == []
        await proxy.counted()
        assert errors(proxy, "tls") == 1
        assert (proxy.worker._context.tcp.open_now, proxy.worker._context.dialer.tasks) == (0, set())


@on_loop
async def test_plain_text_to_a_port_with_mutual_tls_is_closed(ours: Authority, files: TlsFiles) -> None:
    async with Origin(named("v1")) as origin, serving(state=to(origin), tls=files) as proxy:
        client = await proxy.client()
        await client.send(get())
        with pytest.raises(REFUSED):
            await client.reader.readexactly(12)
        assert origin.visits == []


async def _post(client: Client, path: str) -> int:
    await client.send(get(path, "content-length: 0", method="POST"))
    return (await client.reply()).status


@on_loop
async def test_an_identity_may_do_what_its_policy_says_and_others_nothing(ours: Authority, files: TlsFiles) -> None:
    async with Origin(named("v1")) as origin:
        state = guarded(to(origin), for_identity(WEB, MatchState("/api", ["GET"])))
        async with serving(state=state, tls=files) as proxy:
            client = await proxy.client(showing(ours, web(ours)))
            assert (await client.get("/api")).status == 200
            assert await _post(client, "/api") == 403
            assert (await client.get("/admin")).status == 403
            other = await proxy.client(showing(ours, ours.client("ops", f"URI:{OPS}")))
            assert (await other.get("/api")).status == 403
            assert [asked.target for asked in origin.asked] == ["/api"]


@on_loop
async def test_streams_of_http2_are_judged_by_the_certificate_of_their_connection(
    ours: Authority, files: TlsFiles
) -> None:
    async with (
        Origin(named("v1")) as origin,
        serving(state=over_http1(guarded(to(origin), for_identity(WEB))), tls=files) as proxy,
    ):
        for shown, status in ((web(ours), b"200"), (ours.client("ops2", f"URI:{OPS}"), b"403")):
            raw = await proxy.client(showing(ours, shown, "h2"))
            client = H2Client(raw.reader, raw.writer, takes=True)
            client.get(1)
            answer = await client.until(ResponseReceived, 1)
            assert isinstance(answer, ResponseReceived)
            assert dict(answer.headers)[b":status"] == status


@on_loop
async def test_where_certificates_are_optional_who_shows_none_is_nobody(ours: Authority, files: TlsFiles) -> None:
    optional = replace(files, may_be_nobody=True)
    async with (
        Origin(named("v1")) as origin,
        serving(state=guarded(to(origin), for_identity("*")), tls=optional) as proxy,
    ):
        nobody = await proxy.client(showing(ours, None))
        assert (await nobody.get()).status == 403
        somebody = await proxy.client(showing(ours, web(ours)))
        assert (await somebody.get()).status == 200
        assert await _is_refused(proxy, showing(ours, two_ids(ours, Path())))
        await proxy.update(to(origin))
        assert (await nobody.get()).status == 200


@on_loop
async def test_ids_of_another_trust_domain_are_refused_where_one_is_set(ours: Authority, files: TlsFiles) -> None:
    async with Origin(named("v1")) as origin:
        async with serving(state=to(origin), tls=replace(files, trust_domain="other.example")) as proxy:
            assert await _is_refused(proxy, showing(ours, web(ours)))
        async with serving(state=to(origin), tls=replace(files, trust_domain="shop.example")) as proxy:
            assert (await (await proxy.client(showing(ours, web(ours)))).get()).status == 200


@on_loop
async def test_newer_authorities_of_clients_hold_for_the_next_connection(
    tmp_path: Path, ours: Authority, files: TlsFiles
) -> None:
    bundle = tmp_path / "clients.pem"
    bundle.write_bytes(ours.ca.read_bytes())
    other = authority(tmp_path, "other")
    async with (
        Origin(named("v1")) as origin,
        serving(state=to(origin), tls=replace(files, client_ca=str(bundle))) as proxy,
    ):
        before = await proxy.client(showing(ours, web(ours)))
        assert (await before.get()).status == 200
        bundle.write_bytes(other.ca.read_bytes() + b"\n")
        tls = proxy.worker._tls
        assert tls is not None
        assert tls.refresh()
        assert await _is_refused(proxy, showing(ours, web(ours)))
        after = await proxy.client(showing(ours, other.client("web", f"URI:{WEB}")))
        assert {(await client.get()).status for client in (before, after)} == {200}


@on_loop
async def test_a_backend_that_asks_is_shown_our_certificate(ours: Authority, files: TlsFiles) -> None:
    context = ours.server_context(files)
    context.load_verify_locations(str(ours.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    async with Origin(named("v1"), context) as origin:
        state = by_tls(to(origin), ours.ca)
        async with serving(state=state, upstream_tls=web(ours)) as proxy:
            assert (await (await proxy.client()).get()).body == b"v1"
            (visit,) = origin.visits
            assert ("URI", WEB) in visit.writer.get_extra_info("peercert")["subjectAltName"]
        async with serving(state=state) as proxy:
            assert (await (await proxy.client()).get()).status == 502
