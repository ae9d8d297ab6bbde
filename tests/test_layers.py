"""The ranks of the design: a module imports only what stands on a lower step, and pure modules do no I/O.

Each ladder goes from the top down. What is not listed fails the test, so a new module has to say where it belongs.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# (kind, modules of one step); no two modules of one step import each other.
Ladder = list[tuple[str, str]]

PROXY: Ladder = [
    ("rim", "__main__ worker_main"),
    ("rim", "agent.launch"),
    ("rim", "agent.agent worker"),
    ("I/O", "sidecar.gate"),
    ("I/O", "downstream.door downstream.rounds"),
    ("I/O", "downstream.tls"),
    ("I/O", "agent.surface downstream.h1 sidecar.passage"),
    ("I/O", "downstream.h2 downstream.opaque"),
    ("I/O", "downstream.h2_client"),
    ("I/O", "agent.discovery agent.admin agent.collector agent.supervisor agent.keeper exchange.exchange"),
    ("I/O", "exchange.retrying resilience.checker sidecar.roles"),
    ("I/O", "exchange.sending"),
    ("I/O", "exchange.throttle exchange.filtered"),
    ("I/O", "agent.children agent.listening agent.workerlink agent.statedir upstream.pools exchange.context"),
    ("I/O", "upstream.h1 upstream.h2"),
    ("I/O", "upstream.h2_stream"),
    ("I/O", "transport.h2_link"),
    ("I/O", "upstream.dialer transport.splice sidecar.original transport.kernel transport.heap"),
    ("pure", "agent.splitsview agent.rulemetrics heads.forwarding_h1 heads.forwarding_h2"),
    ("pure", "resilience.ejection resilience.attempts routing.router"),
    ("pure", "routing.table agent.destination agent.ledger heads.message_h2"),
    ("pure", "routing.split"),
    ("pure", "routing.leaf"),
    ("pure", "guard.access guard.limiter heads.rewriting heads.rpc heads.websocket resilience.faults"),
    ("pure", "resilience.deadlines resilience.budget resilience.accrual resilience.policy"),
    ("pure", "codec.h2_codec"),
    ("pure", "codec.h2 codec.h2_reference"),
    ("pure", "codec.h2_receiver codec.h2_reference_receiver codec.h2_reference_sender"),
    ("pure", "codec.h2_sender codec.h2_reference_state"),
    ("pure", "codec.h2_library codec.h2_events"),
    ("pure", "codec.h1 codec.h2_settings codec.h2_stream metrics agent.catalog agent.filtercheck"),
    ("pure", "codec.h1_scan codec.h1_reference codec.h1_body codec.h2_rules codec.h2_limits routing.matching"),
    ("pure", "guard.overload heads.forwarding resilience.health sidecar.ingress"),
    ("pure", "ipc agent.backoff agent.mailbox codec.hpack codec.rules downstream.detection heads.replies"),
    ("pure", "routing.selector routing.ramp routing.sticky routing.balancer"),
    ("pure", "codec.hpack_wire"),
    ("pure", "codec.huffman codec.hpack_static codec.h2_frames guard.identity guard.paths"),
    ("I/O", "transport.tls_link"),
    ("I/O", "transport.tls"),
    ("rim", "sidecar.flags"),
    ("pure", "flag_values"),
    ("values", "config"),
    ("values", "message errors state"),
    ("rim", "alarms lean logs shield transport.outbox agent.build"),
]

CONTROL: Ladder = [
    ("rim", "cli.entry"),
    ("rim", "cli.commands"),
    ("rim", "cli.checking cli.installing"),
    ("rim", "cli.mesh"),
    ("rim", "cli.hooking cli.injecting cli.intercepting cli.awaiting"),
    ("rim", "cli.demo.command"),
    ("rim", "cli.run cli.showing cli.waiting cli.handover cli.bookinfo.__main__ cli.demo.panel"),
    ("rim", "cli.cluster"),
    ("rim", "cli.render cli.setting cli.demo.gauge cli.demo.processes cli.demo.screen cli.demo.sockets"),
    ("rim", "cli.rows cli.editing cli.demo.visitors cli.demo.working_copy"),
    ("rim", "cli.apex cli.proxies cli.rewrite cli.lifeline cli.demo.plan"),
    ("rim", "cli.bookinfo.productpage cli.bookinfo.reviews cli.bookinfo.leaves"),
    ("rim", "cli.bookinfo.asking cli.bookinfo.page cli.bookinfo.server"),
    ("rim", "cli.bookinfo.client cli.bookinfo.model"),
    ("rim", "server"),
    ("I/O", "inject.webhook"),
    ("I/O", "inject.certificate"),
    ("pure", "check.installation check.pods check.rendered check.splits"),
    ("values", "check.findings"),
    ("I/O", "source.kubernetes.wiring"),
    ("I/O", "source.kubernetes.writer"),
    ("I/O", "source.kubernetes.telling source.kubernetes.source"),
    ("I/O", "source.kubernetes.following source.kubernetes.leader"),
    ("I/O", "source.kubernetes.api"),
    ("I/O", "service status admin security source.files source.beside"),
    ("pure", "source.kubernetes.assembly"),
    ("I/O", "encoding source.reading"),
    ("asyncio", "hub changes source.backends source.merge"),
    ("pure", "source.kubernetes.reflector source.kubernetes.reports"),
    ("pure", "source.kubernetes.holding"),
    ("pure", "source.kubernetes.answers"),
    ("pure", "install.manifests"),
    ("pure", "install.admission"),
    ("pure", "install.crds install.rights install.programs"),
    ("pure", "inject.manifests inject.registration"),
    ("pure", "inject.layout inject.admission"),
    ("pure", "inject.plan inject.syntax inject.emitting"),
    ("pure", "inject.annotations inject.containers inject.marks"),
    ("pure", "inject.settings inject.workloads"),
    ("pure", "inject.rules inject.edits"),
    ("pure", "inject.ports"),
    ("pure", "snapshot source.kubernetes.resources source.kubernetes.statuses"),
    ("pure", "authority"),
    ("pure", "routeviews routestatus pods"),
    ("pure", "limits"),
    ("pure", "endpoints access attachment"),
    ("pure", "index ramp manifest.objects"),
    ("pure", "manifest.policy_smi manifest.rate_policy source.kubernetes.lease"),
    ("pure", "manifest.gateway manifest.core manifest.smi manifest.policy_linkerd source.yaml"),
    ("pure", "manifest.gateway_filters"),
    ("pure", "manifest.annotations manifest.encryption manifest.health manifest.metadata manifest.traffic"),
    ("pure", "manifest.opaque source.text"),
    ("pure", "manifest.gateway_matches manifest.fault manifest.rate_limit policies"),
    ("pure", "manifest.expression"),
    ("pure", "manifest.fields manifest.duration names precedence quantity fleet subscriptions addresses"),
    ("pure", "source.kubernetes.tree source.kubernetes.framing source.kubernetes.backoff"),
    ("rim", "install.certificates"),
    ("values", "install.options install.schemas"),
    ("values", "config"),
    ("values", "views"),
    ("values", "errors model manifest.nodes"),
    ("values", "gateway"),
    ("values", "origin traffic"),
]

LADDERS = {"proxy": PROXY, "control": CONTROL}
NOT_PURE = {"asyncio", "socket", "time", "logging", "grpc", "uvloop", "threading", "subprocess"}
GENERATED = "control.api.destination_pb2"


def _modules(top: str) -> dict[str, Path]:
    found = {}
    for path in (ROOT / top).rglob("*.py"):
        parts = path.relative_to(ROOT / top).with_suffix("").parts
        if parts[-1] != "__init__" and not parts[-1].endswith("_pb2"):
            found[".".join(parts)] = path
    return found


def _imports(path: Path) -> Iterator[str]:
    """Absolute names, also of imports inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _steps(ladder: Ladder) -> dict[str, int]:
    return {module: rank for rank, (_, modules) in enumerate(reversed(ladder)) for module in modules.split()}


