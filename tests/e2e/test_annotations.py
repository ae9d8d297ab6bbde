"""Ramps and sticky splits through real processes."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.e2e import traffic
from tests.e2e.stand import Process, Stand, backend_flags, eventually, get, get_json, is_ready, stand
from tests.e2e.traffic import Record

SPLIT = """\
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata:
  name: reviews
  annotations:
    {annotation}
spec:
  service: reviews
  backends:
  - {{service: reviews-v1, weight: {v1}}}
  - {{service: reviews-v2, weight: {v2}}}
"""
RAMP_S = 2.0


def _save(here: Stand, annotation: str, v1: int, v2: int) -> Path:
    path, fresh = here.folder / "split.yaml", here.folder / ".new"
    fresh.write_text(SPLIT.format(annotation=annotation, v1=v1, v2=v2))
    return fresh.replace(path)


def _run(here: Stand) -> Process:
    ports = here.backends("reviews-v1", "reviews-v2")
    run = here.milliroute(
        "run", "-f", str(here.folder / "split.yaml"), *backend_flags(ports), "--listen", "127.0.0.1:0=reviews",
        "--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0",
    )  # fmt: skip
    admin = run.port("admin")
    eventually(lambda: is_ready(admin), "readiness")
    return run


def _version(run: Process) -> int:
    page = get_json(run.port("admin"), "/splits")
    return int(page["authorities"][0]["version"])  # type: ignore[index]  # JSON


def _astray(records: Sequence[Record], start_s: float) -> float:
    """How far v2's count strays from the integral of its share.

    A request is picked somewhere between its sending and its answer: half way is wrong by at most half of that. With
    one connection all these times together are the ramp's own, so the integral is wrong by at most a half.
    """
    due, got, furthest = 0.0, 0, 0.0
    for record in records:
        picked_s = (record.sent_ns + record.done_ns) / 2e9
        due += min(1.0, max(0.0, (picked_s - start_s) / RAMP_S))
        got += record.body == "reviews-v2"
        furthest = max(furthest, abs(got - due))
    return furthest


def _ramp_start_s(run: Process) -> float | None:
    split = get_json(run.port("admin"), "/splits")["authorities"][0]["splits"][0]  # type: ignore[index]  # JSON
    start_ms = split["ramp"]["start_unix_ms"] if split["ramp"] else 0
    return start_ms / 1000 if start_ms else None


def test_a_ramp_moves_traffic_along_a_line(tmp_path: Path) -> None:
    annotation = f"milliroute.io/ramp: {RAMP_S:g}s"
    with stand(tmp_path) as here:
        _save(here, annotation, 1, 0)
        run = _run(here)
        with here.load(run.port("proxy"), 1) as load:
            _save(here, annotation, 0, 1)
            start_s = eventually(lambda: _ramp_start_s(run), "the ramp")
            eventually(lambda: time.time() > start_s + RAMP_S + 0.2, "the end of the ramp")
        records = traffic.read(load.file)
        assert len(records) > 100
        assert _astray(records, start_s) <= 2.5
        assert {record.body for record in records[-20:]} == {"reviews-v2"}


def test_sticky_clients_move_to_the_canary_only_and_stay(tmp_path: Path) -> None:
    annotation = "milliroute.io/sticky: header=x-user"
    with stand(tmp_path) as here:
        _save(here, annotation, 90, 10)
        run = _run(here)

        def all_users() -> dict[str, str]:
            return {f"user-{n}": get(run.port("proxy"), "/", {"X-User": f"user-{n}"})[1] for n in range(100)}

        first = all_users()
        assert all_users() == first
        assert 0 < Counter(first.values())["reviews-v2"] < 50
        before = _version(run)
        _save(here, annotation, 40, 60)
        eventually(lambda: _version(run) > before, "the new weights")
        second = all_users()
        assert {user for user in first if first[user] == "reviews-v2" and second[user] == "reviews-v1"} == set()
        assert Counter(second.values())["reviews-v2"] > Counter(first.values())["reviews-v2"]
