"""Weights that change under load: what happened to every request, and how long each change took to be in force.

Used by tests/e2e/test_flips.py, which asserts what must never happen, and by `python -m tests.e2e.flips [SECONDS]`,
which prints the times: from the save of the file to the first answer by the new weights, and from the control
service's publishing to its ack.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from milliroute.control.cli import setting
from tests.e2e import traffic
from tests.e2e.stand import backend_flags, eventually, get_json, is_ready, stand, write_split
from tests.e2e.traffic import Record

# The cycle of the issue: 900m/100m -> 500m/500m -> 0/1 -> and back.
STEPS = (("500m", "500m"), ("0", "1"), ("900m", "100m"))
V1, V2 = "reviews-v1", "reviews-v2"


@dataclass(frozen=True, slots=True)
class Flip:
    """One `split set`: when it began to save, and when the last worker routed by it (Unix nanoseconds)."""

    weights: tuple[str, str]
    saved_ns: int
    applied_ns: int
    propagation_ms: float


@dataclass(frozen=True, slots=True)
class Outcome:
    flips: Sequence[Flip]
    records: Sequence[Record]

    def failed(self) -> list[Record]:
        return [record for record in self.records if record.status != 200]

    def misrouted(self) -> list[Record]:
        """Requests sent after the ack of a zero weight and answered before the next save that reached that leaf; one
        that was answered later may have been routed later."""
        wrong = []
        for flip, following in zip(self.flips, [*self.flips[1:], None], strict=True):
            if flip.weights == ("0", "1"):
                until = following.saved_ns if following else sys.maxsize
                wrong += [r for r in self.records if flip.applied_ns < r.sent_ns and r.done_ns < until and r.body == V1]
        return wrong

    def delays_ms(self) -> list[float]:
        """Per flip: from the save to the first answer that only the new weights can have given."""
        by_done = sorted(self.records, key=lambda record: record.done_ns)
        ends = [*(flip.saved_ns for flip in self.flips[1:]), sys.maxsize]
        delays = []
        for flip, end in zip(self.flips, ends, strict=True):
            seen = [record for record in by_done if flip.saved_ns < record.done_ns < end]
            first = _first_by(flip.weights, seen)
            if first is not None:
                delays.append((first.done_ns - flip.saved_ns) / 1e6)
        return delays


def _first_by(weights: tuple[str, str], records: Sequence[Record]) -> Record | None:
    if weights == ("900m", "100m"):  # after 0/1: the first answer of v1
        return next((record for record in records if record.body == V1), None)
    # At 900m/100m two of v2 stand ten apart, at 500m/500m two: three in a row of v2 within five say which it is. To
    # 0/1 the first eleven in a row of v2 do. Answers of two backends may overtake each other by some places.
    window, wanted = (5, 3) if weights == ("500m", "500m") else (11, 11)
    for end in range(window, len(records)):
        if sum(record.body == V2 for record in records[end - window : end]) >= wanted:
            return records[end - 1]
    return None


def run(folder: Path, seconds: float, period_s: float = 0.2, connections: int = 32, is_grpc: bool = False) -> Outcome:
    """Flips the weights every period_s by `split set` while the load runs. is_grpc: connections are calls at once."""
    flips: list[Flip] = []
    with stand(folder) as here:
        ports = here.backends(V1, V2, kind="grpc_backend" if is_grpc else "backend")
        path = write_split(folder)
        control = here.milliroute(
            "control", "-f", str(path), *backend_flags(ports), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"
        )
        proxy = here.milliroute(
            "proxy", "--destination", control.address("grpc"), "--listen", "127.0.0.1:0=reviews",
            "--admin", "127.0.0.1:0",
        )  # fmt: skip
        admin, control_admin = proxy.port("admin"), control.port("control-admin")
        eventually(lambda: is_ready(admin), "readiness")
        with here.load(proxy.port("proxy"), connections, "grpc_traffic" if is_grpc else "traffic") as load:
            begin = time.monotonic()
            while time.monotonic() - begin < seconds:
                weights = STEPS[len(flips) % len(STEPS)]
                due = begin + (len(flips) + 1) * period_s
                flips.append(_flip(path, control_admin, weights))
                time.sleep(max(0.0, due - time.monotonic()))
        return Outcome(flips, traffic.read(load.file))


def _flip(path: Path, control_admin: int, weights: tuple[str, str]) -> Flip:
    before = _version(control_admin)
    saved_ns = time.time_ns()
    # What `milliroute split set` does, without starting an interpreter on the cores that are being measured.
    setting.apply("reviews", {V1: weights[0], V2: weights[1]}, [str(path)])
    acked = eventually(lambda: _acked(control_admin, before), f"the ack of {weights}")
    return Flip(weights, saved_ns, *acked)


def _version(port: int) -> int:
    version = get_json(port, "/splits")["version"]
    assert isinstance(version, int)
    return version


def _acked(port: int, before: int) -> tuple[int, float] | None:
    page = get_json(port, "/splits")
    state = page["proxies"][0]["authorities"][0]  # type: ignore[index]  # JSON
    if state["acked_version"] <= before or state["acked_version"] != state["published_version"]:
        return None
    return int(state["applied_unix_ns"]), float(state["propagation_ms"])


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder), seconds)
    delays, acks = outcome.delays_ms(), [flip.propagation_ms for flip in outcome.flips]
    print(f"requests {len(outcome.records)}  failed {len(outcome.failed())}  misrouted {len(outcome.misrouted())}")
    print(f"changes {len(outcome.flips)}  (measured {len(delays)})")
    for name, values in (("save to first request by the new weights", delays), ("publish to ack", acks)):
        cuts = quantiles(values, n=100)
        print(f"{name}: p50 {cuts[49]:.1f} ms  p99 {cuts[98]:.1f} ms  max {max(values):.1f} ms")


if __name__ == "__main__":
    main()
