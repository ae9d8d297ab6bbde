"""Retries and failure accrual from the annotations in a file to the answers of clients."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.e2e.stand import Process, eventually, get, is_ready, stand

LEAF = """\
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  annotations:
    balancer.linkerd.io/failure-accrual: consecutive
    balancer.linkerd.io/failure-accrual-consecutive-max-failures: "3"
    balancer.linkerd.io/failure-accrual-consecutive-min-penalty: 2s
    balancer.linkerd.io/failure-accrual-consecutive-max-penalty: 2s
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{{addresses: [127.0.0.1]}}]
ports: [{{port: {port}}}]
"""
SPLIT = """\
apiVersion: v1
kind: Service
metadata: {{name: reviews, annotations: {{{annotations}}}}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: {{name: reviews}}
spec:
  service: reviews
  backends:
  - {{service: reviews-v1, weight: 90}}
  - {{service: reviews-v2, weight: 10}}
"""
RETRY = 'retry.linkerd.io/http: 5xx, retry.linkerd.io/limit: "2"'
RETRIES = re.compile(r'^milliroute_retries_total\{.*dst_service="([^"]*)".*\} (\S+)$', re.MULTILINE)


@contextmanager
def _running(folder: Path, annotations: str) -> Iterator[tuple[Process, HTTPConnection, int]]:
    """The proxy, one connection to it, and the port of v1."""
    with stand(folder) as here:
        ports = here.backends("reviews-v1", "reviews-v2", kind="sick_backend")
        leaves = [LEAF.format(name=f"reviews-v{n}", port=port) for n, port in enumerate(ports, 1)]
        path = folder / "split.yaml"
        path.write_text(SPLIT.format(annotations=annotations) + "".join(leaves))
        run = here.milliroute(
            "run", "-f", str(path), "--listen", "127.0.0.1:0=reviews", "--admin", "127.0.0.1:0",
            "--control-admin", "127.0.0.1:0",
        )  # fmt: skip
        admin = run.port("admin")
        eventually(lambda: is_ready(admin), "readiness")
        with closing(HTTPConnection("127.0.0.1", run.port("proxy"), timeout=60)) as client:
            yield run, client, ports[0]


def _one(client: HTTPConnection, method: str = "GET") -> tuple[int, str]:
    client.request(method, "/")
    answer = client.getresponse()
    return answer.status, answer.read().decode()


def _bodies(client: HTTPConnection, count: int) -> Counter[str]:
    answers = [_one(client) for _ in range(count)]
    assert {status for status, _ in answers} == {200}
    return Counter(body for _, body in answers)


def test_backend_that_fails_half_the_time_loses_no_get(tmp_path: Path) -> None:
    with _running(tmp_path, RETRY) as (run, client, sick):
        get(sick, "/be/half")
        taken = _bodies(client, 200)
        assert taken["reviews-v1"] == 90
        eventually(lambda: _retries(run) == 90, "90 retries in /metrics")


def _retries(run: Process) -> float:
    return sum(float(count) for _, count in RETRIES.findall(get(run.port("admin"), "/metrics")[1]))


def test_without_the_annotation_its_failures_are_the_clients(tmp_path: Path) -> None:
    with _running(tmp_path, "") as (_, client, sick):
        get(sick, "/be/half")
        assert Counter(_one(client)[0] for _ in range(100)) == {200: 55, 503: 45}


@pytest.mark.parametrize("annotations", [RETRY, ""])
def test_sick_backend_is_left_out_and_the_split_exact_when_it_is_well_again(tmp_path: Path, annotations: str) -> None:
    with _running(tmp_path, annotations) as (_, client, sick):
        assert _bodies(client, 100) == {"reviews-v1": 90, "reviews-v2": 10}
        get(sick, "/be/sick")
        # Few enough to be over before the first penalty is.
        lost = Counter(_one(client)[0] for _ in range(12))[503]
        assert lost == (0 if annotations else 3)
        get(sick, "/be/well")
        eventually(lambda: _one(client)[1] == "reviews-v1", "the way back")
        assert _bodies(client, 100) == {"reviews-v1": 90, "reviews-v2": 10}
