"""The verbs and their flags. Each verb's work is elsewhere and imported when the verb runs.

Flag over environment over default; `--some-flag` is MILLIROUTE_SOME_FLAG. Data goes to stdout, progress to stderr. Exit
codes: 0 ok, 1 failure with one line on stderr, 2 usage.
"""

import ipaddress
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, get_args

import click

from milliroute.control import errors
from milliroute.control.cli import checking, installing, mesh
from milliroute.control.config import (
    DEFAULT_ADMIN,
    DEFAULT_LISTEN,
    DEFAULT_PROXY_ADMIN,
    VERSION,
    ClusterAccess,
    ControlConfig,
    StreamSecurity,
)
from milliroute.control.model import CLUSTER_NETWORKS, AccessDefaults, AccessMode

if TYPE_CHECKING:
    from milliroute.control.cli.setting import Done

F = TypeVar("F", bound=Callable[..., object])
Option = Callable[[F], F]

PASS_ALL = {"ignore_unknown_options": True, "help_option_names": []}


def main(args: list[str]) -> None:
    """Run one verb and exit."""
    try:
        cli.main(args, prog_name="milliroute")
    except errors.ConfigError as error:
        _fail(str(error), 2)
    except errors.ControlError as error:
        _fail(str(error), 1)


def _fail(text: str, code: int) -> None:
    print(f"milliroute: {text}", file=sys.stderr)
    sys.exit(code)


def _env(flag: str) -> str:
    return "MILLIROUTE_" + flag.strip("-").replace("-", "_").upper()


def flag(name: str, *short: str, default: str | float | None = None, text: str) -> Callable[[F], F]:
    """A flag with one value."""
    return click.option(*short, name, envvar=_env(name), default=default, show_default=default is not None, help=text)


def flags(name: str, *short: str, argument: str, metavar: str, text: str) -> Callable[[F], F]:
    """A flag that may repeat; its environment value is split at blanks."""
    return click.option(*short, name, argument, envvar=_env(name), multiple=True, metavar=metavar, help=text)


files_flag = click.option(
    "-f",
    "--file",
    "files",
    envvar=_env("--file"),
    multiple=True,
    type=click.Path(),
    metavar="FILE|DIR",
    help="Manifests: TrafficSplit, HTTPRouteGroup, Service, EndpointSlice. May repeat.",
)
backends_flag = flags(
    "--backend", argument="backends", metavar="NAME=HOST:PORT[,...]", text="A Service with its endpoints. May repeat."
)
default_policy_flag = click.option(
    "--default-policy",
    envvar=_env("--default-policy"),
    type=click.Choice(get_args(AccessMode)),
    default="all-unauthenticated",
    show_default=True,
    help="Who may ask a Service that no Server guards.",
)
networks_flag = flags(
    "--cluster-network", argument="networks", metavar="CIDR", text="Of cluster-... policies; private ones otherwise."
)
trust_domain_flag = flag("--trust-domain", default="cluster.local", text="Of the identities of ServiceAccounts.")
admins_flag = flags(
    "--admin",
    argument="admins",
    metavar="HOST:PORT",
    text=f"Proxies to ask. May repeat. [default: {DEFAULT_PROXY_ADMIN}]",
)
kubernetes_flag = click.option(
    "--kubernetes", envvar=_env("--kubernetes"), is_flag=True, help="Read a cluster's API server."
)
kubeconfig_flag = flag("--kubeconfig", default="", text="Of that cluster; as kubectl finds it otherwise.")
context_flag = flag("--context", default="", text="Of the kubeconfig.")
namespace_flag = flag("--namespace", default="", text="Of the cluster, only this one; all otherwise.")


def cluster_flags(verb: F) -> F:
    """All four."""
    return kubernetes_flag(kubeconfig_flag(context_flag(namespace_flag(verb))))


@click.group()
@click.version_option(VERSION, message="milliroute %(version)s")
def cli() -> None:
    """Exact, instant traffic splitting."""


