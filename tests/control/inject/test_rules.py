"""The commands for iptables, as values; the last tests give them to the kernel, in a network namespace of their own."""

import os
import shutil
import subprocess
import sys

import pytest

from milliroute.control.inject import ports, rules
from milliroute.control.inject.rules import INCOMING, OUTGOING, Interception

MAIN = [sys.executable, "-c", "from milliroute.control.cli import main; main()", "iptables"]


def chain(options: Interception, name: str, version: int = 4) -> list[str]:
    table = rules.commands(options, version)[0].stdin
    return [line.removeprefix(f"-A {name} ") for line in table.splitlines() if line.startswith(f"-A {name} ")]


def test_what_the_proxy_sends_is_let_through_before_anything_else() -> None:
    first = chain(Interception(gid=7, outbound_to_ignore=ports.parse("1")), OUTGOING)[:3]
    assert [line.split(" -m comment")[0] for line in first] == [
        "-m owner --uid-owner 2102",
        "-m owner --gid-owner 7",
        "-o lo",
    ]
    assert all(line.endswith("-j RETURN") for line in first)


def test_the_redirect_comes_last_in_both_chains() -> None:
    options = Interception(inbound_to_ignore=ports.parse("25"), outbound_to_ignore=ports.parse("26"))
    for name, port in ((INCOMING, 4143), (OUTGOING, 4140)):
        *before, last = chain(options, name)
        assert last.endswith(f"-j REDIRECT --to-port {port}")
        assert all(line.endswith("-j RETURN") for line in before)


def test_a_rule_has_at_most_fifteen_slots_and_a_range_takes_two() -> None:
    options = Interception(inbound_to_ignore=ports.parse("1-2,3-4,5-6,7-8,9-10,11-12,13-14,15-16,17"))
    ignored = [line.split()[5] for line in chain(options, INCOMING) if line.endswith("RETURN")]
    assert ignored == ["1:2,3:4,5:6,7:8,9:10,11:12,13:14", "15:16,17"]


def test_a_subnet_is_ignored_in_its_own_family_only() -> None:
    options = Interception(subnets_to_ignore=("10.0.0.0/8", "fd00::/8"))
    assert [line.split()[:2] for line in chain(options, INCOMING, 4) if line.startswith("-s")] == [["-s", "10.0.0.0/8"]]
    assert [line.split()[:2] for line in chain(options, INCOMING, 6) if line.startswith("-s")] == [["-s", "fd00::/8"]]


def test_only_the_ports_to_redirect_are_redirected_when_there_are_some() -> None:
    lines = chain(Interception(to_redirect=ports.parse("80,8080")), INCOMING)
    assert len(lines) == 1
    assert "--dports 80,8080 " in lines[0]


@pytest.mark.parametrize(
    ("mode", "version", "tools"),
    [
        ("nft", 4, ("iptables-nft-restore", "iptables-nft")),
        ("legacy", 6, ("ip6tables-legacy-restore", "ip6tables-legacy")),
        ("plain", 6, ("ip6tables-restore", "ip6tables")),
    ],
)
def test_the_mode_and_the_family_choose_the_tool(mode: rules.Mode, version: int, tools: tuple[str, str]) -> None:
    restore, *jumps = rules.commands(Interception(mode=mode, is_waiting=True), version)
    assert restore.argv == (tools[0], "--noflush", "--wait")
    assert {command.argv[:2] for command in jumps} == {(tools[1], "-w")}


def test_another_network_namespace_is_entered() -> None:
    command = rules.commands(Interception(netns="/proc/1/ns/net"), 4)[1]
    assert command.argv[:3] == command.unless[:3] == ("nsenter", "--net=/proc/1/ns/net", "--")


CAN = os.geteuid() == 0 and all(shutil.which(name) for name in ("unshare", "iptables-nft-restore", "ip6tables-nft"))
needs_root = pytest.mark.skipif(
    not CAN, reason="needs root, unshare and iptables-nft: the rules were not tried for real"
)


def in_namespace(script: str) -> str:
    command = " ".join(f"'{word}'" for word in MAIN)
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", script.replace("milliroute iptables", command)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@needs_root
def test_the_kernel_takes_the_rules_and_a_second_run_changes_nothing() -> None:
    show = "iptables-nft -t nat -S; ip6tables-nft -t nat -S"
    given = "milliroute iptables --inbound-ports-to-ignore 4190,4191,25-30 --subnets-to-ignore 10.0.0.0/8,fd00::/8"
    once = in_namespace(f"{given}; {show}")
    assert once.count("-j REDIRECT") == 4
    assert once.count("-A PREROUTING") == once.count("-A OUTPUT") == 2
    assert in_namespace(f"{given}; {given} --use-wait-flag; {show}") == once


@pytest.mark.slow
@needs_root
def test_a_later_run_replaces_the_rules_of_an_earlier_one() -> None:
    found = in_namespace("milliroute iptables; milliroute iptables --outgoing-proxy-port 5140; iptables-nft -t nat -S")
    assert "5140" in found
    assert "4140" not in found


@pytest.mark.slow
@needs_root
def test_what_simulate_prints_does_the_same_when_a_shell_runs_it() -> None:
    show = "iptables-nft -t nat -S; ip6tables-nft -t nat -S"
    real = in_namespace(f"milliroute iptables; {show}")
    assert in_namespace(f"milliroute iptables --simulate | sh; {show}") == real
    assert "MILLIROUTE" not in in_namespace("milliroute iptables --simulate >/dev/null; iptables-nft -t nat -S")


def test_a_tool_that_is_missing_is_one_line() -> None:
    done = subprocess.run(MAIN, capture_output=True, text=True, timeout=60, check=False, env={"PATH": "/nonexistent"})
    assert done.returncode == 1
    assert done.stderr.startswith("milliroute: iptables-nft-restore: no such program")
    assert len(done.stderr.splitlines()) == 1
