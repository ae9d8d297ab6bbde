"""From a TrafficSplit that is changed in the API server to the first answer by the new weights, through a real proxy.

Used by tests/e2e/test_kubernetes.py, which asserts the order of things, and by `python -m tests.e2e.kube_latency
[CHANGES]`, which prints the times. The API server is the stand-in, in this process; control service, proxy and
backends are processes of their own, on the same machine. Weights go from all to one leaf to all to the other, so that
the first answer of a leaf can only be given by the new weights.
"""

import http.client
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from tests.e2e import kube_stand
from tests.e2e.kube_stand import LEAVES
from tests.e2e.stand import PATIENCE_S, stand

# Between two requests: without it the load alone would keep both cores of a small machine busy.
PAUSE_S = 0.001


@dataclass(frozen=True, slots=True)
class Change:
    """Unix nanoseconds. `answers`: (sent, done, leaf) of all requests up to the first by the new weights."""

    leaf: str
    changed_ns: int
    answers: Sequence[tuple[int, int, str]]

    @property
    def delay_ms(self) -> float:
        return (self.answers[-1][1] - self.changed_ns) / 1e6


def run(folder: Path, changes: int) -> list[Change]:
    """Each change begins when the one before is in force."""
    with stand(folder) as here:
        ports = here.backends(*LEAVES)
        with kube_stand.cluster(*kube_stand.objects(ports, "1", "0")) as api:
            control = kube_stand.control(here, api.kubeconfig(folder / "kube"))
            proxy = kube_stand.proxy(here, control.address("grpc"))
            with closing(http.client.HTTPConnection("127.0.0.1", proxy.port("proxy"), timeout=PATIENCE_S)) as client:
                done = []
                for number in range(changes):
                    leaf = LEAVES[(number + 1) % 2]
                    begin = time.time_ns()
                    kube_stand.set_weights(api, *(("0", "1") if leaf == LEAVES[1] else ("1", "0")))
                    done.append(Change(leaf, begin, _until(client, leaf)))
                return done


def _until(client: http.client.HTTPConnection, leaf: str) -> list[tuple[int, int, str]]:
    answers = []
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        sent = time.time_ns()
        client.request("GET", "/")
        response = client.getresponse()
        body = response.read().decode()
        answers.append((sent, time.time_ns(), body if response.status == 200 else str(response.status)))
        if body == leaf:
            return answers
        time.sleep(PAUSE_S)
    raise AssertionError(f"{leaf} never answered")


def main() -> None:
    changes = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as folder:
        delays = [change.delay_ms for change in run(Path(folder), changes)]
    cuts = quantiles(delays, n=100)
    print(f"changes {len(delays)}")
    print("API to first request by the new weights:")
    print(f"p50 {cuts[49]:.1f} ms  p99 {cuts[98]:.1f} ms  max {max(delays):.1f} ms")


if __name__ == "__main__":
    main()