@cli.command()
@files_flag
@backends_flag
@flag("--listen", default=DEFAULT_LISTEN, text="Where proxies connect: HOST:PORT or unix:PATH.")
@flag("--admin", default=DEFAULT_ADMIN, text="Metrics and state.")
@default_policy_flag
@networks_flag
@trust_domain_flag
@flag("--tls-cert", default="", text="Certificate, in PEM: proxies must use TLS then.")
@flag("--tls-key", default="", text="Its private key, in PEM.")
@flag("--tls-client-ca", default="", text="Authorities of proxies, in PEM: they must show a certificate then.")
@flag("--token-file", default="", text="What is in it proxies must show as a bearer token.")
@cluster_flags
def control(
    files: tuple[str, ...],
    backends: tuple[str, ...],
    listen: str,
    admin: str,
    default_policy: AccessMode,
    networks: tuple[str, ...],
    trust_domain: str,
    tls_cert: str,
    tls_key: str,
    tls_client_ca: str,
    token_file: str,
    kubernetes: bool,
    kubeconfig: str,
    context: str,
    namespace: str,
) -> None:
    """Serve splits from files or a cluster to proxies."""
    cluster = _cluster(kubernetes, kubeconfig, context, namespace)
    if cluster is None:
        _want_source(files, backends)
    _log_to_stderr()
    from milliroute.control import server

    access = _access(default_policy, networks, trust_domain)
    security = StreamSecurity(tls_cert, tls_key, tls_client_ca, token_file)
    server.serve(ControlConfig(_absolute(files), backends, listen, admin, access, security, cluster))


@cli.command()
@files_flag
@backends_flag
@flags("--listen", argument="listen", metavar="HOST:PORT[=APEX]", text="Where clients connect. May repeat.")
@flag("--admin", text=f"The proxy's metrics and state. [default: {DEFAULT_PROXY_ADMIN}]")
@flag("--control-admin", default=DEFAULT_ADMIN, text="The control service's metrics and state.")
@click.option("--workers", envvar=_env("--workers"), type=click.IntRange(1), help="Worker processes.")
@click.option("--codec", envvar=_env("--codec"), type=click.Choice(["fast", "reference"]), help="HTTP parser.")
@default_policy_flag
@networks_flag
@trust_domain_flag
def run(
    files: tuple[str, ...],
    backends: tuple[str, ...],
    listen: tuple[str, ...],
    admin: str | None,
    control_admin: str,
    workers: int | None,
    codec: str | None,
    default_policy: AccessMode,
    networks: tuple[str, ...],
    trust_domain: str,
) -> None:
    """Control service and proxy in one: no cluster needed."""
    _want_source(files, backends)
    if not listen:
        raise click.UsageError("nothing to listen on: want --listen HOST:PORT or --listen HOST:PORT=APEX")
    _log_to_stderr()
    from milliroute.control.cli import run as running

    access = _access(default_policy, networks, trust_domain)
    config = running.RunConfig(_absolute(files), backends, listen, control_admin, admin, workers, codec, access)
    sys.exit(running.run(config))


@cli.group()
def split() -> None:
    """Show and set the weights of a split."""


@split.command("show")
@click.argument("apex", required=False)
@files_flag
@admins_flag
@click.option("-o", "--output", envvar=_env("--output"), type=click.Choice(["table", "json", "yaml"]), default="table")
@click.option("-w", "--watch", envvar=_env("--watch"), is_flag=True, help="Once a second, until Ctrl-C.")
@cluster_flags
def split_show(
    apex: str | None,
    files: tuple[str, ...],
    admins: tuple[str, ...],
    output: str,
    watch: bool,
    kubernetes: bool,
    kubeconfig: str,
    context: str,
    namespace: str,
) -> None:
    """Configured weights beside what proxies observed, per leaf."""
    from milliroute.control.cli import showing

    cluster = _cluster(kubernetes, kubeconfig, context, namespace)
    query = showing.Query(apex or "", files, admins or (DEFAULT_PROXY_ADMIN,), output, cluster)
    showing.watch(query) if watch else showing.show(query)


@split.command("set")
@click.argument("apex")
@click.argument("weights", nargs=-1, required=True, metavar="LEAF=WEIGHT...")
@files_flag
@admins_flag
@click.option("--wait", envvar=_env("--wait"), is_flag=True, help="Return when the proxies route by the new weights.")
@click.option("--timeout", envvar=_env("--timeout"), type=click.FloatRange(0), default=10.0, show_default=True,
              metavar="SECONDS", help="How long --wait waits.")  # fmt: skip
