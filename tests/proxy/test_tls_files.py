"""Certificates, keys and authorities as files: what is wrong with one is one line, before anything listens."""

import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from milliroute.control.api import destination_pb2 as pb
from milliroute.proxy.__main__ import main, parse
from milliroute.proxy.agent.destination import StateError, decode_kept
from milliroute.proxy.config import HostPort, Listener, ProxyConfig, TlsFiles
from milliroute.proxy.errors import ConfigError, TlsFileError
from milliroute.proxy.transport import tls
from tests.certificates import authority

NEEDED = ["--destination", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--admin", "none"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return authority(tmp_path_factory.mktemp("tls")).server("reviews")


def _without(files: TlsFiles) -> TlsFiles:
    return replace(files, cert=files.cert + ".not")


def _swapped(files: TlsFiles) -> TlsFiles:
    return TlsFiles(files.key, files.cert)


def _of_another(files: TlsFiles) -> TlsFiles:
    return replace(files, key=str(Path(files.key).parent / "test-ca.key"))


def _cut_off(files: TlsFiles) -> TlsFiles:
    path = Path(files.cert + ".cut")
    path.write_text("\n".join(Path(files.cert).read_text().splitlines()[:3]))
    return replace(files, cert=str(path))


def _encrypted(files: TlsFiles) -> TlsFiles:
    path = files.key + ".secret"
    command = ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", files.key, "-out", path]
    subprocess.run(command, check=True, capture_output=True)
    return replace(files, key=path)


@pytest.mark.parametrize(
    ("make", "saw", "wanted"),
    [
        (_without, "--tls-cert: saw '{cert}' (No such file or directory)", "wanted a certificate in PEM"),
        (_swapped, "--tls-cert: saw '{cert}' without '-----BEGIN CERTIFICATE-----'", "wanted a certificate in PEM"),
        (_of_another, "--tls-key: saw '{key}'", "wanted the private key of the certificate in '{cert}'"),
        (_cut_off, "--tls-cert and --tls-key: saw '{cert}' and '{key}'", "wanted a whole certificate and its key"),
        (_encrypted, "--tls-cert and --tls-key: saw '{cert}' and '{key}'", "its key, not encrypted"),
    ],
)
def test_a_file_that_is_no_good_is_refused_with_the_value_seen_and_wanted(
    make: Callable[[TlsFiles], TlsFiles], saw: str, wanted: str, files: TlsFiles
) -> None:
    given = make(files)
    with pytest.raises(TlsFileError) as caught:
        tls.server_context(given)
    text = str(caught.value)
    assert text.startswith(saw.format(cert=given.cert, key=given.key))
    assert wanted.format(cert=given.cert) in text
    assert "\n" not in text


def test_files_that_are_no_good_exit_with_1_and_one_line_before_anything_listens(files: TlsFiles) -> None:
    argv = [*NEEDED, "--tls-cert", files.cert, "--tls-key", _of_another(files).key]
    done = subprocess.run([sys.executable, "-m", "milliroute.proxy", *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("milliroute: --tls-key: saw ")
    assert done.stderr.count("\n") == 1


def test_one_of_the_two_flags_alone_is_a_usage_error(files: TlsFiles, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*NEEDED, "--tls-cert", files.cert]) == 2
    assert capsys.readouterr().err == "milliroute: --tls-cert: saw it without --tls-key, wanted both or none\n"
    with pytest.raises(ConfigError, match="--tls-key: saw it without --tls-cert, wanted both or none"):
        parse(NEEDED, {"MILLIROUTE_TLS_KEY": files.key})


def test_the_flags_may_come_from_the_environment(files: TlsFiles) -> None:
    found = parse(NEEDED, {"MILLIROUTE_TLS_KEY": files.key, "MILLIROUTE_TLS_CERT": files.cert}).config
    assert found.tls == files
    assert parse(NEEDED, {}).config.tls is None


def test_a_context_is_kept_while_its_file_is_the_same(tmp_path: Path) -> None:
    contexts, ca = tls.ClientContexts(), authority(tmp_path).ca
    first = contexts.get(str(ca), offers_h2=True)
    assert contexts.get(str(ca), offers_h2=True) is first
    assert contexts.get(str(ca), offers_h2=False) is not first
    ca.write_bytes(authority(tmp_path, "other").ca.read_bytes() + b"\n")
    assert contexts.get(str(ca), offers_h2=True) is not first


def test_a_bundle_with_comments_in_other_alphabets_is_read(tmp_path: Path) -> None:
    ca = authority(tmp_path).ca
    ca.write_bytes("# Főtanúsítvány\n".encode() + ca.read_bytes())
    context = tls.ClientContexts().get(str(ca), offers_h2=False)
    assert len(context.get_ca_certs()) == 1


def test_a_backend_is_always_verified() -> None:
    context = tls.client_context("", offers_h2=True)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("sni", ["", ".", "a..b", "x" * 64, "a\0b"])
def test_a_table_whose_tls_names_nobody_is_refused(sni: str) -> None:
    backend = pb.Backend(name="v1", tls=pb.UpstreamTls(sni=sni))
    routes = [pb.Route(split=pb.Split(weights=[pb.Weight(backend=0, micro=1)]))]
    state = pb.State(key="v1.default", authority=pb.Authority(backends=[backend], routes=routes))
    with pytest.raises(StateError, match="in the TLS of backend 'v1', wanted the name that its certificate has"):
        decode_kept(state.SerializeToString(), 0)


def test_a_worker_without_tls_does_not_carry_it() -> None:
    code = "import sys, milliroute.proxy.worker; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {f"milliroute.proxy.{name}" for name in ("transport.tls", "transport.tls_link", "downstream.tls")} & set(
        modules
    ) == set()


def test_a_worker_that_finds_a_bad_file_ends_with_one_line(files: TlsFiles) -> None:
    ours, theirs = socket.socketpair()
    listening = socket.create_server(("127.0.0.1", 0))
    listener = Listener(HostPort("127.0.0.1", 0))
    config = ProxyConfig("p", "", (listener,), None, tls=_without(files))
    fds = [theirs.fileno(), listening.fileno()]
    argv = [str(fds[0]), str(fds[1]), msgspec.json.encode(config).decode(), "info"]
    command = [sys.executable, "-m", "milliroute.proxy.worker_main", *argv]
    with ours, theirs, listening:
        done = subprocess.run(command, pass_fds=fds, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "--tls-cert: saw" in done.stderr
    assert done.stderr.count("\n") == 1
