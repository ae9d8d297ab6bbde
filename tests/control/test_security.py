"""Who may open a control stream: the service whole, and the proxy's own end of the stream, with real certificates."""

import asyncio
import logging
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from milliroute.control import errors
from milliroute.control.config import ControlConfig, StreamSecurity, check_security
from milliroute.control.model import Objects
from milliroute.control.security import Credentials, TokenGate
from milliroute.control.server import ControlServer
from milliroute.proxy.agent.catalog import Offer
from milliroute.proxy.agent.destination import Hello
from milliroute.proxy.agent.discovery import Discovery
from milliroute.proxy.config import ControlTls
from tests.certificates import Authority, authority
from tests.control.building import split, world
from tests.control.test_server import FakeSource
from tests.proxy.fakes import until
from tests.proxy.test_discovery import Answers

OBJECTS: Objects = world(split({"reviews-v1": "1"}))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("control"))


@pytest.fixture
def service(tmp_path: Path, ours: Authority) -> StreamSecurity:
    """All of it: TLS, certificates of proxies, a token. The files are the test's own."""
    files = ours.server("localhost")
    names = {"cert": files.cert, "key": files.key, "client_ca": str(ours.ca)}
    for name, path in names.items():
        shutil.copy(path, tmp_path / name)
    (tmp_path / "token").write_text("secret-1\n")
    return StreamSecurity(*(str(tmp_path / name) for name in ("cert", "key", "client_ca", "token")))


@pytest.fixture
def proxy(tmp_path: Path, ours: Authority) -> ControlTls:
    shown = ours.client("proxy", "DNS:proxy.example")
    (tmp_path / "proxys-token").write_text("secret-1")
    return ControlTls(str(ours.ca), shown.cert, shown.key, str(tmp_path / "proxys-token"))


Scenario = Callable[[Callable[[ControlTls], Discovery], Answers], Awaitable[None]]


def run(security: StreamSecurity, scenario: Scenario) -> None:
    """The scenario makes proxies, which connect until it is over."""

    async def main() -> None:
        listening: dict[str, str] = {}
        config = ControlConfig(listen="127.0.0.1:0", admin="127.0.0.1:0", security=security)
        server = ControlServer(config, FakeSource(OBJECTS))
        await server.start(listening.__setitem__)
        answers, tasks = Answers(), list[asyncio.Task[None]]()

        def connect(tls: ControlTls) -> Discovery:
            address = "localhost:" + listening["grpc"].rpartition(":")[2]
            hello = Hello("p", "default", "")
            found = Discovery(
                address, hello, answers, now_s=time.monotonic, unix_ns=time.time_ns, rng=Random(1), tls=tls
            )
            tasks.append(asyncio.create_task(found.run()))
            return found

        try:
            async with asyncio.timeout(60):
                await scenario(connect, answers)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.stop()

    asyncio.run(main())


async def _offered(answers: Answers) -> Offer:
    while not isinstance(found := await answers.seen.get(), Offer):
        pass
    return found


def test_a_proxy_with_certificate_and_token_gets_its_tables(service: StreamSecurity, proxy: ControlTls) -> None:
    async def scenario(connect: Callable[[ControlTls], Discovery], answers: Answers) -> None:
        connect(proxy)
        assert (await _offered(answers)).update.key == "reviews.default"

    run(service, scenario)


def _no_certificate(proxy: ControlTls, folder: Path) -> ControlTls:
    return replace(proxy, cert="", key="")


def _foreign_certificate(proxy: ControlTls, folder: Path) -> ControlTls:
    shown = authority(folder, "foreign").client("proxy", "DNS:proxy.example")
    return replace(proxy, cert=shown.cert, key=shown.key)


def _other_service(proxy: ControlTls, folder: Path) -> ControlTls:
    return replace(proxy, ca=str(authority(folder, "other").ca))


def _plain_text(proxy: ControlTls, folder: Path) -> ControlTls:
    return ControlTls(token_file=proxy.token_file)


def _no_token(proxy: ControlTls, folder: Path) -> ControlTls:
    return replace(proxy, token_file="")


def _wrong_token(proxy: ControlTls, folder: Path) -> ControlTls:
    Path(proxy.token_file).write_text("secret-2")
    return proxy


