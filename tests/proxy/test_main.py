"""argv and environment to a config; one line for what is wrong."""

import socket
import subprocess
import sys

import pytest

from milliroute.proxy.__main__ import FLAGS, main, parse
from milliroute.proxy.config import DEFAULT_ADMIN, H2Config, HostPort, Listener, Timeouts
from milliroute.proxy.errors import ConfigError

NEEDED = ["--destination", "127.0.0.1:8086", "--listen", "127.0.0.1:4140"]


def test_defaults_are_those_of_the_config_module() -> None:
    options = parse(NEEDED, {})
    config = options.config
    assert config.destination == "127.0.0.1:8086"
    assert config.listeners == (Listener(HostPort("127.0.0.1", 4140)),)
    assert str(config.admin) == DEFAULT_ADMIN
    assert (config.workers, config.codec, config.namespace, config.grace_s) == (1, "fast", "default", 120.0)
    assert (config.timeouts, config.state_dir, options.log_level) == (Timeouts(), "", "info")
    assert config.h2 == H2Config()
    assert config.proxy_id.startswith(f"{socket.gethostname()}-")


def test_a_flag_beats_the_environment_and_the_environment_the_default() -> None:
    environ = {"MILLIROUTE_WORKERS": "3", "MILLIROUTE_GRACE_S": "7", "MILLIROUTE_NAMESPACE": ""}
    config = parse([*NEEDED, "--workers", "2"], environ).config
    assert (config.workers, config.grace_s, config.namespace) == (2, 7.0, "default")


def test_every_flag_has_a_variable_of_its_own() -> None:
    environ = {
        "MILLIROUTE_DESTINATION": "unix:/run/control.sock",
        "MILLIROUTE_LISTEN": "127.0.0.1:1=Reviews, [::1]:2",
        "MILLIROUTE_ADMIN": "none",
        "MILLIROUTE_CODEC": "reference",
        "MILLIROUTE_ID": "p",
        "MILLIROUTE_CONNECT_TIMEOUT_S": "0.5",
        "MILLIROUTE_LOG_LEVEL": "debug",
    }
    options = parse([], environ)
    config = options.config
    assert config.listeners == (Listener(HostPort("127.0.0.1", 1), "reviews"), Listener(HostPort("::1", 2)))
    assert (config.destination, config.admin, config.codec) == ("unix:/run/control.sock", None, "reference")
    assert (config.proxy_id, config.timeouts.connect_s, options.log_level) == ("p", 0.5, "debug")
    assert len({flag.variable for flag in FLAGS}) == len(FLAGS)


def test_the_limits_of_http2_are_flags() -> None:
    flags = ["--h2-max-streams=7", "--h2-stream-window-bytes=70000", "--h2-connection-window-bytes=80000"]
    config = parse([*NEEDED, *flags, "--h2-resets-per-s", "3", "--h2-control-frames-per-s", "4"], {}).config
    assert config.h2 == H2Config(7, 70_000, 80_000, 3, 4)


def test_faults_by_headers_are_off_unless_asked_for() -> None:
    assert not parse(NEEDED, {}).config.takes_faults
    assert parse(["--enable-faults", *NEEDED], {}).config.takes_faults
    assert parse([*NEEDED, "--enable-faults"], {}).config.takes_faults
    assert not parse([*NEEDED, "--enable-faults=false"], {"MILLIROUTE_ENABLE_FAULTS": "true"}).config.takes_faults
    assert parse(NEEDED, {"MILLIROUTE_ENABLE_FAULTS": "1"}).config.takes_faults
    with pytest.raises(ConfigError, match="--enable-faults: saw 'yes', wanted one of true, false"):
        parse(NEEDED, {"MILLIROUTE_ENABLE_FAULTS": "yes"})


def test_listeners_may_be_given_again() -> None:
    config = parse([*NEEDED, "--listen", ":0=reviews", "--listen", ":0=ratings"], {}).config
    assert [listener.apex for listener in config.listeners] == ["", "reviews", "ratings"]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (
            ["--h2-stream-window-bytes", "65534"],
            "--h2-stream-window-bytes: saw '65534', wanted a number from 65535 to 2147483647",
        ),
        (["--h2-max-streams", "all"], "--h2-max-streams: saw 'all', wanted a number from 1 to 2147483647"),
        (["--workers", "0"], "--workers: saw '0', wanted a number from 1 to 256"),
        (["--workers", "1" * 5000], "--workers: saw '111"),
        (["--listen", "4140"], "--listen: saw '4140', wanted HOST:PORT with a port from 0 to 65535"),
        (["--listen", "127.0.0.1:4140"], "--listen: saw 127.0.0.1:4140 twice, wanted each address once"),
        (["--grace-s", "nan"], "--grace-s: saw 'nan', wanted seconds from 0 to 86400"),
        (["--idle-timeout-s", "-1"], "--idle-timeout-s: saw '-1', wanted seconds from 0 to 86400"),
        (["--codec", "slow"], "--codec: saw 'slow', wanted one of fast, reference"),
        (["--destination", "unix:"], "--destination: saw 'unix:', wanted unix:PATH"),
        (["--destination", "host:0"], "--destination: saw 'host:0', wanted a port from 1 to 65535"),
        (["--admin", "x"], "--admin: saw 'x', wanted HOST:PORT with a port from 0 to 65535"),
        (["--log-level", "loud"], "--log-level: saw 'loud', wanted one of debug, info, warning, error"),
        (["--namespace", "a\udcf2"], r"--namespace: saw 'a\udcf2', wanted UTF-8"),
        (["--bogus"], "saw '--bogus', wanted a flag"),
        (["--work", "2"], "saw '--work', wanted a flag"),
    ],
)
def test_a_wrong_argument_is_one_line_with_the_value_seen_and_the_value_wanted(argv: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse([*NEEDED, *argv], {})
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_usage_error_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == (
        "milliroute: saw no --destination (nor MILLIROUTE_DESTINATION), wanted --destination ADDRESS\n"
    )


def test_a_port_in_use_exits_with_1_and_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        argv = [sys.executable, "-m", "milliroute.proxy", "--destination", "127.0.0.1:1", "--listen", address]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"milliroute: cannot listen on {address}: address already in use\n"
