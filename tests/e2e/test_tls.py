# mypy: disable-error-code="call-arg"
"""TLS through real processes and strangers: curl and grpcio in front, grpcio and nghttpd behind."""

import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

from milliroute.proxy.config import TlsFiles
from tests.certificates import Authority, authority
from tests.e2e.stand import MILLIROUTE, Process, Stand, eventually, is_ready, stand
from tests.proxy.backends import closed_port
from tests.sizes import CODEC

pytestmark = CODEC
MIB = 1024 * 1024

SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: {name}
  annotations: {annotations}
spec:
  ports: [{{port: 443, appProtocol: {protocol}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{{addresses: [127.0.0.1]}}]
ports: [{{port: {port}}}]
---
"""
SPLIT = """\
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: {name: reviews}
spec:
  service: reviews
  backends:
  - {service: reviews-v1, weight: 90}
  - {service: reviews-v2, weight: 10}
"""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def files(ours: Authority) -> TlsFiles:
    return ours.server("localhost", "reviews-v1.default.svc", "reviews-v2.default.svc")


def _run(here: Stand, ports: Sequence[int], protocol: str, codec: str, ca: str = "", **environment: str) -> Process:
    annotations = f"{{milliroute.io/upstream-ca: {ca}}}" if ca else "{}"
    services = [
        SERVICE.format(name=f"reviews-v{number}", port=port, protocol=protocol, annotations=annotations)
        for number, port in enumerate(ports, 1)
    ]
    (here.folder / "split.yaml").write_text("".join([*services, SPLIT]))
    run = here.start(
        *(MILLIROUTE, "run", "-f", str(here.folder / "split.yaml"), "--listen"),
        *("127.0.0.1:0=reviews", "--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0", "--codec", codec),
        **environment,
    )
    admin = run.port("admin")
    eventually(lambda: is_ready(admin), "readiness")
    return run


def _listener(files: TlsFiles) -> dict[str, str]:
    return {"MILLIROUTE_TLS_CERT": files.cert, "MILLIROUTE_TLS_KEY": files.key}


def _grpc_backends(here: Stand, files: TlsFiles) -> list[int]:
    names = ("reviews-v1", "reviews-v2")
    servers = here.start(sys.executable, "-m", "tests.e2e.grpc_backend", *names, TLS_CERT=files.cert, TLS_KEY=files.key)
    return [servers.port(name) for name in names]


def _accepts(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _curl(ours: Authority, port: int, *arguments: str) -> str:
    url = f"https://localhost:{port}/"
    command = ["curl", "-sS", "--cacert", str(ours.ca), "--resolve", f"localhost:{port}:127.0.0.1", *arguments, url]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_gets_the_version_of_http_that_it_asks_for(
    tmp_path: Path, ours: Authority, files: TlsFiles, codec: str
) -> None:
    what = ("-w", " %{http_version}")
    with stand(tmp_path) as here:
        run = _run(here, here.backends("reviews-v1", "reviews-v1"), "http", codec, **_listener(files))
        port = run.port("proxy")
        assert _curl(ours, port, "--http2", *what) == "reviews-v1 2"
        assert _curl(ours, port, "--http1.1", *what) == "reviews-v1 1.1"
        assert _curl(ours, port, "--no-alpn", *what) == "reviews-v1 1.1"
        assert _curl(ours, port, "--tls-max", "1.2", "--http2", *what) == "reviews-v1 2"
        upload = tmp_path / "upload"
        upload.write_bytes(b"x" * 4 * MIB)
        assert _curl(ours, port, "--http2", "--data-binary", f"@{upload}", *what) == "reviews-v1 2"


def test_calls_through_tls_on_both_sides_split_exactly(
    tmp_path: Path, ours: Authority, files: TlsFiles, codec: str
) -> None:
    with stand(tmp_path) as here:
        run = _run(here, _grpc_backends(here, files), "https", codec, str(ours.ca), **_listener(files))
        credentials = grpc.ssl_channel_credentials(ours.ca.read_bytes())
        with grpc.secure_channel(f"localhost:{run.port('proxy')}", credentials) as channel:
            unary, leaves = channel.unary_unary("/test.Echo/Unary"), []
            for number in range(100):
                answer, call = unary.with_call(b"%d" % number, timeout=60)
                assert answer == b"%d" % number
                leaves.append(dict(call.trailing_metadata())["leaf"])
            assert Counter(leaves) == {"reviews-v1": 90, "reviews-v2": 10}
            message = bytes(range(256)) * (2 * MIB // 256)
            assert unary(message, timeout=60) == message
            parts = list(channel.unary_stream("/test.Echo/ServerStream")(b"1000", timeout=60))
            assert parts == [b"%d" % number for number in range(1000)]


def test_calls_fail_where_the_authority_of_the_backends_is_not_believed(
    tmp_path: Path, ours: Authority, files: TlsFiles, codec: str
) -> None:
    other = authority(tmp_path, "other").ca
    with stand(tmp_path) as here:
        run = _run(here, _grpc_backends(here, files), "https", codec, str(other))
        with grpc.insecure_channel(f"127.0.0.1:{run.port('proxy')}") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/test.Echo/Unary")(b"", timeout=60)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "certificate verify failed" in (caught.value.details() or "")


@pytest.mark.skipif(shutil.which("nghttpd") is None, reason="needs nghttpd")
def test_an_http2_client_reaches_nghttpd_by_tls(tmp_path: Path, ours: Authority, files: TlsFiles, codec: str) -> None:
    (tmp_path / "index.html").write_text("from nghttpd")
    with stand(tmp_path) as here:
        port = closed_port()
        here.start("nghttpd", "-a", "127.0.0.1", "-d", str(tmp_path), str(port), files.key, files.cert)
        eventually(lambda: _accepts(port), "nghttpd")
        run = _run(here, [port, port], "https", codec, str(ours.ca), **_listener(files))
        assert _curl(ours, run.port("proxy"), "--http2", "-w", " %{http_version}") == "from nghttpd 2"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_old_tls_and_what_http2_forbids_are_refused(
    tmp_path: Path, ours: Authority, files: TlsFiles, codec: str
) -> None:
    with stand(tmp_path) as here:
        run = _run(here, [1, 1], "http", codec, **_listener(files))
        for refused in (["-tls1_1"], ["-tls1_2", "-cipher", "AES128-SHA"]):
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{run.port('proxy')}", *refused]
            assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode != 0
