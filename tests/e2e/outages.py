"""`python -m tests.e2e.outages [TIMES]`: how soon a proxy catches up with a control service that was killed.

Each time the service is killed (SIGKILL), the weights are changed while it is away, every request of the outage is
asked to succeed, and the time is taken from the moment the service listens again to the first answer by the new
weights.
"""

import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.e2e.stand import Process, Stand, backend_flags, eventually, is_ready, sequence, stand, write_split

OUTAGE_S = 3.0


def measure(here: Stand, times: int) -> list[float]:
    """Seconds, one for each outage; fails for any request that is not answered 200."""
    ports = here.backends("reviews-v1", "reviews-v2")
    write_split(here.folder, "1", "0")

    def control(listen: str) -> Process:
        made = here.milliroute(
            "control", "-f", str(here.folder / "split.yaml"), *backend_flags(ports), "--listen", listen,
            "--admin", "127.0.0.1:0",
        )  # fmt: skip
        made.address("grpc")
        return made

    service = control("127.0.0.1:0")
    address = service.address("grpc")
    proxy = here.milliroute(
        "proxy", "--destination", address, "--listen", "127.0.0.1:0=reviews", "--admin", "127.0.0.1:0"
    )
    admin, port = proxy.port("admin"), proxy.port("proxy")
    eventually(lambda: is_ready(admin), "readiness")
    delays = []
    for number in range(times):
        service.signal(signal.SIGKILL)
        service.wait()
        wanted = "reviews-v1" if number % 2 else "reviews-v2"
        write_split(here.folder, *(("1", "0") if number % 2 else ("0", "1")))
        end = time.monotonic() + OUTAGE_S
        while time.monotonic() < end:
            assert wanted not in sequence(port, 20), "routed by weights nobody has sent"
        service = control(address)
        back = time.monotonic()
        eventually(partial(_answers, port, wanted), "the new weights")
        delays.append(time.monotonic() - back)
    return delays


def _answers(port: int, wanted: str) -> bool:
    return sequence(port, 1) == [wanted]


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    with tempfile.TemporaryDirectory() as folder, stand(Path(folder)) as here:
        delays = measure(here, times)
    print("caught up after, s:", *(f"{delay:.2f}" for delay in delays))


if __name__ == "__main__":
    main()