def _missing_file(proxy: ControlTls, folder: Path) -> ControlTls:
    return replace(proxy, ca=str(folder / "not-there"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_no_certificate, "cannot connect"),
        (_foreign_certificate, "cannot connect"),
        (_other_service, "cannot connect"),
        (_plain_text, "cannot connect"),
        (_no_token, "refused ipv"),
        (_wrong_token, "unauthenticated: no token, or a wrong one"),
        (_missing_file, "cannot read"),
    ],
)
def test_a_stranger_gets_nothing_and_the_log_says_why(
    spoil: Callable[[ControlTls, Path], ControlTls],
    reason: str,
    service: StreamSecurity,
    proxy: ControlTls,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)

    async def scenario(connect: Callable[[ControlTls], Discovery], answers: Answers) -> None:
        stranger = connect(spoil(proxy, tmp_path))
        await until(lambda: stranger.failures >= 2)
        assert answers.seen.empty()

    run(service, scenario)
    assert any(reason in record.getMessage() for record in caplog.records)


def test_new_files_hold_for_the_next_connection_and_old_streams_go_on(
    service: StreamSecurity, proxy: ControlTls, tmp_path: Path
) -> None:
    newer = authority(tmp_path, "newer")
    files, shown = newer.server("localhost"), newer.client("proxy", "DNS:proxy.example")

    async def scenario(connect: Callable[[ControlTls], Discovery], answers: Answers) -> None:
        old = connect(proxy)
        await _offered(answers)
        for path, content in ((service.cert, files.cert), (service.key, files.key), (service.client_ca, newer.ca)):
            shutil.copy(content, path)
        connect(replace(proxy, ca=str(newer.ca), cert=shown.cert, key=shown.key))
        await _offered(answers)
        assert old.state == "connected"

    run(service, scenario)


def test_a_broken_file_leaves_what_was_in_force(service: StreamSecurity, proxy: ControlTls) -> None:
    async def scenario(connect: Callable[[ControlTls], Discovery], answers: Answers) -> None:
        for path in (service.cert, service.client_ca, service.token_file):
            shutil.copy("/dev/null", path)
        connect(proxy)
        await _offered(answers)

    run(service, scenario)


def test_a_token_is_compared_whole_and_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abc\n")
    gate = TokenGate(str(file))
    for given in ("abc", "Bearer ab", "Bearer abcd", "Bearer ", "Basic abc", "Bearer  abc", "Bearer äbc"):
        assert not gate.opens([("authorization", given)])
    assert not gate.opens([])
    assert not gate.opens([("authorization", "Bearer abc"), ("authorization", "Bearer abc")])
    assert gate.opens([("x", "y"), ("authorization", "bearer abc")])
    file.write_text("newer")
    assert gate.opens([("authorization", "Bearer newer")])
    assert not gate.opens([("authorization", "Bearer abc")])


@pytest.mark.parametrize("content", ["", "two words", "tab\there", "x" * 4097])
def test_a_file_without_a_token_makes_a_start_impossible(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(errors.ControlError, match="--token-file: saw no token in"):
        TokenGate(str(tmp_path / "token"))


def test_files_that_are_no_certificates_make_a_start_impossible(tmp_path: Path, service: StreamSecurity) -> None:
    with pytest.raises(errors.ControlError, match=r"--tls-key: saw .* without 'PRIVATE KEY-----'"):
        Credentials(replace(service, key=service.cert))
    with pytest.raises(errors.ControlError, match=r"--tls-client-ca: cannot read .*: No such file"):
        Credentials(replace(service, client_ca=str(tmp_path / "gone")))


@pytest.mark.parametrize(
    ("security", "listen", "complaint"),
    [
        (StreamSecurity(cert="c"), "127.0.0.1:1", "--tls-cert: saw it without --tls-key"),
        (StreamSecurity(key="k"), "127.0.0.1:1", "--tls-key: saw it without --tls-cert"),
        (StreamSecurity(client_ca="a"), "127.0.0.1:1", "--tls-client-ca: saw it without --tls-cert"),
        (StreamSecurity(token_file="t"), "0.0.0.0:1", "--token-file: saw 0.0.0.0:1 without --tls-cert"),
    ],
)
def test_flags_that_protect_nothing_are_errors(security: StreamSecurity, listen: str, complaint: str) -> None:
    with pytest.raises(errors.ConfigError, match=complaint):
        check_security(security, listen)


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/x"])
def test_a_token_alone_is_enough_on_one_machine(listen: str) -> None:
    check_security(StreamSecurity(token_file="t"), listen)
