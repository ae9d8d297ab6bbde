"""The webhook over real TLS: certificates by openssl, clients by the standard library."""

import asyncio
import contextlib
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from http.client import HTTPSConnection
from pathlib import Path

import kubernetes_validate
import pytest

from milliroute.control import errors
from milliroute.control.config import Address
from milliroute.control.inject import registration, webhook
from milliroute.control.inject.admission import PATHS
from milliroute.control.inject.certificate import Certificate
from milliroute.control.inject.edits import Object, at
from milliroute.control.inject.plan import Wish
from milliroute.control.inject.settings import Settings
from milliroute.control.inject.webhook import Webhook
from tests import certificates
from tests.certificates import Authority
from tests.control.inject.reviews import patch, pod, response, review

WISH = Wish(Settings(), "milliroute/test", {}, "")
Call = Callable[[HTTPSConnection], object]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return certificates.authority(tmp_path_factory.mktemp("ca"))


@contextlib.asynccontextmanager
async def serving(authority: Authority, wish: Wish = WISH) -> AsyncIterator[tuple[Webhook, Address]]:
    files = authority.server("localhost")
    served = Webhook(wish, Certificate(files.cert, files.key))
    address = await served.start(Address("127.0.0.1", 0))
    try:
        yield served, address
    finally:
        await served.close()


def ask(authority: Authority, address: Address, *calls: tuple[str, str, bytes]) -> list[tuple[int, bytes]]:
    """All over one connection."""
    connection = HTTPSConnection("localhost", address.port, timeout=60, context=authority.client_context())
    found = []
    try:
        for method, path, body in calls:
            connection.request(method, path, body or None, {"content-type": "application/json"})
            answer = connection.getresponse()
            found.append((answer.status, answer.read()))
    finally:
        connection.close()
    return found


def run(authority: Authority, *calls: tuple[str, str, bytes], wish: Wish = WISH) -> list[tuple[int, bytes]]:
    async def main() -> list[tuple[int, bytes]]:
        async with serving(authority, wish) as (_, address):
            return await asyncio.to_thread(ask, authority, address, *calls)

    return asyncio.run(main())


def test_one_connection_serves_many_reviews_and_they_are_counted(authority: Authority) -> None:
    first, second, third, fourth, metrics = run(
        authority,
        ("POST", "/inject?timeout=5s", review(pod(inject="enabled"))),
        ("POST", "/inject", review(pod())),
        ("POST", "/inject/enabled", review(pod())),
        ("POST", "/inject", b"{}"),
        ("GET", "/metrics", b""),
    )
    assert [bool(patch(body)) for _, body in (first, second, third)] == [True, False, True]
    assert fourth[0] == 400
    counted = [line.split('"')[1::2] + line.split()[1:] for line in metrics[1].decode().splitlines() if "{" in line]
    assert counted == [["injected", "2"], ["skipped", "1"], ["refused", "0"], ["failed", "1"]]


def test_it_says_that_it_lives_and_is_ready(authority: Authority) -> None:
    found = run(authority, ("GET", "/live", b""), ("GET", "/ready", b""), ("GET", "/", b""), ("GET", "/inject", b""))
    assert [status for status, _ in found] == [200, 200, 404, 405]


def test_a_body_that_is_too_large_is_refused_before_it_is_all_there(authority: Authority) -> None:
    async def main() -> bytes:
        async with serving(authority) as (_, address):
            context = authority.client_context()
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", address.port, ssl=context, server_hostname="localhost"
            )
            writer.write(b"POST /inject HTTP/1.1\r\nhost: a\r\ncontent-length: 999999999\r\n\r\n")
            writer.write(b" " * (webhook.MAX_BODY_BYTES + 1))
            try:
                return await reader.readline()
            finally:
                writer.transport.abort()

    assert asyncio.run(main()).startswith(b"HTTP/1.1 413 ")


def test_garbage_and_those_who_hang_up_leave_the_others_alone(authority: Authority) -> None:
    async def main() -> list[tuple[int, bytes]]:
        async with serving(authority) as (_, address):
            for sent in (b"\x16\x03\x01garbage", b"GET / HTTP/1.1\r\n\r\n", b""):
                with socket.create_connection((address.host, address.port)) as plain:
                    plain.sendall(sent)
            context = authority.client_context()
            for sent in (
                b"\x00\x01\r\n\r\n",
                b"POST /inject HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab",
                b"G" * 99_999,
            ):
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", address.port, ssl=context, server_hostname="localhost"
                )
                writer.write(sent)
                await writer.drain()
                writer.transport.abort()
            return await asyncio.to_thread(ask, authority, address, ("POST", "/inject", review(pod())))

    [(status, body)] = asyncio.run(main())
    assert status == 200
    assert response(body)["allowed"] is True


