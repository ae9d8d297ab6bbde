"""The whole demo as a user starts it: processes, proxies, page, split, and a clean end."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

START_LIMIT_S = 60.0
EFFECT_LIMIT_S = 60.0
POLL_S = 0.1
# The demo sends SIGKILL after 4 s; the rest is Python ending on a busy machine.
STOP_LIMIT_S = 60.0

DEMO = (sys.executable, "-c", "import sys; from milliroute.control.cli.demo import main; sys.exit(main(sys.argv[1:]))")


class Demo:
    """A running demo on free ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._out = (folder.parent / "out.txt").open("wb")
        flags = ("--dir", str(folder), "--page-port", "0", "--port-base", "0")
        self.process = subprocess.Popen((*DEMO, *flags), stdout=self._out, stderr=subprocess.STDOUT)
        self.page = self._said(r"see it +(http://\S+)")
        self.admin = self._said(r"split show reviews --admin (\S+)")

    def output(self) -> str:
        return Path(self._out.name).read_text()

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def view(self) -> str:
        with urllib.request.urlopen(self.page, timeout=10) as answer:
            return str(answer.read().decode())

    def versions(self, views: int) -> list[str]:
        return [found[1] for _ in range(views) if (found := re.search(r"reviews-(v\d)<", self.view()))]

    def leaves(self) -> dict[str, str]:
        with urllib.request.urlopen(f"http://{self.admin}/splits", timeout=10) as answer:
            authorities = json.load(answer)["authorities"]
        splits = [split for authority in authorities for split in authority["splits"] if split["apex"] == "reviews"]
        return {leaf["leaf"]: leaf["weight"] for split in splits for leaf in split["leaves"]}

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(STOP_LIMIT_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)
        self._out.close()

    def _said(self, pattern: str) -> str:
        eventually(lambda: bool(re.search(pattern, self.output())) or self.process.poll() is not None, START_LIMIT_S)
        found = re.search(pattern, self.output())
        assert found, self.output()
        return found[1]


def eventually(holds: Callable[[], bool], limit_s: float) -> None:
    # Counted in looks and not by the clock, so that a machine that stood still for a while fails nothing.
    for _ in range(round(limit_s / POLL_S)):
        if holds():
            return
        time.sleep(POLL_S)
    pytest.fail(f"still not so after {limit_s:g} s of waiting")


def is_gone(pid: int) -> bool:
    """True for a zombie too: where nobody reaps orphans, that is how an ended one looks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path / "demo")
    yield running
    running.close()


def test_all_three_versions_answer_at_the_start(demo: Demo) -> None:
    # The demo's own visitors take picks in between, so only each version's presence is certain here.
    assert set(demo.versions(30)) == {"v1", "v2", "v3"}
    assert demo.leaves() == {"reviews-v1": "333m", "reviews-v2": "333m", "reviews-v3": "333m"}


def test_an_edited_file_is_in_force_without_a_restart(demo: Demo) -> None:
    split = demo.folder / "split.yaml"
    text = split.read_text()
    split.write_text(re.sub(r"(reviews-v[12].*\n +weight: )333m", r"\g<1>0", text))
    eventually(lambda: list(demo.leaves().values()) == ["0", "0", "333m"], EFFECT_LIMIT_S)
    assert demo.versions(10) == ["v3"] * 10
    assert 'class="stars black"' in demo.view()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_process_cleanly(demo: Demo, number: int) -> None:
    children = demo.children()
    assert len(children) == 11
    assert demo.stop(number) == 0
    assert all(is_gone(child) for child in children)
    assert "Traceback" not in demo.output()


def test_a_killed_demo_leaves_no_orphan(demo: Demo) -> None:
    children = demo.children()
    demo.process.kill()
    demo.process.wait(STOP_LIMIT_S)
    eventually(lambda: all(is_gone(child) for child in children), STOP_LIMIT_S)
