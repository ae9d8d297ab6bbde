"""How a proxy starts: listeners, workers, then the agent's loop, in this order.

The rule: no grpc, protobuf, prometheus_client or event loop before fork_first(), because a fork of a process with
threads is unsafe; they are imported inside _serve, after it. So is what only the agent needs: whatever is alive at the
fork ends up twice in memory, because counting references writes to its pages (0.7 MiB measured).
"""

import asyncio
import logging
import socket
import sys
import time
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from milliroute.proxy.agent import listening
from milliroute.proxy.agent.children import RunWorker
from milliroute.proxy.agent.supervisor import Supervisor
from milliroute.proxy.config import HostPort, ProxyConfig, TlsFiles
from milliroute.proxy.errors import TlsFileError

if TYPE_CHECKING:
    from milliroute.proxy.agent.statedir import StateDir

log = logging.getLogger(__name__)

# Of a hello; no label of the pod.
WORKLOAD_LABEL = "milliroute.io/workload"


def run(config: ProxyConfig, run_worker: RunWorker) -> int:
    """The whole proxy: returns its exit code. Raises ListenError or TlsFileError when an address, a directory or a file
    cannot be had."""
    if config.tls is not None:
        _check_tls(config.tls)
    if config.upstream_tls is not None:
        _check_upstream_tls(config.upstream_tls)
    state_dir = _state_dir(config.state_dir) if config.state_dir else None
    opened = listening.open_groups(config.listeners, config.workers)
    config, groups = replace(config, listeners=tuple(one for one, _ in opened)), [group for _, group in opened]
    admin = listening.open_group(config.admin, 1)[0] if config.admin else None
    for listener, group in zip(config.listeners, groups, strict=True):
        address = listening.describe(listener, listening.bound_address(group[0]))
        print(f"milliroute: listening {listener.side or 'proxy'} {address}", file=sys.stderr)
    if admin is not None:
        print(f"milliroute: listening admin {listening.bound_address(admin)}", file=sys.stderr, flush=True)
    supervisor = Supervisor(config, list(zip(*groups, strict=True)))
    supervisor.fork_first(run_worker, [admin] if admin is not None else [])
    return asyncio.run(_serve(config, supervisor, admin, state_dir))


async def _serve(
    config: ProxyConfig, supervisor: Supervisor, admin: socket.socket | None, state_dir: "StateDir | None"
) -> int:
    from milliroute.proxy.agent.agent import Agent
    from milliroute.proxy.agent.destination import Hello
    from milliroute.proxy.agent.discovery import Discovery

    keeper = None
    if state_dir is not None:
        from milliroute.proxy.agent.keeper import Keeper

        keeper = Keeper(state_dir)
    agent = Agent(config, supervisor, keeper)
    if state_dir is not None:
        kept, problems = state_dir.load()
        for problem in problems:
            log.warning("state directory: %s", problem)
        agent.load(kept, time.time_ns())
    address = str(_reachable(listening.bound_address(admin))) if admin is not None else ""
    hello = Hello(config.proxy_id, config.namespace, address, labels=_labels(config))
    if config.sidecar is not None:
        hello = replace(hello, capabilities=(*hello.capabilities, "addresses"))
    discovery = Discovery(
        config.destination,
        hello,
        agent,
        now_s=time.monotonic,
        unix_ns=time.time_ns,
        rng=Random(),
        tls=config.control_tls,
    )
    return await agent.run(discovery, admin)


def _labels(config: ProxyConfig) -> dict[str, str]:
    """Of the pod, by which policies find it, and what its own metrics call it."""
    sidecar = config.sidecar
    if sidecar is None:
        return {}
    named = {WORKLOAD_LABEL: sidecar.workload} if sidecar.workload else {}
    return {**dict(sidecar.labels), **named}


def _check_tls(files: TlsFiles) -> None:
    """The workers read them for themselves; here one line tells what is wrong, before anything listens."""
    from milliroute.proxy.transport import tls

    tls.server_context(files)


def _check_upstream_tls(files: TlsFiles) -> None:
    from milliroute.proxy.transport import tls

    try:
        tls.show(tls.client_context("", offers_h2=False), files)
    except OSError as error:
        raise TlsFileError(f"--upstream-tls-cert and --upstream-tls-key: {error.strerror}") from error


def _state_dir(path: str) -> "StateDir":
    from milliroute.proxy.agent.statedir import StateDir

    return StateDir(path)


def _reachable(address: HostPort) -> HostPort:
    """A listener on all addresses is told to others as loopback: they look from the same machine or pod."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return HostPort(loopback.get(address.host, address.host), address.port)
