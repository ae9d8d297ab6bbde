"""No failed request and no wrong backend while the weights change under full load."""

from pathlib import Path

import pytest

from tests.e2e import flips
from tests.sizes import cases


@pytest.mark.slow
def test_no_request_fails_or_goes_astray_while_weights_flip_every_200_ms(tmp_path: Path) -> None:
    outcome = flips.run(tmp_path, seconds=cases(20))
    # Each change was acked before the next was due, or the run would have come to far fewer than a hundred.
    assert len(outcome.flips) > cases(25)
    assert len(outcome.delays_ms()) == len(outcome.flips)
    assert len(outcome.records) > cases(2000)
    assert outcome.failed() == []
    assert outcome.misrouted() == []
    assert {record.body for record in outcome.records} == {"reviews-v1", "reviews-v2"}