def test_a_slow_request_is_cut_off(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "REQUEST_TIMEOUT_S", 0.2)

    async def main() -> bytes:
        async with serving(authority) as (_, address):
            context = authority.client_context()
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", address.port, ssl=context, server_hostname="localhost"
            )
            writer.write(b"POST /inject HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\na")
            try:
                return await reader.read()
            finally:
                writer.transport.abort()

    assert asyncio.run(main()) == b""


def test_above_the_limit_connections_are_closed_at_once(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "MAX_CONNECTIONS", 1)

    async def main() -> None:
        async with serving(authority) as (_, address):
            context = authority.client_context()
            connect = {"ssl": context, "server_hostname": "localhost"}
            reader, first = await asyncio.open_connection("127.0.0.1", address.port, **connect)  # type: ignore[arg-type]  # two of its flags
            first.write(b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            with contextlib.suppress(OSError):
                other, second = await asyncio.open_connection("127.0.0.1", address.port, **connect)  # type: ignore[arg-type]
                second.write(b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n")
                assert await other.read() == b""
                second.transport.abort()
            first.transport.abort()

    asyncio.run(main())


def test_a_bug_of_ours_lets_the_pod_start(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("milliroute.control.inject.admission.plan.mesh", fail)
    answer, metrics = run(authority, ("POST", "/inject", review(pod())), ("GET", "/metrics", b""))
    assert response(answer[1])["allowed"] is True
    assert 'outcome="failed"} 1' in metrics[1].decode()


def test_a_newer_certificate_is_shown_to_new_connections_and_open_ones_go_on(
    authority: Authority, tmp_path: Path
) -> None:
    other = certificates.authority(tmp_path, "other-ca")
    first, second = authority.server("localhost"), other.server("localhost")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    shutil.copy(first.cert, cert)
    shutil.copy(first.key, key)

    async def main() -> None:
        certificate = Certificate(str(cert), str(key))
        served = Webhook(WISH, certificate)
        address = await served.start(Address("127.0.0.1", 0))
        open_one = HTTPSConnection("localhost", address.port, timeout=60, context=authority.client_context())
        assert await asyncio.to_thread(_ready, open_one) == 200
        assert not certificate.refresh()

        shutil.copy(second.cert, cert)
        assert not certificate.refresh(), "a certificate that does not fit its key changes nothing"
        assert await asyncio.to_thread(ask, authority, address, ("GET", "/ready", b"")) == [(200, b"ok\n")]
        shutil.copy(second.key, key)
        assert certificate.refresh()
        assert await asyncio.to_thread(ask, other, address, ("GET", "/ready", b"")) == [(200, b"ok\n")]
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(ask, authority, address, ("GET", "/ready", b""))
        assert await asyncio.to_thread(_ready, open_one) == 200
        open_one.close()
        key.unlink()
        assert not certificate.refresh()
        await served.close()

    asyncio.run(main())


def _ready(connection: HTTPSConnection) -> int:
    connection.request("GET", "/ready")
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_files_that_cannot_be_used_are_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for cert in (str(tmp_path / "missing"), str(empty), str(tmp_path)):
        with pytest.raises(errors.ControlError) as raised:
            Certificate(cert, str(empty))
        assert cert in str(raised.value)
        assert "\n" not in str(raised.value)


def test_the_registration_is_what_kubernetes_takes_and_never_blocks() -> None:
    client = {"service": {"name": "hook", "namespace": "mesh", "port": 443}}
    hooks = registration.webhooks(client, ("kube-system", "mesh"))
    whole = {"kind": "MutatingWebhookConfiguration", "metadata": {"name": "a"}, "webhooks": hooks}
    kubernetes_validate.validate({"apiVersion": "admissionregistration.k8s.io/v1", **whole}, "1.34", strict=True)
    assert {hook["failurePolicy"] for hook in hooks} == {"Ignore"}
    assert [at(hook, ("clientConfig", "service", "path")) for hook in hooks] == list(PATHS)
    assert all("'mesh'" in str(hook["namespaceSelector"]) for hook in hooks)


def test_every_namespace_is_asked_about_by_exactly_one_entry() -> None:
    hooks = registration.webhooks({"service": {}}, ("kube-system",))
    for mark, path in (
        ("enabled", "/inject/enabled"),
        ("ingress", "/inject/ingress"),
        ("other", "/inject"),
        (None, "/inject"),
    ):
        chosen = [hook for hook in hooks if _selects(hook, {"milliroute.io/inject": mark} if mark else {})]
        assert [at(hook, ("clientConfig", "service", "path")) for hook in chosen] == [path]
        assert not any(_selects(hook, {"kubernetes.io/metadata.name": "kube-system"}) for hook in hooks)


def _selects(hook: Object, labels: dict[str, str]) -> bool:
    """As the API server does it."""
    rules = at(hook, ("namespaceSelector", "matchExpressions"))
    assert isinstance(rules, list)
    return all((labels.get(rule["key"]) in rule["values"]) == (rule["operator"] == "In") for rule in rules)
