"""Real agent and worker processes: made before grpc, drained by signals, never outliving their agent for long."""

import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import IO

import pytest

pytestmark = pytest.mark.slow


class TinyProxy:
    def __init__(self) -> None:
        argv = [sys.executable, "-m", "tests.proxy.tiny_proxy"]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.listening = [self.line(self.process.stderr) for _ in range(3)]
        self.workers = [self.line(self.process.stdout) for _ in range(2)]

    def line(self, stream: "IO[str] | None") -> str:
        assert stream is not None
        return stream.readline().rstrip("\n")

    def rest(self) -> list[str]:
        """Both pipes' ends come when agent and workers are gone."""
        assert self.process.stdout is not None
        return self.process.stdout.read().splitlines()

    def admin(self) -> str:
        match = re.fullmatch(r"milliroute: listening admin (\S+)", self.listening[2])
        assert match is not None
        return match[1]

    def until_connecting(self) -> None:
        """The first word of discovery: by then the loop runs and signals are handled."""
        assert "cannot connect" in self.line(self.process.stderr)


@pytest.fixture
def tiny() -> Iterator[TinyProxy]:
    proxy = TinyProxy()
    yield proxy
    proxy.process.kill()
    proxy.process.communicate()


def test_workers_are_forked_before_any_heavy_module_with_one_socket_per_listener(tiny: TinyProxy) -> None:
    assert all(re.fullmatch(r"worker \d+ 2 listeners, heavy modules \[\]", line) for line in tiny.workers)


def test_every_address_is_printed_with_its_port_and_apex(tiny: TinyProxy) -> None:
    assert re.fullmatch(r"milliroute: listening proxy 127\.0\.0\.1:[1-9]\d*", tiny.listening[0])
    assert re.fullmatch(r"milliroute: listening proxy 127\.0\.0\.1:[1-9]\d*=reviews", tiny.listening[1])
    assert tiny.admin().startswith("127.0.0.1:")


def test_sigterm_drains_the_workers_and_exits_0(tiny: TinyProxy) -> None:
    tiny.until_connecting()
    tiny.process.send_signal(signal.SIGTERM)
    assert tiny.rest() == ["drained", "drained"]
    assert tiny.process.wait() == 0


def test_an_order_to_shut_down_does_the_same(tiny: TinyProxy) -> None:
    tiny.until_connecting()
    order = urllib.request.Request(f"http://{tiny.admin()}/shutdown", method="POST")
    with urllib.request.urlopen(order) as response:
        assert response.read() == b"shutdown\n"
    assert tiny.rest() == ["drained", "drained"]
    assert tiny.process.wait() == 0


def test_workers_of_a_killed_agent_see_the_end_of_their_pipe(tiny: TinyProxy) -> None:
    tiny.process.kill()
    assert tiny.rest() == ["orphaned", "orphaned"]
