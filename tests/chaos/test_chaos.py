"""Scenarios as tests: a few of each kind in every run, and shorter; all of them, in full, by `make long`."""

import pytest

from tests.chaos.catalog import SCENARIOS
from tests.chaos.scenario import Scenario, play
from tests.sizes import IS_LONG

SHORT_SHARE = 0.4


def _case(scenario: Scenario) -> object:
    skipped = pytest.mark.skipif(not (scenario.is_short or IS_LONG), reason="by make chaos")
    return pytest.param(scenario, id=scenario.name, marks=[pytest.mark.slow, skipped])


@pytest.mark.parametrize("scenario", [_case(scenario) for scenario in SCENARIOS])
def test_no_request_is_lost_that_could_be_answered_and_the_ratio_is_exact_afterwards(scenario: Scenario) -> None:
    outcome = play(scenario, seed=1, share=1.0 if IS_LONG else SHORT_SHARE)
    assert outcome.faults() == [], outcome.row()
