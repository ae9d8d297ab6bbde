"""All scenarios, in the order in which they are played."""

from tests.chaos import backends, control, endpoints, resources, workers

SCENARIOS = [
    *backends.SCENARIOS,
    *endpoints.SCENARIOS,
    *control.SCENARIOS,
    *workers.SCENARIOS,
    *resources.SCENARIOS,
]
