"""`python -m milliroute.proxy ARGS`: argv and environment to a ProxyConfig, then the agent.

Flag > environment (MILLIROUTE_SOME_FLAG) > default. Exit codes: 0 drained, 1 something could not be had, 2 usage; an
error is one line on stderr: the value seen and the value wanted.
"""

import milliroute.proxy.lean  # isort: skip  # noqa: F401  # before msgspec
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from milliroute.proxy import config as defaults
from milliroute.proxy.config import (
    Codec,
    ControlTls,
    Forwarding,
    H2Config,
    HostPort,
    Limits,
    Listener,
    ProxyConfig,
    Timeouts,
    TlsFiles,
    parse_host_port,
    parse_listener,
)
from milliroute.proxy.errors import ConfigError
from milliroute.proxy.flag_values import seconds, whole
from milliroute.proxy.logs import LEVELS, configure_logs

T = TypeVar("T")

# One per core is useful; more than this is a typing error and not a machine.
MAX_WORKERS = 256


@dataclass(frozen=True, slots=True)
class Flag:
    """default: as text; None: it must be given. is_repeated: given again, or comma-separated in its variable. A flag
    whose default is "false" may stand without a value.
    """

    name: str
    meta: str
    default: str | None
    text: str
    is_repeated: bool = False

    @property
    def variable(self) -> str:
        return "MILLIROUTE_" + self.name.upper().replace("-", "_")


_H2, _LIMITS = H2Config(), Limits()
_OPAQUE = ",".join(map(str, defaults.DEFAULT_OPAQUE_PORTS))
FLAGS = (
    Flag("destination", "ADDRESS", None, "control service: HOST:PORT or unix:PATH"),
    Flag("listen", "HOST:PORT[=APEX]", "", "where to take requests; may be given again", is_repeated=True),
    Flag("outbound", "PORT|HOST:PORT", "", "sidecar: where iptables leads what the app asks for", is_repeated=True),
    Flag("inbound", "PORT|HOST:PORT", "", "sidecar: where iptables leads what is asked of the app", is_repeated=True),
    Flag("opaque-ports", "PORT,...", _OPAQUE, "sidecar: not looked into, because the server speaks first"),
    Flag("detect-timeout-s", "S", str(defaults.DEFAULT_DETECT_S), "sidecar: a silent client waits for the server"),
    Flag("ingress-mode", "true|false", "false", "sidecar: l5d-dst-override of a request decides"),
    Flag("inbound-default-policy", "POLICY", "all-unauthenticated", "sidecar: or deny, until the control service says"),
    Flag("workload", "NAME", "", "sidecar: what the app is called in metrics"),
    Flag("pod", "NAME", "", "sidecar: the pod's name, for metrics"),
    Flag("pod-labels", "NAME=VALUE,...|FILE", "", "sidecar: the pod's labels, by which policies find it"),
    Flag("admin", "HOST:PORT", defaults.DEFAULT_ADMIN, "metrics, readiness, /splits; 'none' for none"),
    Flag("workers", "N", "1", "worker processes"),
    Flag("codec", "fast|reference", "fast", "reference: every message through h11"),
    Flag("namespace", "NS", "default", "where a bare service name is looked up"),
    Flag("id", "ID", "", "name of this proxy; HOSTNAME-PID when not given"),
    Flag("grace-s", "S", str(defaults.DEFAULT_GRACE_S), "what runs may finish this long after SIGTERM"),
    Flag("connect-timeout-s", "S", str(defaults.DEFAULT_CONNECT_TIMEOUT_S), "to an endpoint"),
    Flag("response-timeout-s", "S", str(defaults.DEFAULT_RESPONSE_TIMEOUT_S), "until an answer begins; 0: no limit"),
    Flag("stream-idle-timeout-s", "S", str(defaults.DEFAULT_STREAM_IDLE_S), "between parts of an answer; 0: no limit"),
    Flag("header-timeout-s", "S", str(defaults.DEFAULT_HEADER_TIMEOUT_S), "for a request's head"),
    Flag("idle-timeout-s", "S", str(defaults.DEFAULT_IDLE_TIMEOUT_S), "between requests of one connection"),
    Flag("h2-max-age-s", "S", str(defaults.DEFAULT_H2_MAX_AGE_S), "new streams on one connection; 0: no limit"),
    Flag("h2-max-streams", "N", str(_H2.max_streams), "requests at once on one HTTP/2 client connection"),
    Flag("h2-stream-window-bytes", "N", str(_H2.stream_window_bytes), "of a body, not yet passed on, in memory"),
    Flag("h2-connection-window-bytes", "N", str(_H2.connection_window_bytes), "the same for one connection"),
    Flag("h2-resets-per-s", "N", str(_H2.resets_per_s), "streams a client may reset; above: GOAWAY"),
    Flag("h2-control-frames-per-s", "N", str(_H2.control_frames_per_s), "PING and the like; above: GOAWAY"),
    Flag("max-connections", "N", str(_LIMITS.connections), "of a listener and worker; above: 503; 0: no limit"),
    Flag("max-connections-per-address", "N", "0", "the same of one client address; 0: no limit"),
    Flag("max-requests", "N", str(_LIMITS.requests), "at once in a worker; above: 503; 0: no limit"),
    Flag("max-queued-bytes", "N", str(_LIMITS.queued_bytes), "in a worker for peers that read too slowly; 0: no limit"),
    Flag("min-rate-bytes-s", "N", str(_LIMITS.min_rate_bytes_s), "of request bodies and of readers; 0: no limit"),
    Flag("rate-grace-s", "S", str(_LIMITS.rate_grace_s), "for so long they may be slower"),
    Flag("stall-timeout-s", "S", str(_LIMITS.stall_s), "for so long they may stand still"),
    Flag("trust-forwarded", "NET,...|none", "", "write x-forwarded-*; clients here may say their own before it"),
    Flag("via", "NAME", "", "add Via with this name, and answer 508 to requests that go round in circles"),
    Flag("tls-cert", "FILE", "", "certificate of the listeners, in PEM; with it they speak TLS only"),
    Flag("tls-key", "FILE", "", "its private key, in PEM"),
    Flag("tls-client-ca", "FILE", "", "authorities of clients, in PEM: they must show a certificate then"),
    Flag("tls-client-auth", "required|optional", "required", "optional: clients may also show none"),
    Flag("tls-trust-domain", "NAME", "", "the only one whose SPIFFE ids are taken; any when not given"),
    Flag("upstream-tls-cert", "FILE", "", "certificate shown to backends that ask for one, in PEM"),
    Flag("upstream-tls-key", "FILE", "", "its private key, in PEM"),
    Flag("destination-ca", "FILE", "", "authorities of the control service, in PEM: it is spoken to by TLS then"),
    Flag("destination-cert", "FILE", "", "certificate shown to the control service, in PEM"),
    Flag("destination-key", "FILE", "", "its private key, in PEM"),
    Flag("destination-token-file", "FILE", "", "what is in it is shown to the control service as a bearer token"),
    Flag("enable-faults", "", "false", "take x-milliroute-fault-... of requests: for tests only"),
    Flag("log-level", "|".join(LEVELS), "info", "what to log"),
    Flag("lifeline-fd", "FD", "-1", "drain when this inherited pipe ends; set by `milliroute run`"),
    Flag("state-dir", "DIR", "", "keep the last tables here, to serve after a restart without the control service"),
)


