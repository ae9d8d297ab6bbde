"""Sidecars in network namespaces: real rules of iptables, unchanged clients, a ClusterIP that no host has."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.stand import MILLIROUTE, eventually
from tests.netns.mesh import (
    BOOKS_V6,
    CLUSTER_V4,
    CLUSTER_V6,
    DETECT_S,
    GREETER_V4,
    SKIPPED,
    UNDECLARED,
    Mesh,
    mesh,
    service,
    slices,
)
from tests.netns.world import PROXY_UID, why_not

pytestmark = [pytest.mark.skipif(bool(why_not()), reason=why_not()), pytest.mark.slow]

ALL = json.dumps({"200 v1": 900, "200 v2": 100})
# No request of any kind, and one that a proxy would have to refuse: both must arrive as they are.
ODD_BYTES = b"GET / HTTP/1.1\nHost:  x\nbad line\n\n\0\1\2\xff" * 100
NEW_V4, OTHER_V4 = "10.96.0.20", "10.96.0.21"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with mesh(tmp_path_factory.mktemp("mesh")) as made:
        yield made


def shares(text: str) -> dict[str, int]:
    found: dict[str, int] = json.loads(text)
    return found


def test_requests_to_the_cluster_ip_are_split_exactly(here: Mesh) -> None:
    assert shares(here.app.client("http", CLUSTER_V4, "80", "1000")) == shares(ALL)


def test_connections_to_the_cluster_ip_are_split_exactly(here: Mesh) -> None:
    assert shares(here.app.client("http", CLUSTER_V4, "80", "1000", "new")) == shares(ALL)


def test_curl_is_split_exactly(here: Mesh) -> None:
    bodies = here.app.run("curl", "-sS", "-w", "\n", f"http://{CLUSTER_V4}/?[1-1000]").split()
    assert (bodies.count("v1"), bodies.count("v2")) == (900, 100)


@pytest.mark.parametrize("address", [CLUSTER_V6, BOOKS_V6])
def test_ipv6_is_split_exactly(here: Mesh, address: str) -> None:
    """To a Service of both families, whose pods are IPv4 here, and to one of IPv6 alone."""
    assert shares(here.app.client("http", address, "80", "1000")) == shares(ALL)


def test_a_pods_address_is_reached_without_a_split(here: Mesh) -> None:
    for address in (here.v2.v4, here.v2.v6):
        assert shares(here.app.client("http", address, "8080", "100")) == {"200 v2": 100}
    key = f"{here.v2.v4}:8080"
    eventually(lambda: here.app.metrics("request_total", authority=key) == 100, "the pod's requests are counted")


def test_the_request_arrives_as_the_app_wrote_it(here: Mesh) -> None:
    got = here.app.client("get", CLUSTER_V4, "80", "/echo", "x-Trace=1", "X-Forwarded-For=1.2.3.4")
    assert got.splitlines() == [
        "200 GET /echo HTTP/1.1",
        f"Host: {CLUSTER_V4}",
        "Accept-Encoding: identity",
        "x-Trace: 1",
        "X-Forwarded-For: 1.2.3.4",
    ]


def test_orders_to_proxies_are_the_ingress_modes_alone(here: Mesh) -> None:
    got = here.app.client("get", here.v2.v4, "8080", "/echo", "l5d-dst-override=reviews-v1.default:80")
    assert "l5d" not in got
    assert here.app.client("get", here.v2.v4, "8080", "/", "l5d-dst-override=reviews-v1.default:80") == "200 v2"


def test_a_server_that_speaks_first_is_heard_at_once(here: Mesh) -> None:
    """A declared Service, a port that is opaque everywhere, and an address that nobody knows."""
    for host, port, name in (
        (GREETER_V4, UNDECLARED, "v2"),
        (here.v2.v4, 3306, "v2"),
        (here.outside.v4, UNDECLARED, "out"),
        (here.outside.v6, UNDECLARED, "out"),
    ):
        waited_ms, heard = here.app.client("hear", host, str(port)).split()
        assert (heard, int(waited_ms) < 1000) == (name, True)


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_an_unknown_address_is_passed_byte_for_byte(here: Mesh, family: str) -> None:
    address = here.outside.v4 if family == "v4" else here.outside.v6
    assert bytes.fromhex(here.app.client("say", address, "9999", ODD_BYTES.hex())) == ODD_BYTES
    assert here.app.client("get", address, "8080", "/") == "200 out"


def test_the_proxys_own_traffic_is_not_caught(here: Mesh) -> None:
    """Nobody has the ClusterIP, so whoever is not caught gets nothing from it."""
    before = caught(here)
    refused = here.app.run("curl", "-sS", "-m", "2", f"http://{CLUSTER_V4}/", uid=PROXY_UID, check=False)
    assert refused == ""
    assert here.app.run("curl", "-sS", f"http://{here.v2.v4}:8080/", uid=PROXY_UID) == "v2"
    assert caught(here) == before
    assert here.app.run("curl", "-sS", f"http://{here.v2.v4}:8080/") == "v2"
    assert caught(here) == before + 1


def test_skipped_ports_go_straight_to_the_server(here: Mesh) -> None:
    before = caught(here)
    assert here.app.client("hear", here.v2.v4, str(SKIPPED)).split()[1] == here.app.v4
    assert caught(here) == before


def caught(here: Mesh) -> int:
    """Connections of the app's pod that the rules have led to the proxy, as the kernel counts them."""
    listed = here.app.run("iptables-nft", "-t", "nat", "-nvxL", "MILLIROUTE_OUTPUT", uid=0)
    (line,) = (line for line in listed.splitlines() if "REDIRECT" in line)
    return int(line.split()[0])


