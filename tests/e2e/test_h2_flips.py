"""No failed RPC and no wrong backend while the weights change under concurrent gRPC streams."""

from pathlib import Path

import pytest

from tests.e2e import flips
from tests.sizes import cases


# The fast codec only, since it takes so long; the logic above the codecs is the same.
@pytest.mark.slow
def test_no_rpc_fails_or_goes_astray_while_weights_flip_every_100_ms(tmp_path: Path) -> None:
    outcome = flips.run(tmp_path, seconds=cases(10, 0.4), period_s=0.1, connections=200, is_grpc=True)
    assert outcome.failed() == []
    assert outcome.misrouted() == []
    # Each change was acked before the next was due, or they would be far fewer.
    assert len(outcome.flips) > cases(20, 0.4)
    assert len(outcome.records) > cases(1000, 0.4)
    assert {record.body for record in outcome.records} == {"reviews-v1", "reviews-v2"}
