"""The verbs of a sidecar and their flags: inject, uninject, webhook, iptables, await.

As in `commands`, the work is elsewhere and imported when the verb runs.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal, TypedDict, TypeVar, Unpack, get_args

import click

from milliroute.control import errors
from milliroute.control.config import DEFAULT_PROXY_ADMIN, VERSION, parse_address
from milliroute.control.inject import annotations
from milliroute.control.inject import ports as port_lists
from milliroute.control.inject.plan import Wish
from milliroute.control.inject.rules import Interception, Mode
from milliroute.control.inject.settings import DEFAULT_DESTINATION, Settings

F = TypeVar("F", bound=Callable[..., object])
Default = Literal["enabled", "ingress", ""]

PORT = click.IntRange(1, 65_535)
MODE = click.Choice(get_args(Mode))
ID = click.IntRange(0, 2**31 - 1)


def ports(text: str) -> object:
    with _refusing():
        return port_lists.parse(text)


def cidrs(text: str) -> object:
    with _refusing():
        return port_lists.networks(text)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except errors.ValueTextError as error:
        raise click.BadParameter(str(error)) from error


def option(name: str, argument: str, kind: object, default: str | float | bool | None, text: str) -> Callable[[F], F]:
    """A flag whose environment name is MILLIROUTE_SOME_FLAG; `kind` None: a text."""
    variable = "MILLIROUTE_" + name.partition("/")[0].strip("-").replace("-", "_").upper()
    is_shown = default not in (None, "", False)
    return click.option(
        name, argument, type=kind, default=default, envvar=variable, show_default=is_shown, help=text,
        is_flag=isinstance(default, bool),
    )  # fmt: skip


class ProxyOptions(TypedDict):
    """What `proxy_options` hands on."""

    config: tuple[str, ...]
    image: str
    is_classic: bool
    destination: str
    firewall_mode: Mode


def proxy_options(verb: F) -> F:
    """Those of a verb that makes proxies."""
    config = click.option(
        "--config", envvar="MILLIROUTE_CONFIG", multiple=True, metavar="NAME=VALUE",
        help="As the annotation config.milliroute.io/NAME on each workload, which beats it. May repeat.",
    )  # fmt: skip
    for add in (
        option("--firewall-mode", "firewall_mode", MODE, "nft", "Which iptables the image has."),
        option("--destination", "destination", None, DEFAULT_DESTINATION, "The control service."),
        option("--classic", "is_classic", None, False, "A plain container, for Kubernetes before 1.29."),
        option("--image", "image", None, "", "The proxy's image. [default: milliroute:VERSION]"),
        config,
    ):
        verb = add(verb)
    return verb


@click.command()
@option("--incoming-proxy-port", "incoming_port", PORT, 4143, "Where what comes in is led.")
@option("--outgoing-proxy-port", "outgoing_port", PORT, 4140, "Where what goes out is led.")
@option("--proxy-uid", "uid", ID, 2102, "What this user sends is let through.")
@option("--proxy-gid", "gid", ID, None, "What this group sends is let through too.")
@option("--inbound-ports-to-ignore", "inbound_to_ignore", ports, "4191", "Straight to the application.")
@option("--outbound-ports-to-ignore", "outbound_to_ignore", ports, "", "Straight to whoever listens there.")
@option("--subnets-to-ignore", "subnets_to_ignore", cidrs, "", "Who comes from there goes to the application.")
@option("--ports-to-redirect", "to_redirect", ports, "", "Of what comes in, only these.")
@option("--firewall-mode", "mode", MODE, "nft", "Which iptables: iptables-nft, iptables-legacy or plain iptables.")
@option("--ipv6/--no-ipv6", "ipv6", None, True, "The same rules for IPv6.")
@option("--use-wait-flag", "is_waiting", None, False, "Wait for a lock that somebody else holds.")
@option("--netns", "netns", None, "", "Path of another network namespace than the own one.")
@option("--simulate", "simulate", None, False, "Print the commands as shell and change nothing.")
def iptables(ipv6: bool, simulate: bool, **given: object) -> None:
    """Lead a pod's TCP connections through its proxy."""
    from milliroute.control.cli import intercepting

    options = Interception(**given)  # type: ignore[arg-type]  # click has made each of them what its type says
    versions = (4, 6) if ipv6 else (4,)
    if simulate:
        click.echo(intercepting.script(options, versions), nl=False)
    else:
        intercepting.run(options, versions)


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE|DIR|-]...")
@option("--manual", "is_whole", None, False, "Write the whole proxy, not only the annotation for the webhook.")
@option("--ingress", "is_ingress", None, False, "l5d-dst-override says where a request goes.")
@proxy_options
def inject(files: tuple[str, ...], is_whole: bool, is_ingress: bool, **given: Unpack[ProxyOptions]) -> None:
    """Print manifests with the proxy beside each workload, and all else as it was.

    Reads stdin without FILE. Annotations beat --config.
    """
    from milliroute.control.cli import injecting

    injecting.inject(files, _wish("cli", given, "ingress" if is_ingress else "enabled"), is_whole)


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE|DIR|-]...")
def uninject(files: tuple[str, ...]) -> None:
    """Print manifests without what `inject` brought."""
    from milliroute.control.cli import injecting

    injecting.uninject(files)


@click.command("await")
@option("--admin", "admin", None, DEFAULT_PROXY_ADMIN, "The proxy to wait for.")
@option("--timeout", "timeout_s", click.FloatRange(0), 120.0, "Seconds.")
def wait(admin: str, timeout_s: float) -> None:
    """Return when a proxy is ready: what an application starts after."""
    from milliroute.control.cli import awaiting

    awaiting.until_ready(parse_address(admin, "--admin"), timeout_s)


@click.command()
@option("--listen", "listen", None, "0.0.0.0:8443", "Where the API server asks: HOST:PORT.")
@option("--admin", "admin", None, "127.0.0.1:9995", "Metrics and readiness, also at --listen.")
@option("--tls-cert", "tls_cert", None, "", "Certificate, in PEM; a newer one is taken by itself.")
@option("--tls-key", "tls_key", None, "", "Its private key, in PEM.")
@proxy_options
def webhook(listen: str, admin: str, tls_cert: str, tls_key: str, **given: Unpack[ProxyOptions]) -> None:
    """Add the proxy to pods as they are created."""
    if not (tls_cert and tls_key):
        raise click.UsageError("no certificate: want --tls-cert FILE and --tls-key FILE")
    from milliroute.control.cli import hooking

    where = parse_address(listen, "--listen"), parse_address(admin, "--admin")
    hooking.serve(*where, tls_cert, tls_key, _wish("webhook", given, ""))


def _wish(who: str, given: ProxyOptions, default: Default) -> Wish:
    """Raises ConfigError."""
    config = dict(_config(text) for text in given["config"])
    if given["image"]:
        config["proxy-image"] = given["image"]
    if given["is_classic"]:
        config["proxy-enable-native-sidecar"] = "false"
    settings = Settings(destination=given["destination"], firewall_mode=given["firewall_mode"])
    wish = Wish(settings, f"milliroute/{who} {VERSION}", config, default)
    try:
        annotations.configured(settings, {annotations.CONFIG + name: text for name, text in config.items()}, {})
    except errors.ValueTextError as error:
        raise errors.ConfigError(f"--config: {error}") from error
    return wish


def _config(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise errors.ConfigError(f"--config: saw {text!r}, want NAME=VALUE such as skip-inbound-ports=25,587")
    return name, value


VERBS = (iptables, inject, uninject, webhook, wait)
