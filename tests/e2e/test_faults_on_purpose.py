"""Faults from the annotation in a file, or from a request's headers, to what clients see."""

import http.client
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from math import inf
from pathlib import Path

import pytest

from tests.e2e.big_backend import MIB
from tests.e2e.stand import Process, backend_flags, eventually, get, get_json, is_ready, stand
from tests.sizes import CODEC

SPLIT = """\
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata:
  name: reviews
  annotations: {{{annotation}}}
spec:
  service: reviews
  backends:
  - {{service: reviews-v1, weight: 50}}
  - {{service: reviews-v2, weight: 50}}
"""


@contextmanager
def _running(folder: Path, fault: str, *more: str, kind: str = "backend") -> Iterator[tuple[Process, HTTPConnection]]:
    """fault "": no annotation. The control service, a proxy of it, and one connection to that."""
    with stand(folder) as here:
        ports = here.backends("reviews-v1", "reviews-v2", kind=kind)
        annotation = f"milliroute.io/fault: '{fault}'" if fault else ""
        (folder / "split.yaml").write_text(SPLIT.format(annotation=annotation))
        control = here.milliroute(
            "control", "-f", str(folder / "split.yaml"), *backend_flags(ports), "--listen", "127.0.0.1:0",
            "--admin", "127.0.0.1:0",
        )  # fmt: skip
        proxy = here.milliroute(
            "proxy", "--destination", control.address("grpc"), "--listen", "127.0.0.1:0=reviews",
            "--admin", "127.0.0.1:0", *more,
        )  # fmt: skip
        admin = proxy.port("admin")
        eventually(lambda: is_ready(admin), "readiness")
        with closing(HTTPConnection("127.0.0.1", proxy.port("proxy"), timeout=60)) as client:
            yield proxy, client


def _ask(client: HTTPConnection, path: str = "/", **headers: str) -> tuple[int, str]:
    client.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = client.getresponse()
    return answer.status, answer.read().decode()


@CODEC
def test_only_requests_that_match_path_header_and_leaf_are_refused(tmp_path: Path, codec: str) -> None:
    fault = "abort=418 50%; path=/api; header=x-test:yes; leaf=reviews-v2"
    with _running(tmp_path, fault, "--codec", codec) as (proxy, client):
        for path, test in (("/api", "no"), ("/", "yes")):
            assert {_ask(client, path, x_test=test)[0] for _ in range(20)} == {200}
        answers = Counter(_ask(client, "/api", x_test="yes") for _ in range(40))
        assert answers == {(200, "reviews-v1"): 20, (200, "reviews-v2"): 10, (418, ""): 10}
        page = get_json(proxy.port("admin"), "/splits")
        assert page["authorities"][0]["splits"][0]["fault"] == fault  # type: ignore[index]  # JSON


@CODEC
def test_a_slow_response_is_whole_and_others_are_as_fast_as_ever(tmp_path: Path, codec: str) -> None:
    fault = "bandwidth=8Mi; header=x-test:yes"
    with _running(tmp_path, fault, "--codec", codec, kind="big_backend") as (_, client):
        times = {"yes": inf, "no": inf}
        # The best of some: a machine that is busy elsewhere for half a second is no slow response.
        for test in ("yes", "no", "no", "no"):
            started_s = time.monotonic()
            status, body = _ask(client, "/big", x_test=test)
            assert (status, len(body)) == (200, 4 * MIB)
            times[test] = min(times[test], time.monotonic() - started_s)
        # Never early: a piece is sent when its time has passed.
        assert times["yes"] >= 0.49
        assert times["no"] < times["yes"]


@pytest.mark.parametrize("is_enabled", [True, False])
def test_headers_of_a_request_count_only_where_the_proxy_was_started_for_it(tmp_path: Path, is_enabled: bool) -> None:
    more = ("--enable-faults",) if is_enabled else ()
    with _running(tmp_path, "", *more) as (proxy, client):
        status, _ = _ask(client, x_milliroute_fault_abort="503")
        assert status == (503 if is_enabled else 200)
        delay_s = 0.3 if is_enabled else 30.0
        started_s = time.monotonic()
        assert _ask(client, x_milliroute_fault_delay_ms=f"{delay_s * 1000:.0f}")[0] == 200
        assert (time.monotonic() - started_s >= delay_s) is is_enabled
        assert _ask(client)[0] == 200
        if is_enabled:
            assert _ask(client, x_milliroute_fault_abort="teapot")[0] == 400
            eventually(
                lambda: 'outbound_http_errors_total{error="fault"} 2.0' in get(proxy.port("admin"), "/metrics")[1],
                "the count",
            )
            with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                _ask(client, x_milliroute_fault_reset="1")