@cluster_flags
def split_set(
    apex: str,
    weights: tuple[str, ...],
    files: tuple[str, ...],
    admins: tuple[str, ...],
    wait: bool,
    timeout: float,
    kubernetes: bool,
    kubeconfig: str,
    context: str,
    namespace: str,
) -> None:
    """Write new weights into the split's file, or the cluster; leaves not named get 0."""
    from milliroute.control.cli import setting, waiting

    wanted = setting.parse_weights(weights)
    asked = admins or (DEFAULT_PROXY_ADMIN,)
    cluster = _cluster(kubernetes, kubeconfig, context, namespace)
    if cluster is None:
        done = setting.apply(apex, wanted, _split_files(apex, files, asked))
    elif files:
        raise click.UsageError("-f and --kubernetes: saw both, want the one that has the split")
    else:
        done = _in_cluster(apex, wanted, cluster)
    for line in done.lines():
        click.echo(line)
    if not any(done.weights_micro().values()):
        click.echo("milliroute: all weights are 0: traffic goes to the apex's own endpoints", err=True)
    if wait:
        waiting.until_in_force(done, asked, timeout)


def _split_files(apex: str, files: tuple[str, ...], admins: tuple[str, ...]) -> list[str]:
    from milliroute.control.cli import proxies, setting

    if files:
        return setting.files(files)
    answers = proxies.ask(admins)
    if not answers.pages:
        raise errors.ControlError(f"no proxy answered ({'; '.join(answers.silent)}); name the file with -f")
    return setting.files_of_proxies(apex, answers.pages)


def _in_cluster(apex: str, weights: dict[str, str], access: ClusterAccess) -> "Done":
    try:
        from milliroute.control.cli import cluster
    except ImportError as error:
        raise errors.missing_extra("--kubernetes", error) from error
    return cluster.set_weights(apex, weights, access)


@cli.command(context_settings=PASS_ALL)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def demo(args: tuple[str, ...]) -> None:
    """A small shop with a split to play with."""
    from milliroute.control.cli import demo as shop

    sys.exit(shop.main(list(args)))


@cli.command(context_settings=PASS_ALL)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def proxy(args: tuple[str, ...]) -> None:
    """Route requests by the splits of a control service."""
    from milliroute.control.cli.handover import become_proxy

    become_proxy(list(args))


@cli.command()
def version() -> None:
    """Print the version."""
    click.echo(f"milliroute {VERSION}")


for verb in (*mesh.VERBS, installing.install, checking.check):
    cli.add_command(verb)


def _access(mode: AccessMode, networks: tuple[str, ...], trust_domain: str) -> AccessDefaults:
    for text in networks:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise errors.ConfigError(
                f"--cluster-network: saw {text!r} ({error}), want a CIDR such as 10.0.0.0/8"
            ) from None
    return AccessDefaults(mode, networks or CLUSTER_NETWORKS, trust_domain)


def _cluster(is_wanted: bool, kubeconfig: str, context: str, namespace: str) -> ClusterAccess | None:
    given = [f"--{name}" for name, value in (("kubeconfig", kubeconfig), ("context", context)) if value]
    if not is_wanted and given:
        raise click.UsageError(f"{given[0]}: saw it without --kubernetes, want both or none")
    return ClusterAccess(kubeconfig, context, namespace) if is_wanted else None


def _want_source(files: tuple[str, ...], backends: tuple[str, ...]) -> None:
    if not (files or backends):
        raise click.UsageError("nothing to serve: want -f FILE, --backend NAME=HOST:PORT or, for control, --kubernetes")


def _absolute(files: tuple[str, ...]) -> tuple[str, ...]:
    """So that `split set`, run elsewhere, finds the file that a proxy names."""
    return tuple(os.path.abspath(file) for file in files)


def _log_to_stderr() -> None:
    # Before grpc is imported: its own lines about a port or a peer say what ours say already.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="milliroute: %(levelname)s %(message)s")