@dataclass(frozen=True, slots=True)
class Options:
    config: ProxyConfig
    log_level: str


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Raises ConfigError; SystemExit(0) for --help."""
    given = _given(argv, environ)
    workers = _convert("workers", given["workers"], _workers)
    config = ProxyConfig(
        proxy_id=_last(given["id"]) or f"{os.uname().nodename}-{os.getpid()}",
        destination=_convert("destination", given["destination"], _destination),
        listeners=tuple(_convert("listen", [text], parse_listener) for text in given["listen"] if text),
        admin=_convert("admin", given["admin"], _admin),
        workers=workers,
        codec=cast("Codec", _convert("codec", given["codec"], _one_of("fast", "reference"))),
        namespace=_last(given["namespace"]),
        grace_s=_convert("grace-s", given["grace-s"], seconds),
        timeouts=_timeouts(given),
        h2=_h2(given),
        state_dir=_last(given["state-dir"]),
        lifeline_fd=_convert("lifeline-fd", given["lifeline-fd"], _descriptor),
        tls=_tls(given),
        upstream_tls=_pair(given, "upstream-tls-cert", "upstream-tls-key"),
        control_tls=_control_tls(given),
        limits=_limits(given),
        forwarding=_forwarding(given),
        takes_faults=_convert("enable-faults", given["enable-faults"], _switch),
    )
    if any((*given["outbound"], *given["inbound"])):
        # Here, because few proxies are sidecars.
        from milliroute.proxy.sidecar import flags as sidecar_flags

        config = sidecar_flags.extend(config, given, _explicit(argv, environ))
    if not config.listeners:
        raise ConfigError("saw no --listen (nor MILLIROUTE_LISTEN), wanted it, or --outbound or --inbound")
    _check_listeners(config.listeners)
    return Options(config, _convert("log-level", given["log-level"], _one_of(*LEVELS)))


def main(argv: Sequence[str]) -> int:
    try:
        options = parse(argv, os.environ)
        configure_logs(options.log_level)
        # After the arguments are known to be good.
        from milliroute.proxy.agent import launch

        return launch.run(options.config, _run_worker)
    except ConfigError as error:
        print(f"milliroute: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _run_worker(pipe_fd: int, listen_fds: list[int], config: ProxyConfig) -> None:
    """In the child: the agent never imports the data path, which would be 2 MiB for nothing (measured)."""
    from milliroute.proxy import worker

    worker.main(pipe_fd, listen_fds, config)


def _given(argv: Sequence[str], environ: Mapping[str, str]) -> dict[str, list[str]]:
    """Not argparse: with gettext and locale it is 1.6 MiB in agent and worker together (measured), for this loop."""
    flags = {f"--{flag.name}": flag for flag in FLAGS}
    seen: dict[str, list[str]] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name in ("-h", "--help"):
            print(_help())
            raise SystemExit(0)
        if name not in flags:
            raise ConfigError(f"saw {word!r}, wanted a flag that --help lists")
        if equals:
            following: str | None = value
        elif flags[name].default == "false" and words[:1] not in (["true"], ["false"]):
            following = "true"
        else:
            following = words.pop(0) if words else None
        if following is None:
            raise ConfigError(f"{name}: saw nothing after it, wanted {flags[name].meta}")
        seen.setdefault(flags[name].name, []).append(following)
    given = {flag.name: _values(flag, seen.get(flag.name), environ) for flag in FLAGS}
    for name, texts in given.items():
        _check_texts(name, texts)
    return given


def _check_texts(name: str, texts: Sequence[str]) -> None:
    """Bytes of argv and environment that are not UTF-8 come as surrogates, which no message to a worker can hold."""
    for text in texts:
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise ConfigError(f"--{name}: saw {text!r}, wanted UTF-8")


def _explicit(argv: Sequence[str], environ: Mapping[str, str]) -> set[str]:
    """The names of the flags that were given a value."""
    words = {word.partition("=")[0] for word in argv}
    return {flag.name for flag in FLAGS if f"--{flag.name}" in words or environ.get(flag.variable)}


def _help() -> str:
    rows = [(f"  --{flag.name} {flag.meta}", f"{flag.text} [${flag.variable}]") for flag in FLAGS]
    width = max(len(left) for left, _ in rows) + 2
    lines = [f"{left:<{width}}{right}" for left, right in rows]
    text = "Route and split requests by the tables of a control service."
    return "\n".join(["usage: milliroute proxy --destination ADDRESS --listen ADDRESS ...", "", text, "", *lines])


def _values(flag: Flag, from_argv: list[str] | None, environ: Mapping[str, str]) -> list[str]:
    if from_argv:
        return from_argv
    if text := environ.get(flag.variable):
        return [part.strip() for part in text.split(",")] if flag.is_repeated else [text]
    if flag.default is None:
        raise ConfigError(f"saw no --{flag.name} (nor {flag.variable}), wanted --{flag.name} {flag.meta}")
    return [flag.default]


def _last(values: list[str]) -> str:
    return values[-1]


def _convert(name: str, values: list[str], convert: Callable[[str], T]) -> T:
    try:
        return convert(values[-1])
    except ConfigError as error:
        raise ConfigError(f"--{name}: {error}") from error


def _timeouts(given: Mapping[str, list[str]]) -> Timeouts:
    return Timeouts(
        connect_s=_convert("connect-timeout-s", given["connect-timeout-s"], seconds),
        response_s=_convert("response-timeout-s", given["response-timeout-s"], seconds),
        stream_idle_s=_convert("stream-idle-timeout-s", given["stream-idle-timeout-s"], seconds),
        header_s=_convert("header-timeout-s", given["header-timeout-s"], seconds),
        idle_s=_convert("idle-timeout-s", given["idle-timeout-s"], seconds),
        h2_max_age_s=_convert("h2-max-age-s", given["h2-max-age-s"], seconds),
    )


def _pair(given: Mapping[str, list[str]], cert: str, key: str) -> TlsFiles | None:
    """Whether the files are good is for launch to see, before anything listens."""
    paths = {name: _last(given[name]) for name in (cert, key)}
    if bool(paths[cert]) != bool(paths[key]):
        there, missing = (cert, key) if paths[cert] else (key, cert)
        raise ConfigError(f"--{there}: saw it without --{missing}, wanted both or none")
    return TlsFiles(paths[cert], paths[key]) if paths[cert] else None


def _tls(given: Mapping[str, list[str]]) -> TlsFiles | None:
    found = _pair(given, "tls-cert", "tls-key")
    client_ca, domain = _last(given["tls-client-ca"]), _last(given["tls-trust-domain"])
    auth = _convert("tls-client-auth", given["tls-client-auth"], _one_of("required", "optional"))
    for name, value, base, is_there in (
        ("tls-client-ca", client_ca, "tls-cert", found is not None),
        ("tls-trust-domain", domain, "tls-client-ca", client_ca != ""),
        ("tls-client-auth", auth == "optional", "tls-client-ca", client_ca != ""),
    ):
        if value and not is_there:
            raise ConfigError(f"--{name}: saw it without --{base}, wanted both or none")
    if found is None:
        return None
    return TlsFiles(found.cert, found.key, client_ca, may_be_nobody=auth == "optional", trust_domain=domain)


def _control_tls(given: Mapping[str, list[str]]) -> ControlTls:
    ca, shown = _last(given["destination-ca"]), _pair(given, "destination-cert", "destination-key")
    token_file = _last(given["destination-token-file"])
    if shown is not None and not ca:
        raise ConfigError("--destination-cert: saw it without --destination-ca, wanted both or none")
    if token_file and not ca and not _is_near(_last(given["destination"])):
        wanted = "TLS (--destination-ca) to a control service on another machine: a token must not be overheard"
        raise ConfigError(f"--destination-token-file: saw no --destination-ca, wanted {wanted}")
    return ControlTls(ca, shown.cert if shown else "", shown.key if shown else "", token_file)


def _is_near(destination: str) -> bool:
    """On this machine."""
    host = destination.rpartition(":")[0]
    return destination.startswith("unix:") or host in ("", "localhost", "[::1]") or host.startswith("127.")


def _h2(given: Mapping[str, list[str]]) -> H2Config:
    def number(name: str, least: int, most: int) -> int:
        return _convert(name, given[name], whole(least, most))

    # RFC 9113 sections 6.5.2 and 6.9.1; no window may be below the protocol's initial one.
    return H2Config(
        max_streams=number("h2-max-streams", 1, 2**31 - 1),
        stream_window_bytes=number("h2-stream-window-bytes", 65_535, 2**31 - 1),
        connection_window_bytes=number("h2-connection-window-bytes", 65_535, 2**31 - 1),
        resets_per_s=number("h2-resets-per-s", 1, 1_000_000),
        control_frames_per_s=number("h2-control-frames-per-s", 1, 1_000_000),
    )


def _limits(given: Mapping[str, list[str]]) -> Limits:
    def number(name: str) -> int:
        return _convert(name, given[name], whole(0, 2**33))

    return Limits(
        connections=number("max-connections"),
        connections_per_address=number("max-connections-per-address"),
        requests=number("max-requests"),
        queued_bytes=number("max-queued-bytes"),
        min_rate_bytes_s=number("min-rate-bytes-s"),
        rate_grace_s=_convert("rate-grace-s", given["rate-grace-s"], seconds),
        stall_s=_convert("stall-timeout-s", given["stall-timeout-s"], seconds),
    )


def _forwarding(given: Mapping[str, list[str]]) -> Forwarding:
    text = _last(given["trust-forwarded"])
    networks = tuple(part.strip() for part in text.split(",")) if text not in ("", "none") else ()
    via = _convert("via", given["via"], _pseudonym)
    forwarding = Forwarding(bool(text), networks, via)
    if networks:
        # Here, because few proxies need it; the workers make their own.
        from milliroute.proxy.heads.forwarding import parse_network

        for network in networks:
            _convert("trust-forwarded", [network], parse_network)
    return forwarding


def _pseudonym(text: str) -> str:
    """RFC 9110 section 7.6.3: a token, or a host and port."""
    if text and not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(:[0-9]+)?", text):
        raise ConfigError(f"saw {text!r}, wanted a name without spaces")
    return text


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_WORKERS):
        raise ConfigError(f"saw {text!r}, wanted a number from 1 to {MAX_WORKERS}")
    return int(text)


def _destination(text: str) -> str:
    if text.startswith("unix:"):
        if text == "unix:":
            raise ConfigError(f"saw {text!r}, wanted unix:PATH")
        return text
    address = parse_host_port(text)
    if address.port == 0:
        raise ConfigError(f"saw {text!r}, wanted a port from 1 to 65535")
    return str(HostPort("127.0.0.1", address.port) if text.startswith(":") else address)


def _admin(text: str) -> HostPort | None:
    return None if text == "none" else parse_host_port(text)


def _descriptor(text: str) -> int:
    if not text.removeprefix("-").isdecimal() or len(text) > 6:
        raise ConfigError(f"saw {text!r}, wanted the number of a descriptor")
    return int(text)


def _one_of(*choices: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in choices:
            raise ConfigError(f"saw {text!r}, wanted one of {', '.join(choices)}")
        return text

    return convert


def _switch(text: str) -> bool:
    return _one_of("true", "false", "1", "0")(text) in ("true", "1")


def _check_listeners(listeners: Sequence[Listener]) -> None:
    seen: set[HostPort] = set()
    for listener in listeners:
        if listener.address in seen and listener.address.port:
            raise ConfigError(f"--{listener.side or 'listen'}: saw {listener.address} twice, wanted each address once")
        seen.add(listener.address)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
