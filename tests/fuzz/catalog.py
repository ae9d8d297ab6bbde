"""All targets by name."""

from tests.fuzz.target import Target
from tests.fuzz.targets import cluster, gateway, h1, h2, mesh, protocols, sidecar, texts, wire

_MODULES = (h1, h2, wire, texts, gateway, mesh, protocols, cluster, sidecar)
TARGETS: dict[str, Target] = {target.name: target for module in _MODULES for target in module.TARGETS}
