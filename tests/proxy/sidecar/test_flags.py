"""The flags of a sidecar to its listeners and limits, and one line for what is wrong."""

from pathlib import Path

import msgspec
import pytest

from milliroute.proxy.__main__ import parse
from milliroute.proxy.config import DEFAULT_OPAQUE_PORTS, HostPort, Listener, ProxyConfig, Sidecar
from milliroute.proxy.errors import ConfigError

NEEDED = ["--destination", "127.0.0.1:8086", "--outbound", "4140", "--inbound", "4143"]


def config(*argv: str, **environ: str) -> ProxyConfig:
    return parse([*NEEDED, *argv], environ).config


def test_bare_ports_are_on_loopback_for_the_app_and_everywhere_for_others_in_both_families() -> None:
    assert config().listeners == (
        Listener(HostPort("127.0.0.1", 4140), "", "outbound"),
        Listener(HostPort("::1", 4140), "", "outbound", is_optional=True),
        Listener(HostPort("0.0.0.0", 4143), "", "inbound"),
        Listener(HostPort("::", 4143), "", "inbound", is_optional=True),
    )


def test_one_side_is_enough_and_an_address_is_taken_as_it_is() -> None:
    made = parse(["--destination=127.0.0.1:8086", "--outbound", "[::1]:4140"], {}).config
    assert made.listeners == (Listener(HostPort("::1", 4140), "", "outbound"),)


def test_the_rest_has_linkerds_defaults() -> None:
    assert config().sidecar == Sidecar(DEFAULT_OPAQUE_PORTS, 10.0, False, "all-unauthenticated", "", "", ())


def test_all_of_it_can_be_said_by_the_environment() -> None:
    made = parse(
        [],
        {
            "MILLIROUTE_DESTINATION": "127.0.0.1:8086",
            "MILLIROUTE_OUTBOUND": "4140",
            "MILLIROUTE_OPAQUE_PORTS": "3306, 9000-9002",
            "MILLIROUTE_DETECT_TIMEOUT_S": "2.5",
            "MILLIROUTE_INGRESS_MODE": "true",
            "MILLIROUTE_INBOUND_DEFAULT_POLICY": "deny",
            "MILLIROUTE_WORKLOAD": "web",
            "MILLIROUTE_POD": "web-0",
            "MILLIROUTE_POD_LABELS": "app=web, version=v1,empty=",
        },
    ).config
    labels = (("app", "web"), ("empty", ""), ("version", "v1"))
    assert made.sidecar == Sidecar((3306, 9000, 9001, 9002), 2.5, True, "deny", "web", "web-0", labels)


def test_a_worker_that_is_started_anew_is_told_the_same() -> None:
    made = config("--pod-labels", "app=web", "--ingress-mode")
    assert msgspec.json.decode(msgspec.json.encode(made), type=ProxyConfig) == made


@pytest.mark.parametrize("argv", [["--ingress-mode"], ["--ingress-mode", "true"], ["--ingress-mode=true"]])
def test_ingress_mode_needs_no_value(argv: list[str]) -> None:
    sidecar = config(*argv, "--pod", "x").sidecar
    assert sidecar is not None
    assert (sidecar.is_ingress, sidecar.pod) == (True, "x")


def test_labels_are_read_from_a_file_of_the_downward_api(tmp_path: Path) -> None:
    file = tmp_path / "labels"
    file.write_text('app="web"\nkubernetes.io/x="a b"\n')
    sidecar = config("--pod-labels", str(file)).sidecar
    assert sidecar is not None
    assert sidecar.labels == (("app", "web"), ("kubernetes.io/x", "a b"))
    file.write_text('app="web"\nnonsense\n')
    with pytest.raises(ConfigError, match=rf"--pod-labels: {file}:2:1: saw 'nonsense', wanted NAME="):
        config("--pod-labels", str(file))


def test_a_sidecar_sets_no_time_limits_that_nobody_asked_for() -> None:
    made = config()
    assert (made.timeouts.response_s, made.timeouts.stream_idle_s, made.timeouts.idle_s) == (0.0, 0.0, 600.0)
    assert (made.limits.min_rate_bytes_s, made.limits.stall_s) == (0, 86_400.0)
    made = config("--response-timeout-s", "60", "--idle-timeout-s=60", MILLIROUTE_MIN_RATE_BYTES_S="240")
    assert (made.timeouts.response_s, made.timeouts.idle_s, made.limits.min_rate_bytes_s) == (60.0, 60.0, 240)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--listen", ":80"], "--listen: saw it together with --outbound or --inbound, wanted a proxy of its own"),
        (["--via", "x"], "--via: saw it together with"),
        (["--opaque-ports", "1-"], "--opaque-ports: saw '1-', wanted ports such as 3306,9000-9010"),
        (["--opaque-ports", "0"], "--opaque-ports: saw '0'"),
        (["--detect-timeout-s", "-1"], "--detect-timeout-s: saw '-1', wanted seconds"),
        (["--inbound-default-policy", "maybe"], "--inbound-default-policy: saw 'maybe', wanted all-unauthenticated"),
        (["--ingress-mode=maybe"], "--ingress-mode: saw 'maybe', wanted true or false"),
        (["--pod-labels", "app"], "--pod-labels: saw 'app', wanted NAME=VALUE"),
        (["--pod-labels", "/no/such/file"], "--pod-labels: cannot read /no/such/file"),
        (["--outbound", "99999"], "--outbound: saw '99999', wanted HOST:PORT"),
        (["--outbound", "4140"], "--outbound: saw 127.0.0.1:4140 twice"),
    ],
)
def test_what_is_wrong_is_one_line(argv: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config(*argv)
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)
