"""From what a user says to what a connection obeys."""

import pytest

from milliroute.proxy.codec.h2_limits import H2Limits, limits_of
from milliroute.proxy.config import H2Config


def test_the_limits_of_a_config_by_default_are_the_default_limits() -> None:
    assert limits_of(H2Config(stream_window_bytes=65_535)) == H2Limits()


def test_sixteen_streams_that_stand_still_hold_up_a_connection_to_a_backend_and_no_fewer() -> None:
    config = H2Config(stream_window_bytes=100_000, connection_window_bytes=200_000)
    assert limits_of(config).connection_window_bytes == 200_000
    assert limits_of(config, is_upstream=True).connection_window_bytes == 1_600_000


def test_a_config_reaches_the_limits() -> None:
    limits = limits_of(H2Config(7, 70_000, 80_000, 3, 4))
    assert (limits.max_streams, limits.stream_window_bytes, limits.connection_window_bytes) == (7, 70_000, 80_000)
    assert (limits.resets_per_s, limits.reset_burst) == (3, 15)
    assert (limits.control_per_s, limits.control_burst) == (4, 4)


def test_windows_below_the_protocols_initial_one_are_refused() -> None:
    with pytest.raises(ValueError, match="65535"):
        H2Limits(stream_window_bytes=1000)