@pytest.mark.parametrize("top", LADDERS)
def test_every_module_stands_on_exactly_one_step(top: str) -> None:
    listed = [module for _, modules in LADDERS[top] for module in modules.split()]
    assert sorted(listed) == sorted(_modules(top))


@pytest.mark.parametrize("top", LADDERS)
def test_imports_go_strictly_down(top: str) -> None:
    ranks, wrong = _steps(LADDERS[top]), []
    for module, path in _modules(top).items():
        for name in _imports(path):
            target = name.removeprefix(f"milliroute.{top}.")
            if target in ranks and target != module and ranks[target] >= ranks[module]:
                wrong.append(f"{module} -> {target}")
    assert wrong == []


@pytest.mark.parametrize("top", LADDERS)
def test_pure_modules_do_no_io(top: str) -> None:
    wrong = []
    for kind, modules in LADDERS[top]:
        for module in modules.split() if kind in ("pure", "values") else []:
            imported = {name.partition(".")[0] for name in _imports(_modules(top)[module])}
            wrong += [f"{module} imports {name}" for name in sorted(imported & NOT_PURE)]
    assert wrong == []


def test_the_one_crossing_is_the_generated_protocol() -> None:
    crossings = {
        (module, name.removeprefix("milliroute."))
        for module, path in _modules("proxy").items()
        for name in _imports(path)
        if name.startswith("milliroute.control")
    }
    assert crossings == {("agent.destination", "control.api"), ("agent.destination", GENERATED)}
    for path in _modules("control").values():
        assert not any(name.startswith("milliroute.proxy") for name in _imports(path)), path


def test_a_worker_carries_no_grpc_and_no_metrics_library() -> None:
    code = "import sys, milliroute.proxy.worker; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"grpc", "google.protobuf", "prometheus_client", "click", "yaml", "re2"} & set(modules) == set()


def test_an_agent_carries_no_data_path_and_no_grpc_before_its_workers_are_forked() -> None:
    code = "import sys, milliroute.proxy.__main__, milliroute.proxy.agent.launch; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    forbidden = {"grpc", "google.protobuf", "prometheus_client", "uvloop", "h11", "typing_extensions"}
    assert forbidden & set(modules) == set()
