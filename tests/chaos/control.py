"""A control service that dies, hangs, forgets, goes back in time, or is fed nonsense: traffic never notices."""

import signal

from tests.chaos import mesh
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Stage
from tests.e2e.stand import eventually

HALVES = (500, 500)


def _killed(stage: Stage) -> None:
    """Back with weights that were changed while it was away."""
    stage.kill_control()
    mesh.write_split(stage.folder, "500m", "500m")
    stage.hold()
    stage.start_control()
    stage.await_weights("500m", "500m")


def _killed_often(stage: Stage) -> str:
    for _ in stage.during(0.5):
        stage.kill_control()
        stage.start_control()
    eventually(stage.is_connected, "the control stream")
    return f"{stage.turns} kills"


def _stopped(stage: Stage) -> None:
    stage.control.signal(signal.SIGSTOP)
    mesh.write_split(stage.folder, "500m", "500m")
    stage.hold()
    stage.control.signal(signal.SIGCONT)
    stage.await_weights("500m", "500m")


def _empty(stage: Stage) -> None:
    """It comes back before its files do: what it does not know of, it has not heard of yet."""
    stage.kill_control()
    (stage.folder / "empty.yaml").write_text("---\n")
    stage.start_control("empty.yaml")
    stage.hold()
    stage.kill_control()
    stage.start_control()
    stage.await_weights("900m", "100m")


def _rolled_back(stage: Stage) -> None:
    """The service that comes back has an older file, and has counted fewer versions."""
    for number in range(5):
        mesh.write_split(stage.folder, f"{number}00m", "100m")
        stage.await_weights(f"{number}00m", "100m")
    stage.kill_control()
    mesh.write_split(stage.folder, "500m", "500m")
    stage.start_control()
    stage.hold()
    stage.await_weights("500m", "500m")


def _file_rolled_back(stage: Stage) -> None:
    """As `git checkout` does it: an older file, with an older time."""
    old = mesh.write_split(stage.folder, "500m", "500m").read_text()
    stage.await_weights("500m", "500m")
    mesh.write_split(stage.folder, "0", "1")
    stage.await_weights("0", "1")
    stage.hold()
    path = stage.folder / "split.yaml"
    mesh.replace_with_time(path, old, unix_s=1_000_000_000)
    stage.await_weights("500m", "500m")


def _broken_file(stage: Stage) -> str:
    """Each file in turn is cut, emptied of meaning or gone; what was good stays in force."""
    good = {name: (stage.folder / name).read_text() for name in ("split.yaml", "services.yaml", "endpoints.yaml")}
    for broken in stage.during(0.25):
        name = sorted(good)[broken % len(good)]
        nonsense = ("{[", "kind: [TrafficSplit", "\0\1\2", "apiVersion: v1\nkind: Service\nmetadata: 7\n")
        mesh.replace(stage.folder / name, stage.rng.choice([*nonsense, good[name][: len(good[name]) // 2] + "\n  - ]"]))
    for name, text in good.items():
        mesh.replace(stage.folder / name, text)
    stage.await_weights("900m", "100m")
    return f"{stage.turns} broken files"


def _broken_after_restart(stage: Stage) -> None:
    """One that has never seen anything else: its proxies know better."""
    good = (stage.folder / "split.yaml").read_text()
    stage.kill_control()
    mesh.replace(stage.folder / "split.yaml", "{[\n")
    stage.start_control()
    stage.hold()
    mesh.replace(stage.folder / "split.yaml", good)
    stage.settle()
    stage.await_weights("900m", "100m")


SCENARIOS = [
    Scenario("control-killed", _killed, due=HALVES, is_short=True),
    Scenario("control-killed-often", _killed_often),
    Scenario("control-stopped", _stopped, due=HALVES),
    Scenario("control-restarted-empty", _empty),
    Scenario("control-rolled-back", _rolled_back, due=HALVES),
    Scenario("control-file-rolled-back", _file_rolled_back, due=HALVES),
    Scenario("control-broken-file", _broken_file, is_short=True),
    Scenario("control-broken-after-restart", _broken_after_restart),
]
