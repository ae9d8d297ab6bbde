"""Floods end in GOAWAY(ENHANCE_YOUR_CALM) and fail nobody else; what others feel is `python -m tests.e2e.floods`."""

import socket
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from tests.e2e import floods
from tests.e2e.flooder import ATTACKS, opening
from tests.e2e.h2_peer import HEADER_BYTES
from tests.e2e.h2_stand import run
from tests.e2e.stand import PATIENCE_S, get, stand
from tests.sizes import CODEC

pytestmark = pytest.mark.parametrize("attack", sorted(ATTACKS))
# More than any budget of the manual, and few enough to be read at once: what is unread would reset the connection.
ENOUGH_FRAMES = 400


def _goaway_code(port: int, said: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
        client.sendall(said)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    while answer:
        end = HEADER_BYTES + int.from_bytes(answer[:3], "big")
        frame, answer = answer[:end], answer[end:]
        if frame[3] == GoAwayFrame.type:
            return int.from_bytes(frame[13:17], "big")
    raise AssertionError("closed without GOAWAY")


@CODEC
def test_an_attacker_is_told_to_calm_down_and_cut_off(tmp_path: Path, codec: str, attack: str) -> None:
    with stand(tmp_path) as here:
        proxy = run(here, here.backends("reviews-v1", "reviews-v2"), codec)
        assert _goaway_code(proxy.port("proxy"), opening(attack, ENOUGH_FRAMES)) == ErrorCodes.ENHANCE_YOUR_CALM
        assert get(proxy.port("proxy"), "/")[0] == 200


@pytest.mark.slow
@CODEC
def test_no_attacker_is_let_go_on_and_no_other_request_fails(tmp_path: Path, codec: str, attack: str) -> None:
    outcome = floods.measure(tmp_path, attack, codec, seconds=1)
    calm, other, uncut = outcome.cut
    assert uncut == 0
    assert calm + other > 10
    assert outcome.failed() == []
    assert min(len(outcome.before), len(outcome.during)) > 20
