"""A failover split and health checks, from the annotations in a file to the answers of clients."""

from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from tests.e2e.h2_stand import output
from tests.e2e.stand import MILLIROUTE, eventually, get, get_json, is_ready, stand

LEAF = """\
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  annotations:
    health.milliroute.io/http: /healthz
    health.milliroute.io/interval: 100ms
    health.milliroute.io/unhealthy-after: "2"
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
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: {name: reviews, annotations: {milliroute.io/failover: "true"}}
spec:
  service: reviews
  backends:
  - {service: reviews-v1, weight: 1}
  - {service: reviews-v2, weight: 1}
"""


def _taken(client: HTTPConnection, count: int = 1) -> set[tuple[int, str]]:
    answers = set()
    for _ in range(count):
        client.request("GET", "/")
        answer = client.getresponse()
        answers.add((answer.status, answer.read().decode()))
    return answers


def test_second_leaf_takes_over_when_the_first_is_sick_and_gives_back(tmp_path: Path) -> None:
    first, second = (200, "reviews-v1"), (200, "reviews-v2")
    with stand(tmp_path) as here:
        ports = here.backends("reviews-v1", "reviews-v2", kind="sick_backend")
        leaves = [LEAF.format(name=f"reviews-v{n}", port=port) for n, port in enumerate(ports, 1)]
        (tmp_path / "split.yaml").write_text(SPLIT + "".join(leaves))
        run = here.milliroute(
            "run", "-f", str(tmp_path / "split.yaml"), "--listen", "127.0.0.1:0=reviews", "--admin", "127.0.0.1:0",
            "--control-admin", "127.0.0.1:0",
        )  # fmt: skip
        admin = run.port("admin")
        eventually(lambda: is_ready(admin), "readiness")
        with closing(HTTPConnection("127.0.0.1", run.port("proxy"), timeout=60)) as client:
            assert _taken(client, 20) == {first}
            get(ports[0], "/be/sick")
            eventually(lambda: _taken(client) == {second}, "the second leaf")
            assert _taken(client, 20) == {second}
            eventually(lambda: _shown(admin) == (["reviews-v2"], [f"127.0.0.1:{ports[0]}"]), "it in /splits")
            table = output(MILLIROUTE, "split", "show", "reviews", "--admin", f"127.0.0.1:{admin}")
            assert "reviews-v1 (out)" in table
            assert "reviews-v2 (taken)" in table
            assert f"reviews: reviews-v1: unhealthy: 127.0.0.1:{ports[0]}\n" in table
            get(ports[0], "/be/well")
            eventually(lambda: _taken(client) == {first}, "the way back")
            assert _taken(client, 20) == {first}
            eventually(lambda: _shown(admin) == (["reviews-v1"], []), "the way back in /splits")


def _shown(admin: int) -> tuple[list[str], list[str]]:
    """The leaf that has everything, and which endpoints of the first are sick."""
    split = get_json(admin, "/splits")["authorities"][0]["splits"][0]  # type: ignore[index]  # JSON
    return split["failover"], split["leaves"][0]["sick"]
