"""All targets by name."""

from tests.fuzz.target import Target
from tests.fuzz.targets import h1, h2, protocols, texts

TARGETS: dict[str, Target] = {target.name: target for module in (h1, h2, texts, protocols) for target in module.TARGETS}
