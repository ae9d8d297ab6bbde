# mypy: disable-error-code="call-arg,no-untyped-call,call-overload"
"""Rate limits from the annotation in a file to the answers of clients: exact, before the split, and for calls too."""

import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import grpc
import pytest

from tests.e2e.stand import Process, Stand, backend_flags, eventually, get, get_json, is_ready, stand
from tests.sizes import CODEC

SPLIT = """\
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: {{name: reviews, annotations: {{milliroute.io/rate-limit: {limit}}}}}
spec:
  service: reviews
  backends:
  - {{service: reviews-v1, weight: 75}}
  - {{service: reviews-v2, weight: {v2}}}
"""
REFUSED = re.compile(r"^milliroute_rate_limited_total\{(.*)\} (\S+)$", re.MULTILINE)


def _write(folder: Path, limit: str, v2: int = 25) -> None:
    path, fresh = folder / "split.yaml", folder / ".new"
    fresh.write_text(SPLIT.format(limit=limit, v2=v2))
    fresh.replace(path)


def _started(here: Stand, limit: str, ports: Sequence[int], *more: str) -> Process:
    _write(here.folder, limit)
    run = here.milliroute(
        "run", "-f", str(here.folder / "split.yaml"), *backend_flags(ports), "--listen", "127.0.0.1:0=reviews",
        "--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0", *more,
    )  # fmt: skip
    admin = run.port("admin")
    eventually(lambda: is_ready(admin), "readiness")
    return run


@contextmanager
def _running(folder: Path, limit: str, *more: str) -> Iterator[Process]:
    with stand(folder) as here:
        yield _started(here, limit, here.backends("reviews-v1", "reviews-v2"), *more)


def _ask(port: int, count: int, source: str = "127.0.0.1") -> list[tuple[int, str, str]]:
    """Statuses, bodies and retry-after of so many requests on one connection."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=60, source_address=(source, 0))) as client:
        answers = []
        for _ in range(count):
            client.request("GET", "/")
            answer = client.getresponse()
            answers.append((answer.status, answer.read().decode(), answer.getheader("retry-after", "")))
    return answers


def _refused(run: Process) -> dict[str, float]:
    return {labels: float(count) for labels, count in REFUSED.findall(get(run.port("admin"), "/metrics")[1])}


def _version(run: Process) -> int:
    page = get_json(run.port("admin"), "/splits")
    return int(page["authorities"][0]["version"])  # type: ignore[index]  # JSON


@CODEC
def test_a_burst_passes_to_the_request_and_is_split_exactly(tmp_path: Path, codec: str) -> None:
    with _running(tmp_path, '"40/h"', "--codec", codec) as run:
        began_s = time.monotonic()
        answers = _ask(run.port("proxy"), 100)
        passed_s = time.monotonic() - began_s
        assert [status for status, _, _ in answers] == [200] * 40 + [429] * 60
        assert Counter(body for status, body, _ in answers if status == 200) == {"reviews-v1": 30, "reviews-v2": 10}
        # 40 in an hour are one in 90 s, less what has passed.
        assert {89 - passed_s <= int(wait) <= 90 for status, _, wait in answers if status == 429} == {True}
        labels = 'authority="reviews.default",limit="TrafficSplit default/reviews",scope="total"'
        eventually(lambda: _refused(run) == {labels: 60.0}, "60 refused in /metrics")
        page = get_json(run.port("admin"), "/splits")
        split = page["authorities"][0]["splits"][0]  # type: ignore[index]  # JSON
        assert split["rate_limits"] == ["40/h (TrafficSplit default/reviews)"]


def test_new_weights_leave_the_limit_where_it_was_and_a_new_limit_holds_at_once(tmp_path: Path) -> None:
    with _running(tmp_path, '"10/h"') as run:
        port = run.port("proxy")
        assert [status for status, _, _ in _ask(port, 11)] == [200] * 10 + [429]
        before = _version(run)
        _write(tmp_path, '"10/h"', v2=75)
        eventually(lambda: _version(run) > before, "the new weights")
        assert {status for status, _, _ in _ask(port, 5)} == {429}
        _write(tmp_path, '"10/h; burst=3"', v2=75)
        eventually(lambda: _ask(port, 1)[0][0] == 200, "the new limit")
        assert [status for status, _, _ in _ask(port, 4)] == [200, 200, 429, 429]


def test_each_client_address_has_its_own(tmp_path: Path) -> None:
    with _running(tmp_path, '"5/h per client"') as run:
        for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
            assert [status for status, _, _ in _ask(run.port("proxy"), 7, source)] == [200] * 5 + [429] * 2


def test_several_workers_keep_the_limit_together(tmp_path: Path) -> None:
    with _running(tmp_path, '"40/h"', "--workers", "2") as run:
        statuses = Counter(status for _ in range(60) for status, _, _ in _ask(run.port("proxy"), 5))
        # Each worker has half; sixty connections do not all go to one.
        assert statuses == {200: 40, 429: 260}


def test_admin_pages_are_never_limited(tmp_path: Path) -> None:
    with _running(tmp_path, '"1/h"') as run:
        assert [status for status, _, _ in _ask(run.port("proxy"), 3)] == [200, 429, 429]
        assert {get(run.port("admin"), "/ready")[0] for _ in range(50)} == {200}


@CODEC
def test_a_call_above_the_limit_is_resource_exhausted(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        names = ("reviews-v1", "reviews-v2")
        servers = here.start(sys.executable, "-m", "tests.e2e.grpc_backend", *names)
        run = _started(here, '"8/h"', [servers.port(name) for name in names], "--codec", codec)
        leaves: list[str] = []
        refusals: list[grpc.RpcError] = []
        with grpc.insecure_channel(f"127.0.0.1:{run.port('proxy')}") as channel:
            unary = channel.unary_unary("/test.Echo/Unary")
            for _ in range(12):
                try:
                    _, call = unary.with_call(b"x", timeout=60)
                    leaves.append(str(dict(call.trailing_metadata())["leaf"]))
                except grpc.RpcError as error:
                    refusals.append(error)
        assert Counter(leaves) == {"reviews-v1": 6, "reviews-v2": 2}
        calls = [error for error in refusals if isinstance(error, grpc.Call)]
        assert len(calls) == len(refusals) == 4
        assert {call.code() for call in calls} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert {call.details() for call in calls} == {"over the rate limit"}
        assert all("retry-after" in [one.key for one in call.trailing_metadata()] for call in calls)


@pytest.mark.parametrize("limit", ['"0/s"', "often"])
def test_a_bad_limit_is_one_line_at_its_place(tmp_path: Path, limit: str) -> None:
    with stand(tmp_path) as here:
        _write(tmp_path, limit)
        control = here.milliroute(
            "control", "-f", str(tmp_path / "split.yaml"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"
        )
        control.port("control-admin")
        eventually(lambda: any("milliroute.io/rate-limit: " in line for line in control.lines), "the error")
        (line,) = [line for line in control.lines if "milliroute.io/rate-limit: " in line]
        assert "split.yaml:3:" in line
        assert "Traceback" not in "".join(control.lines)