def test_inbound_requests_are_counted_with_the_workloads_labels(here: Mesh) -> None:
    labels = {"direction": "inbound", "dst_service": "reviews-v1", "workload": "reviews-v1", "pod": "v1"}
    before = here.v1.metrics("request_total", **labels)
    here.app.client("http", CLUSTER_V4, "80", "1000")
    eventually(lambda: here.v1.metrics("request_total", **labels) == before + 900, "900 more inbound requests")
    assert here.v1.metrics("response_total", **labels, status_code="200", authority=f"{here.v1.v4}:8080") >= 900
    assert here.v1.metrics("tcp_open_total", direction="inbound", peer="src") > 0


def test_inbound_policies_hold_by_network(here: Mesh) -> None:
    for v1 in (here.v1.v4, here.v1.v6):
        assert here.app.client("get", v1, "8080", "/") == "200 v1"
        assert here.outside.client("get", v1, "8080", "/").strip() == "403"
        # The policy is for one port; this one is anybody's.
        assert here.outside.client("say", v1, "9999", "00ff") == "00ff"
    labels = {"srv_kind": "Server", "srv_name": "default/reviews-v1"}
    eventually(lambda: here.v1.metrics("inbound_http_authz_deny_total", **labels) == 2, "two denials")


def test_inbound_bytes_that_are_no_request_pass(here: Mesh) -> None:
    data = b"\0\1\2\xff" * 5000
    assert bytes.fromhex(here.outside.client("say", here.v1.v4, "9999", data.hex())) == data


def test_a_server_that_speaks_first_and_nobody_declared_is_heard_after_the_detection_timeout(here: Mesh) -> None:
    waited_ms, heard = here.outside.client("hear", here.v1.v4, str(UNDECLARED)).split()
    # The sweep that looks is some hundred milliseconds coarse.
    assert (heard, DETECT_S * 1000 - 400 <= int(waited_ms) < DETECT_S * 1000 + 3000) == ("v1", True)


def test_a_port_that_iptables_skips_is_not_looked_at(here: Mesh) -> None:
    """The app sees who asks; through a sidecar it sees its own pod."""
    assert here.outside.client("hear", here.v1.v4, str(SKIPPED)).split()[1] == here.outside.v4
    assert here.outside.client("hear", here.v1.v4, "4568").split()[1] == here.v1.v4


@pytest.mark.parametrize("port", [4140, 4143])
def test_the_proxys_own_ports_lead_nowhere(here: Mesh, port: int) -> None:
    assert here.outside.client("get", here.v1.v4, str(port), "/").strip() == "508"
    assert here.app.client("get", "127.0.0.1", str(port), "/").strip() == "508"


def test_the_printed_rules_are_the_rules_in_force(here: Mesh) -> None:
    """`--simulate` run by a shell in a new pod catches as the verb itself does; a second run changes nothing."""
    printed = here.app.run(MILLIROUTE, "iptables", "--simulate", "--outbound-ports-to-ignore", str(SKIPPED))
    for family in ("iptables-nft-save", "ip6tables-nft-save"):
        before = rules(here, family)
        here.app.run("sh", uid=0, stdin=printed)
        assert rules(here, family) == before != []


def rules(here: Mesh, tool: str) -> list[str]:
    return [line for line in here.app.run(tool, "-t", "nat", uid=0).splitlines() if line.startswith("-A")]


def test_the_older_iptables_catches_as_well(here: Mesh) -> None:
    pod = here.world.pod("legacy", 20)
    pod.sidecar(here.destination)
    pod.catch("--firewall-mode", "legacy")
    # Whom the policy of v1 does not let in.
    found = shares(pod.client("http", CLUSTER_V4, "80", "1000"))
    assert found == {"403 ": 1000}
    assert shares(pod.client("http", here.v2.v4, "8080", "10")) == {"200 v2": 10}


def test_a_new_cluster_ip_is_used_by_the_next_connection(here: Mesh) -> None:
    """It was asked for, and was unknown, before: then it appears, moves to another Service, and goes."""
    new, other = service("new", NEW_V4, port=80, target=8080), service("other", OTHER_V4, port=80, target=8080)
    ends = slices("new", 8080, here.v2.v4) + slices("other", 8080, here.v1.v4)
    try:
        assert fails(here, NEW_V4)
        here.write(new + other + ends)
        eventually(lambda: answer(here, NEW_V4) == "v2", "the new ClusterIP answers")
        assert answer(here, OTHER_V4) == "v1"
        here.write(new.replace(NEW_V4, "10.96.0.22") + other.replace(OTHER_V4, NEW_V4) + ends)
        eventually(lambda: answer(here, NEW_V4) == "v1", "the ClusterIP is the other Service's")
        here.write()
        eventually(lambda: fails(here, NEW_V4), "nobody has the ClusterIP any more")
    finally:
        here.write()


def answer(here: Mesh, address: str) -> str:
    return here.app.run("curl", "-sS", "-m", "2", f"http://{address}/", check=False)


def fails(here: Mesh, address: str) -> bool:
    return answer(here, address) == ""


def test_known_addresses_go_on_and_unknown_ones_pass_while_the_control_service_is_away(here: Mesh) -> None:
    """The last test: the control service does not come back."""
    assert shares(here.app.client("http", CLUSTER_V4, "80", "1000")) == shares(ALL)
    here.service.stop()
    assert shares(here.app.client("http", CLUSTER_V4, "80", "1000")) == shares(ALL)
    # For an answer 3 s are waited, and by whoever dials that address next, nothing.
    for most_ms in (4500, 1000):
        waited_ms, heard = here.app.client("hear", here.outside.v4, "3306").split()
        assert (heard, int(waited_ms) < most_ms) == ("out", True)
