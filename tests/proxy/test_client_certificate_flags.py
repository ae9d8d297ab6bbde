"""Flags about certificates of clients, of ours for backends, and of the control service: what is wrong is one line."""

from dataclasses import replace
from pathlib import Path

import pytest

from milliroute.proxy.__main__ import parse
from milliroute.proxy.agent import launch
from milliroute.proxy.config import ControlTls, HostPort, Listener, ProxyConfig, TlsFiles
from milliroute.proxy.errors import ConfigError, TlsFileError
from milliroute.proxy.transport import tls
from tests.certificates import Authority, authority

NEAR = ["--destination", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--admin", "none"]
FAR = ["--destination", "10.0.0.1:1", "--listen", "127.0.0.1:0", "--admin", "none"]
LISTENER = ["--tls-cert", "c", "--tls-key", "k"]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("flags"))


def test_clients_are_asked_for_certificates_by_flags() -> None:
    assert parse([*NEAR, *LISTENER], {}).config.tls == TlsFiles("c", "k")
    required = parse([*NEAR, *LISTENER, "--tls-client-ca", "ca"], {}).config.tls
    assert required == TlsFiles("c", "k", "ca")
    optional = ["--tls-client-ca", "ca", "--tls-client-auth", "optional", "--tls-trust-domain", "shop.example"]
    assert parse([*NEAR, *LISTENER, *optional], {}).config.tls == TlsFiles("c", "k", "ca", True, "shop.example")


def test_sessions_of_clients_with_certificates_are_never_resumed(ours: Authority) -> None:
    assert tls.server_context(replace(ours.server("x"), client_ca=str(ours.ca))).num_tickets == 0
    assert tls.server_context(ours.server("x")).num_tickets > 0


def test_backends_and_the_control_service_are_shown_certificates_by_flags() -> None:
    config = parse([*NEAR, "--upstream-tls-cert", "uc", "--upstream-tls-key", "uk"], {}).config
    assert config.upstream_tls == TlsFiles("uc", "uk")
    environ = {
        "MILLIROUTE_DESTINATION_CA": "ca",
        "MILLIROUTE_DESTINATION_CERT": "dc",
        "MILLIROUTE_DESTINATION_KEY": "dk",
        "MILLIROUTE_DESTINATION_TOKEN_FILE": "t",
    }
    assert parse(FAR, environ).config.control_tls == ControlTls("ca", "dc", "dk", "t")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--tls-client-ca", "ca"], "--tls-client-ca: saw it without --tls-cert"),
        ([*LISTENER, "--tls-client-auth", "optional"], "--tls-client-auth: saw it without --tls-client-ca"),
        ([*LISTENER, "--tls-trust-domain", "x"], "--tls-trust-domain: saw it without --tls-client-ca"),
        ([*LISTENER, "--tls-client-auth", "no"], "--tls-client-auth: saw 'no', wanted one of required, optional"),
        (["--upstream-tls-key", "k"], "--upstream-tls-key: saw it without --upstream-tls-cert"),
        (["--destination-cert", "c"], "--destination-cert: saw it without --destination-key"),
        (["--destination-cert", "c", "--destination-key", "k"], "--destination-cert: saw it without --destination-ca"),
        (["--destination-token-file", "t"], "--destination-token-file: saw no --destination-ca, wanted TLS"),
    ],
)
def test_flags_that_protect_nothing_are_usage_errors(argv: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse([*FAR, *argv], {})
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize("destination", ["127.0.0.1:1", "localhost:1", "[::1]:1", ":1", "unix:/run/control.sock"])
def test_a_token_needs_no_tls_on_one_machine(destination: str) -> None:
    argv = ["--destination", destination, "--listen", ":0", "--destination-token-file", "t"]
    assert parse(argv, {}).config.control_tls == ControlTls(token_file="t")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        ("", "does not contain a certificate"),
        ("hello", "does not contain a certificate"),
    ],
)
def test_authorities_of_clients_that_cannot_be_read_are_refused(
    ours: Authority, tmp_path: Path, content: str | None, reason: str
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TlsFileError) as caught:
        tls.server_context(replace(ours.server("x"), client_ca=str(path)))
    assert str(caught.value).startswith(f"--tls-client-ca: saw '{path}' (")
    assert reason in str(caught.value)


def test_a_certificate_for_backends_that_is_no_good_is_refused_before_anything_listens(tmp_path: Path) -> None:
    listener = Listener(HostPort("127.0.0.1", 0))
    files = TlsFiles(str(tmp_path / "c"), str(tmp_path / "k"))
    config = ProxyConfig("p", "", (listener,), None, upstream_tls=files)

    def never(pipe_fd: int, listen_fds: list[int], config: ProxyConfig) -> None:
        raise AssertionError("a worker was started")

    with pytest.raises(TlsFileError, match=r"--upstream-tls-cert and --upstream-tls-key: client certificate .*/c"):
        launch.run(config, never)
