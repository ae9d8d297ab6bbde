"""What an idle proxy takes."""

import sys
from pathlib import Path

import pytest

from tests.e2e.stand import backend_flags, eventually, is_ready, sequence, stand, write_split

# The bar of the project. Pages that other Python processes of the machine share count in part, so the figure to quote
# is that of a proxy alone (docs/architecture.md); this test sees what grows.
MAX_PSS_MIB = 45


def _pss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="PSS is read from Linux's /proc")
def test_an_idle_agent_and_its_worker_stay_within_the_bar(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        ports = here.backends("reviews-v1", "reviews-v2")
        control = here.milliroute(
            "control", "-f", str(write_split(tmp_path)), *backend_flags(ports), "--listen", "127.0.0.1:0",
            "--admin", "127.0.0.1:0",
        )  # fmt: skip
        proxy = here.milliroute(
            "proxy", "--destination", control.address("grpc"), "--listen", "127.0.0.1:0=reviews", "--admin",
            "127.0.0.1:0",
        )  # fmt: skip
        admin = proxy.port("admin")
        eventually(lambda: is_ready(admin), "readiness")
        assert len(sequence(proxy.port("proxy"), 100)) == 100
        workers = Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split()
        assert len(workers) == 1
        assert _pss_mib(proxy.pid) + _pss_mib(int(workers[0])) <= MAX_PSS_MIB
