"""Which TCP connections of a pod go through its proxy: options in, commands for iptables out.

Two chains in the table nat. MILLIROUTE_REDIRECT, from PREROUTING, leads what comes in to the inbound port;
MILLIROUTE_OUTPUT, from OUTPUT, leads what goes out to the outbound port. UDP is never touched.

Both chains are written by one `iptables-restore --noflush`, which empties a chain that it declares and takes all or
nothing, and the jumps into them are added only where they are missing: so a second run changes nothing, and no
connection ever meets half of the rules. The rule not to break: what the proxy itself sends (its uid) is never caught,
or it would talk to itself for ever.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from milliroute.control.inject import ports as port_lists
from milliroute.control.inject.ports import Ports

Mode = Literal["nft", "legacy", "plain"]

INCOMING = "MILLIROUTE_REDIRECT"
OUTGOING = "MILLIROUTE_OUTPUT"
# xt_multiport: so many ports in a rule, and a range counts as two.
MAX_SLOTS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Interception:
    """`uid`, `gid`: whose connections are let through, None for nobody's. `to_redirect` (): every port that comes in.

    `mode`: which iptables of those that are installed; `is_waiting`: for a lock that somebody else holds.
    """

    incoming_port: int = 4143
    outgoing_port: int = 4140
    uid: int | None = 2102
    gid: int | None = None
    inbound_to_ignore: tuple[Ports, ...] = ()
    outbound_to_ignore: tuple[Ports, ...] = ()
    subnets_to_ignore: tuple[str, ...] = ()
    to_redirect: tuple[Ports, ...] = ()
    mode: Mode = "nft"
    is_waiting: bool = False
    netns: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """`stdin` is fed to it. `unless`: a command that, when it succeeds, makes this one needless."""

    argv: tuple[str, ...]
    stdin: str = ""
    unless: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As a line of shell, or several with what it is fed."""
        line = shlex.join(self.argv)
        if self.unless:
            return f"{shlex.join(self.unless)} 2>/dev/null || {line}"
        return f"{line} <<'END'\n{self.stdin}END" if self.stdin else line


def commands(options: Interception, version: int) -> list[Command]:
    """In this order, for IP version 4 or 6."""
    table = "\n".join(["*nat", f":{INCOMING} - [0:0]", f":{OUTGOING} - [0:0]", *_rules(options, version), "COMMIT", ""])
    restore = (*_tool(options, version, "restore"), "--noflush", *(("--wait",) if options.is_waiting else ()))
    return [
        Command(restore, table),
        _jump(options, version, "PREROUTING", INCOMING, "install-incoming"),
        _jump(options, version, "OUTPUT", OUTGOING, "install-outgoing"),
    ]


def _tool(options: Interception, version: int, suffix: str = "") -> tuple[str, ...]:
    enter = ("nsenter", f"--net={options.netns}", "--") if options.netns else ()
    names = ["iptables" if version == 4 else "ip6tables", "" if options.mode == "plain" else options.mode, suffix]
    return (*enter, "-".join(name for name in names if name))


def _jump(options: Interception, version: int, chain: str, target: str, name: str) -> Command:
    tool = (*_tool(options, version), *(("-w",) if options.is_waiting else ()), "-t", "nat")
    rule = (chain, *_commented(name), "-j", target)
    return Command((*tool, "-A", *rule), unless=(*tool, "-C", *rule))


def _rules(options: Interception, version: int) -> Iterator[str]:
    for rule in (*_incoming(options, version), *_outgoing(options)):
        yield shlex.join(rule)


def _incoming(options: Interception, version: int) -> Iterator[tuple[str, ...]]:
    for group in _grouped(options.inbound_to_ignore):
        yield _rule(INCOMING, f"ignore-port-{group}", _to_ports(group))
    for subnet in port_lists.of_family(options.subnets_to_ignore, version):
        yield _rule(INCOMING, f"ignore-subnet-{subnet}", ("-s", subnet))
    for group in _grouped(options.to_redirect):
        yield _rule(INCOMING, f"redirect-port-{group}", _to_ports(group), options.incoming_port)
    if not options.to_redirect:
        yield _rule(INCOMING, "redirect-all-incoming", ("-p", "tcp"), options.incoming_port)


def _outgoing(options: Interception) -> Iterator[tuple[str, ...]]:
    if options.uid is not None:
        yield _rule(OUTGOING, "ignore-proxy-user", ("-m", "owner", "--uid-owner", str(options.uid)))
    if options.gid is not None:
        yield _rule(OUTGOING, "ignore-proxy-group", ("-m", "owner", "--gid-owner", str(options.gid)))
    # Also what a pod sends to its own address, which never leaves it; by its ClusterIP it goes through the proxy.
    yield _rule(OUTGOING, "ignore-loopback", ("-o", "lo"))
    for group in _grouped(options.outbound_to_ignore):
        yield _rule(OUTGOING, f"ignore-port-{group}", _to_ports(group))
    yield _rule(OUTGOING, "redirect-all-outgoing", ("-p", "tcp"), options.outgoing_port)


def _rule(chain: str, name: str, match: tuple[str, ...], redirect_to: int | None = None) -> tuple[str, ...]:
    target = ("RETURN",) if redirect_to is None else ("REDIRECT", "--to-port", str(redirect_to))
    return ("-A", chain, *match, *_commented(name), "-j", *target)


def _commented(name: str) -> tuple[str, ...]:
    return ("-m", "comment", "--comment", f"milliroute/{name}")


def _to_ports(group: str) -> tuple[str, ...]:
    return ("-p", "tcp", "-m", "multiport", "--dports", group)


def _grouped(ports: Sequence[Ports]) -> Iterator[str]:
    """As many of them as fit into one rule, as multiport writes them: 25,4567:4568."""
    group: list[str] = []
    free = MAX_SLOTS
    for part in ports:
        slots = 1 if part.first == part.last else 2
        if slots > free:
            yield ",".join(group)
            group, free = [], MAX_SLOTS
        group.append(str(part).replace("-", ":"))
        free -= slots
    if group:
        yield ",".join(group)
