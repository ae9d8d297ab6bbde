"""All targets by name."""

from tests.fuzz.target import Target
from tests.fuzz.targets import h1, h2, mesh, protocols, texts, wire

_MODULES = (h1, h2, wire, texts, mesh, protocols)
TARGETS: dict[str, Target] = {target.name: target for module in _MODULES for target in module.TARGETS}
