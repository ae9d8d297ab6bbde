"""Endpoints that come and go in the files, faster than any cluster: what is listed is there, but for the last."""

from tests.chaos import mesh
from tests.chaos.mesh import SAFE
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Stage

# 50 a second.
PERIOD_S = 0.02


def _flapping(stage: Stage) -> str:
    """Any set of the three, but never none: a leaf may be empty."""
    before = stage.version()
    for _ in stage.during(PERIOD_S):
        out = stage.rng.sample("abc", stage.rng.randrange(3))
        mesh.write_endpoints(stage.folder, stage.ports_by_leaf(*out))
    mesh.write_endpoints(stage.folder, stage.ports_by_leaf())
    stage.settle()
    return f"{stage.turns} changes, {stage.version() - before} in force"


def _flapping_weights(stage: Stage) -> str:
    before = stage.version()
    for _ in stage.during(PERIOD_S):
        v1 = stage.rng.randrange(1001)
        mesh.write_split(stage.folder, f"{v1}m", f"{1000 - v1}m")
    mesh.write_split(stage.folder, "900m", "100m")
    stage.await_weights("900m", "100m")
    return f"{stage.turns} changes, {stage.version() - before} in force"


def _appearing(stage: Stage) -> str:
    """An endpoint is listed before it listens, and dies before it is taken out: as with slow readiness probes."""
    for _ in stage.during(1.0):
        stage.kill("a")
        mesh.write_endpoints(stage.folder, stage.ports_by_leaf("a"))
        mesh.write_endpoints(stage.folder, stage.ports_by_leaf())
        stage.restart("a")
    return f"{stage.turns} turns"


def _wrong_port(stage: Stage) -> None:
    """A leaf whose only endpoint is where nobody listens: its share goes to the other."""
    leaves = stage.ports_by_leaf()
    mesh.write_endpoints(stage.folder, {**leaves, mesh.V2: [1]})
    stage.hold()
    mesh.write_endpoints(stage.folder, leaves)
    stage.settle()


SCENARIOS = [
    Scenario("endpoints-flapping", _flapping, is_short=True),
    Scenario("endpoints-flapping-policy", _flapping, annotations=SAFE),
    Scenario("endpoints-weights-flapping", _flapping_weights),
    Scenario("endpoints-listed-too-early", _appearing),
    Scenario("endpoints-wrong-port", _wrong_port),
]
