# mypy: disable-error-code="call-arg"
"""HTTP/2 and gRPC through real processes and strangers: grpcio on both sides, curl, the h2 library."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from tests.e2e.stand import Process, Stand, backend_flags, eventually, get, is_ready, stand, write_split

pytestmark = pytest.mark.parametrize("codec", ["fast", "reference"])
MIB = 1024 * 1024


def _run(here: Stand, ports: Sequence[int], codec: str, *weights: str) -> Process:
    run = here.milliroute(
        "run", "-f", str(write_split(here.folder, *weights)), *backend_flags(ports), "--listen",
        "127.0.0.1:0=reviews", "--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0", "--codec", codec,
    )  # fmt: skip
    admin = run.port("admin")
    eventually(lambda: is_ready(admin), "readiness")
    return run


@contextmanager
def _grpc(here: Stand, codec: str) -> Iterator[tuple[grpc.Channel, Process]]:
    """A grpcio channel to two grpcio servers behind the split of the tutorials."""
    servers = here.start(sys.executable, "-m", "tests.e2e.grpc_backend", "reviews-v1", "reviews-v2")
    run = _run(here, [servers.port("reviews-v1"), servers.port("reviews-v2")], codec)
    size = ("grpc.max_receive_message_length", 16 * MIB)
    with grpc.insecure_channel(f"127.0.0.1:{run.port('proxy')}", options=[size]) as channel:
        yield channel, run


def test_1000_calls_over_one_connection_split_exactly(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here, _grpc(here, codec) as (channel, run):
        unary, leaves = channel.unary_unary("/test.Echo/Unary"), []
        for number in range(1000):
            answer, call = unary.with_call(b"%d" % number, timeout=60)
            assert answer == b"%d" % number
            leaves.append(dict(call.trailing_metadata())["leaf"])
        assert Counter(leaves) == {"reviews-v1": 900, "reviews-v2": 100}
        assert all(leaves[start : start + 10].count("reviews-v2") == 1 for start in range(991))
        assert "tcp_open_total" in get(run.port("admin"), "/metrics")[1]


def test_all_four_kinds_of_call_pass(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here, _grpc(here, codec) as (channel, _):
        parts = list(channel.unary_stream("/test.Echo/ServerStream")(b"1000", timeout=60))
        assert parts == [b"%d" % number for number in range(1000)]
        total = channel.stream_unary("/test.Echo/ClientStream")(iter([b"x" * 1000] * 1000), timeout=60)
        assert total == b"1000000"
        echoed = list(channel.stream_stream("/test.Echo/Bidi")(iter([b"y" * 10] * 500), timeout=60))
        assert echoed == [b"y" * 10] * 500


def test_large_messages_and_binary_metadata_pass_unchanged(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here, _grpc(here, codec) as (channel, _):
        message = bytes(range(256)) * (4 * MIB // 256)
        ask = bytes(range(256))
        answer, call = channel.unary_unary("/test.Echo/Unary").with_call(
            message, metadata=(("ask-bin", ask),), timeout=60
        )
        assert answer == message
        assert dict(call.trailing_metadata())["seen-bin"] == ask


def test_status_of_the_backend_reaches_the_client_and_the_metrics(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here, _grpc(here, codec) as (channel, run):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/test.Echo/Unary")(b"fail not today", timeout=60)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == "not today"
        eventually(lambda: 'grpc_status="9"' in get(run.port("admin"), "/metrics")[1], "the status in /metrics")


def test_no_backend_is_unavailable(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        run = _run(here, [1, 1], codec)
        with grpc.insecure_channel(f"127.0.0.1:{run.port('proxy')}") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/test.Echo/Unary")(b"", timeout=60)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_many_calls_at_once_all_come_back(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here, _grpc(here, codec) as (channel, _):
        unary = channel.unary_unary("/test.Echo/Unary")
        calls = [unary.future(b"%d" % number, timeout=60) for number in range(500)]
        assert [call.result() for call in calls] == [b"%d" % number for number in range(500)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_with_prior_knowledge_to_an_http1_backend_that_says_so(tmp_path: Path, codec: str) -> None:
    services = """\
apiVersion: v1
kind: Service
metadata: {name: plain}
spec:
  ports: [{port: 80, appProtocol: http}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: plain-1, labels: {kubernetes.io/service-name: plain}}
addressType: IPv4
endpoints: [{addresses: [127.0.0.1]}]
ports: [{port: %d}]
"""
    with stand(tmp_path) as here:
        (port,) = here.backends("plain")
        (tmp_path / "plain.yaml").write_text(services % port)
        run = here.milliroute(
            "run", "-f", str(tmp_path / "plain.yaml"), "--listen", "127.0.0.1:0=plain", "--admin", "127.0.0.1:0",
            "--control-admin", "127.0.0.1:0", "--codec", codec,
        )  # fmt: skip
        admin = run.port("admin")
        eventually(lambda: is_ready(admin), "readiness")
        url = f"http://127.0.0.1:{run.port('proxy')}/"
        command = [
            "curl",
            "-s",
            "--http2-prior-knowledge",
            "-w",
            " %{http_code} %{http_version}",
            url,
            "-d",
            "x" * 5000,
        ]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "plain 200 2"
