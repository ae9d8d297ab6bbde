"""TLS on both sides of a worker in the test's own loop: handshakes, ALPN, verification, ends and back-pressure."""

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from h2.events import RequestReceived, StreamEnded

from milliroute.proxy import ipc
from milliroute.proxy.config import Timeouts, TlsFiles
from milliroute.proxy.state import AuthorityState, TlsState
from tests.certificates import Authority, authority
from tests.proxy import h2_backend, tunnelling
from tests.proxy.backends import Origin, Visit, named, response
from tests.proxy.downstream.test_h2 import H2Client, over_http1
from tests.proxy.serving import LIMIT_S, Proxy, get, on_loop, post, serving, to, until
from tests.proxy.tables import leaves

MIB = 1024 * 1024
BODY = bytes(range(256)) * (2 * MIB // 256)
# More than the kernel's buffers between two sockets hold.
BIG = BODY * 8
# Less.
PART = BODY[: 64 * 1024]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def files(ours: Authority) -> TlsFiles:
    """Of the listener, and of backends that say they are "reviews"."""
    return ours.server("reviews", "reviews.default.svc")


def by_tls(state: AuthorityState, ca: Path | str, sni: str = "reviews.default.svc") -> AuthorityState:
    """The same with backends that are spoken to by TLS."""
    tls = TlsState(sni, str(ca))
    backends = [msgspec.structs.replace(backend, app_protocol="https", tls=tls) for backend in state.backends]
    return msgspec.structs.replace(state, backends=backends)


def errors(proxy: Proxy, label: str) -> int:
    found = [delta for m in proxy.said if isinstance(m, ipc.Stats) for delta in m.errors]
    return sum(delta.count for delta in found if delta.error == label)


async def h2_client(proxy: Proxy, ours: Authority) -> H2Client:
    raw = await proxy.client(ours.client_context("h2"))
    return H2Client(raw.reader, raw.writer, takes=True)


def read_to_the_end(port: int, tls: ssl.SSLContext, may_read: threading.Event) -> bytes:
    """By blocking calls, not uvloop's TLS, and raises ssl.SSLEOFError for an end without close_notify."""
    raw = socket.create_connection(("127.0.0.1", port), LIMIT_S)
    with raw, tls.wrap_socket(raw, server_hostname="reviews", suppress_ragged_eofs=False) as sock:
        sock.sendall(get("/", "connection: close"))
        may_read.wait(LIMIT_S)
        return b"".join(iter(lambda: sock.recv(MIB), b""))


async def echo(visit: Visit) -> None:
    while (asked := await visit.request()) is not None:
        await visit.answer(asked.body)


# Clients


@on_loop
async def test_large_bodies_pass_whole_in_both_directions(ours: Authority, files: TlsFiles) -> None:
    async with Origin(echo) as origin, serving(state=to(origin), tls=files) as proxy:
        client = await proxy.client(ours.client_context())
        for _ in range(2):
            sending = asyncio.ensure_future(client.send(post(BODY)))
            assert (await client.reply()).body == BODY
            await sending


@on_loop
async def test_alpn_h2_is_http2_from_the_first_byte_on(ours: Authority, files: TlsFiles) -> None:
    async with Origin(named("v1")) as origin, serving(state=over_http1(to(origin)), tls=files) as proxy:
        raw = await proxy.client(ours.client_context("http/1.1", "h2"))
        # Its SETTINGS come before the client has said anything (RFC 9113 section 3.4).
        assert (await raw.reader.readexactly(9))[3:5] == b"\x04\x00"
        client = await h2_client(proxy, ours)
        for stream_id in (1, 3):
            client.get(stream_id)
            await client.until(StreamEnded, stream_id)
            assert client.body(stream_id) == b"v1"


@on_loop
async def test_a_client_that_chose_h2_and_speaks_http1_is_cut_off(ours: Authority, files: TlsFiles) -> None:
    async with Origin(named("v1")) as origin, serving(state=to(origin), tls=files) as proxy:
        client = await proxy.client(ours.client_context("h2"))
        await client.send(get())
        assert b"HTTP/1" not in await client.rest()
        assert origin.asked == []


@on_loop
async def test_a_client_that_chose_http1_gets_nothing_else(ours: Authority, files: TlsFiles) -> None:
    async with Origin(named("v1")) as origin, serving(state=to(origin), tls=files) as proxy:
        client = await proxy.client(ours.client_context("http/1.1"))
        assert (await client.get()).body == b"v1"
        fresh = await proxy.client(ours.client_context("http/1.1"))
        await fresh.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert (await fresh.reply()).status in (400, 505)


@on_loop
async def test_without_alpn_both_versions_are_told_from_their_bytes(ours: Authority, files: TlsFiles) -> None:
    async with Origin(named("v1")) as origin, serving(state=over_http1(to(origin)), tls=files) as proxy:
        assert (await (await proxy.client(ours.client_context())).get()).body == b"v1"
        raw = await proxy.client(ours.client_context())
        client = H2Client(raw.reader, raw.writer, takes=True)
        client.get(1)
        await client.until(StreamEnded, 1)
        assert client.body(1) == b"v1"


@on_loop
async def test_a_handshake_that_fails_is_counted_and_hurts_nobody(ours: Authority, files: TlsFiles) -> None:
    async with Origin(named("v1")) as origin, serving(state=to(origin), tls=files) as proxy:
        plain = await proxy.client()
        await plain.send(get())
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await plain.reader.readexactly(12)
        (await proxy.client()).close()
        await until(lambda: not proxy.worker._context.dialer.tasks)
        assert (await (await proxy.client(ours.client_context())).get()).body == b"v1"
        await proxy.counted()
        assert errors(proxy, "tls") == 2
        assert proxy.worker._context.tcp.open_now == 1


@on_loop
async def test_a_silent_handshake_ends_with_the_time_for_a_head(ours: Authority, files: TlsFiles) -> None:
    timeouts = Timeouts(header_s=0.05)
    async with Origin(named("v1")) as origin, serving(state=to(origin), tls=files, timeouts=timeouts) as proxy:
        client = await proxy.client()
        await client.send(b"\x16\x03\x01")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.reader.readexactly(1)
        await until(lambda: not proxy.worker._context.dialer.tasks)
        await proxy.counted()
        assert errors(proxy, "tls") == 1


@on_loop
async def test_a_slow_client_gets_all_of_a_response_that_ends_the_connection(ours: Authority, files: TlsFiles) -> None:
    async with Origin(lambda visit: visit.answer(BIG)) as origin, serving(state=to(origin), tls=files) as proxy:
        may_read = threading.Event()
        reading = asyncio.create_task(asyncio.to_thread(read_to_the_end, proxy.port, ours.client_context(), may_read))
        await until(lambda: any(one._is_write_paused for one in proxy.downstreams()))
        may_read.set()
        head, _, body = (await reading).partition(b"\r\n\r\n")
        assert b"\r\nconnection: close" in head
        assert body == BIG


@on_loop
async def test_a_response_that_breaks_resets_the_client(ours: Authority, files: TlsFiles) -> None:
    async def breaks(visit: Visit) -> None:
        await visit.request()
        await visit.send(response(BODY)[:-1])
        visit.reset()

    async with Origin(breaks) as origin, serving(state=to(origin), tls=files) as proxy:
        client = await proxy.client(ours.client_context())
        await client.send(get())
        with pytest.raises(ConnectionResetError):
            await client.rest()


@on_loop
async def test_a_client_that_ends_while_its_request_runs_is_gone(
    ours: Authority, files: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    async def silent(visit: Visit) -> None:
        await visit.request()
        await visit.reader.read()

    async with Origin(silent) as origin, serving(state=to(origin), tls=files) as proxy:
        client = await proxy.client(ours.client_context())
        await client.send(get())
        await until(lambda: len(origin.asked) == 1)
        client.close()
        await until(lambda: not proxy.worker._connections)
    assert caplog.records == []


@on_loop
async def test_draining_waits_for_handshakes_and_requests_under_way(ours: Authority, files: TlsFiles) -> None:
    gate = asyncio.Event()

    async def waits(visit: Visit) -> None:
        await visit.request()
        await gate.wait()
        await visit.answer(b"late")

    async with Origin(waits) as origin, serving(state=to(origin), tls=files) as proxy:
        running = await proxy.client(ours.client_context())
        await running.send(get())
        await until(lambda: len(origin.asked) == 1)
        shaking = asyncio.ensure_future(proxy.client(ours.client_context()))
        await until(lambda: bool(proxy.worker._context.dialer.tasks))
        proxy.worker.drain(5.0)
        fresh = await shaking
        await fresh.send(get())
        gate.set()
        for client in (running, fresh):
            reply = await client.reply()
            assert (reply.body, reply.fields["connection"]) == (b"late", "close")
            assert await client.rest() == b""


@on_loop
async def test_connections_live_on_when_the_certificate_is_replaced(ours: Authority, files: TlsFiles) -> None:
    async with Origin(named("v1")) as origin, serving(state=to(origin), tls=files) as proxy:
        before = await proxy.client(ours.client_context())
        tls = proxy.worker._tls
        assert tls is not None
        tls.context = ours.server_context(ours.server("reviews", "newer"))
        after = await proxy.client(ours.client_context())
        for client, names in ((before, {"reviews", "reviews.default.svc"}), (after, {"reviews", "newer"})):
            found = client.writer.get_extra_info("peercert")["subjectAltName"]
            assert {name for _, name in found} == names
            assert (await client.get()).body == b"v1"


# Backends


@on_loop
async def test_a_backend_with_tls_is_asked_for_its_name_and_by_http1(ours: Authority, files: TlsFiles) -> None:
    asked: list[str | None] = []
    context = ours.server_context(files, "h2", "http/1.1")
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with Origin(echo, context) as origin, serving(state=by_tls(to(origin), ours.ca)) as proxy:
        client = await proxy.client()
        for _ in range(2):
            sending = asyncio.ensure_future(client.send(post(BODY)))
            assert (await client.reply()).body == BODY
            await sending
        assert asked == ["reviews.default.svc"]
        (visit,) = origin.visits
        assert visit.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"


def _foreign(folder: Path, ours: Authority) -> tuple[Path, str]:
    return authority(folder, "foreign").ca, "reviews.default.svc"


def _other_name(folder: Path, ours: Authority) -> tuple[Path, str]:
    return ours.ca, "ratings.default.svc"


def _missing(folder: Path, ours: Authority) -> tuple[Path, str]:
    return folder / "missing.pem", "reviews.default.svc"


def _empty(folder: Path, ours: Authority) -> tuple[Path, str]:
    (folder / "empty.pem").touch()
    return folder / "empty.pem", "reviews.default.svc"


def _pipe(folder: Path, ours: Authority) -> tuple[Path, str]:
    os.mkfifo(folder / "pipe")
    return folder / "pipe", "reviews.default.svc"


@pytest.mark.parametrize(
    ("trust", "text"),
    [
        (_foreign, "TLS: certificate verify failed: unable to get local issuer certificate"),
        (_other_name, "TLS: certificate verify failed: Hostname mismatch, certificate is not valid for 'ratings"),
        (_missing, "missing.pem: No such file or directory"),
        (_empty, "no certificate that can be read"),
        (_pipe, "pipe: no file of at most"),
    ],
)
@on_loop
async def test_a_backend_that_cannot_be_verified_is_a_502_that_says_why(
    trust: Callable[[Path, Authority], tuple[Path, str]], text: str, tmp_path: Path, ours: Authority, files: TlsFiles
) -> None:
    ca, sni = trust(tmp_path, ours)
    backend = Origin(echo, ours.server_context(files))
    async with backend as origin, serving(state=by_tls(to(origin), ca, sni)) as proxy:
        reply = await (await proxy.client()).get()
        assert reply.status == 502
        assert text in reply.fields["l5d-proxy-error"]
        assert origin.asked == []


@on_loop
async def test_a_ca_file_that_appears_or_changes_holds_for_the_next_connection(
    tmp_path: Path, ours: Authority, files: TlsFiles
) -> None:
    ca = tmp_path / "ca.pem"
    backend = Origin(lambda visit: visit.answer(b"v1", "connection: close"), ours.server_context(files))
    async with backend as origin, serving(state=by_tls(to(origin), ca)) as proxy:
        client = await proxy.client()
        assert (await client.get()).status == 502
        ca.write_bytes(ours.ca.read_bytes())
        assert (await client.get()).status == 200
        ca.write_bytes(authority(tmp_path, "other").ca.read_bytes())
        assert (await client.get()).status == 502


@on_loop
async def test_another_backend_takes_over_from_one_without_tls(ours: Authority, files: TlsFiles) -> None:
    async def hangs_up(visit: Visit) -> None:
        await visit.reader.read(1)

    async with Origin(hangs_up) as plain, Origin(named("v2"), ours.server_context(files)) as good:
        state = by_tls(leaves({"v1": [plain.port], "v2": [good.port]}, 1, 1), ours.ca)
        async with serving(state=state) as proxy:
            client = await proxy.client()
            assert {(await client.get()).body for _ in range(4)} == {b"v2"}
            assert len(plain.visits) > 0


@on_loop
async def test_other_tls_settings_take_fresh_connections(ours: Authority, files: TlsFiles) -> None:
    asked: list[str | None] = []
    context = ours.server_context(files)
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with Origin(named("v1"), context) as origin, serving(state=by_tls(to(origin), ours.ca)) as proxy:
        client = await proxy.client()
        assert (await client.get()).body == b"v1"
        await proxy.update(by_tls(to(origin), ours.ca, "reviews"))
        assert (await client.get()).body == b"v1"
        assert asked == ["reviews.default.svc", "reviews"]


@on_loop
async def test_a_backend_that_chooses_http1_gets_the_requests_of_http2_clients_by_it(
    ours: Authority, files: TlsFiles
) -> None:
    context = ours.server_context(files, "http/1.1")
    async with Origin(named("v1"), context) as origin, serving(state=by_tls(to(origin), ours.ca)) as proxy:
        raw = await proxy.client()
        client = H2Client(raw.reader, raw.writer, takes=True)
        for stream_id in (1, 3, 5):
            client.get(stream_id)
            await client.until(StreamEnded, stream_id)
            assert client.body(stream_id) == b"v1"
        assert (await (await proxy.client()).get()).body == b"v1"
        assert len(origin.visits) == 1  # the connection that ALPN was tried on, and no other


@on_loop
async def test_a_body_that_ends_with_the_connection_needs_close_notify(ours: Authority, files: TlsFiles) -> None:
    async def cut_off(visit: Visit) -> None:
        await visit.request()
        await visit.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        if visit.number:
            visit.writer.transport.abort()

    backend = Origin(cut_off, ours.server_context(files))
    async with backend as origin, serving(state=by_tls(to(origin), ours.ca)) as proxy:
        assert (await (await proxy.client()).get()).body == b"half"
        client = await proxy.client()
        await client.send(get())
        with pytest.raises(ConnectionResetError):
            await client.rest()


def answer_in_two_parts(listening: socket.socket, tls: ssl.SSLContext, may_end: threading.Event) -> None:
    """Like servers that do not wait for the other side's close_notify: the end of TCP is right behind the last data."""
    raw, _ = listening.accept()
    with tls.wrap_socket(raw, server_side=True) as sock:
        sock.recv(MIB)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        may_end.wait(LIMIT_S)
        sock.sendall(PART)
        sock.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            sock.unwrap()


@on_loop
async def test_nothing_is_lost_of_a_backend_that_hangs_up_while_its_client_is_slow(
    ours: Authority, files: TlsFiles
) -> None:
    may_end = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        state = by_tls(leaves({"v1": [listening.getsockname()[1]]}, 1), ours.ca)
        tls = ours.server_context(files)
        answering = asyncio.create_task(asyncio.to_thread(answer_in_two_parts, listening, tls, may_end))
        async with serving(state=state) as proxy:
            client = await proxy.client()
            await client.send(get())
            assert b"\r\n\r\nfirst" in await client.reader.readuntil(b"first")
            (downstream,) = proxy.downstreams()
            downstream.pause_writing()
            may_end.set()
            await answering
            for _ in range(100):
                await asyncio.sleep(0)  # all of it has come, and is looked at or not
            downstream.resume_writing()
            assert await client.rest() == PART


# Both versions, both sides


class TlsBackend(h2_backend.Backend):
    def __init__(self, script: h2_backend.Script, tls: ssl.SSLContext) -> None:
        super().__init__(script)
        self._tls = tls

    async def __aenter__(self) -> "TlsBackend":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self


@on_loop
async def test_a_backend_that_chooses_http2_gets_the_requests_of_http2_clients_by_it(
    ours: Authority, files: TlsFiles
) -> None:
    backend = TlsBackend(h2_backend.named("v1"), ours.server_context(files, "h2", "http/1.1"))
    async with backend, serving(state=by_tls(h2_backend.over_h2(backend), ours.ca), tls=files) as proxy:
        client = await h2_client(proxy, ours)
        for stream_id in (1, 3, 5):
            client.get(stream_id)
            await client.until(StreamEnded, stream_id)
            assert client.body(stream_id) == b"v1"
        assert len(backend.visits) == 1


@pytest.mark.parametrize("is_tls", [False, True])
@on_loop
async def test_the_scheme_of_a_translated_request_is_that_of_the_client(
    is_tls: bool, ours: Authority, files: TlsFiles
) -> None:
    async with h2_backend.Backend(h2_backend.named("v1")) as backend:
        state = h2_backend.speaking("kubernetes.io/h2c", h2_backend.over_h2(backend))
        async with serving(state=state, tls=files if is_tls else None) as proxy:
            client = await proxy.client(ours.client_context() if is_tls else None)
            assert (await client.get()).status == 200
            (visit,) = backend.visits
            (asked,) = visit.all(RequestReceived)
            assert (":scheme", "https" if is_tls else "http") in h2_backend.plain(asked.headers)


@on_loop
async def test_what_is_not_http_passes_in_plain_text_behind_the_listener(ours: Authority, files: TlsFiles) -> None:
    async with Origin(tunnelling.echo) as origin, serving(state=to(origin), tls=files) as proxy:
        client = await proxy.client(ours.client_context())
        sending = asyncio.ensure_future(client.send(tunnelling.BINARY + BODY))
        assert await client.reader.readexactly(len(tunnelling.BINARY + BODY)) == tunnelling.BINARY + BODY
        await sending
        agreed = await proxy.client(ours.client_context("http/1.1"))
        await agreed.send(tunnelling.BINARY)
        assert (await agreed.reply()).status == 400


@on_loop
async def test_a_client_that_says_no_goodbye_holds_nothing_open(ours: Authority, files: TlsFiles) -> None:
    async with Origin(named("v1")) as origin, serving(state=to(origin), tls=files) as proxy:
        may_read = threading.Event()
        reading = asyncio.create_task(asyncio.to_thread(read_to_the_end, proxy.port, ours.client_context(), may_read))
        await until(lambda: len(origin.asked) == 1)
        await until(lambda: not proxy.worker._connections)
        may_read.set()
        assert (await reading).endswith(b"\r\n\r\nv1")
