"""The flags of a sidecar (--outbound, --inbound and what goes with them) to its listeners and its Sidecar.

In: texts by flag. Out: values; a ConfigError for what is none. Loaded only when one of the two is given. A sidecar sets
no time limits of its own accord: what nobody gave is softened here.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Literal, TypeVar, cast

from milliroute.proxy.config import (
    SIDECAR_IDLE_S,
    SIDECAR_STALL_S,
    HostPort,
    InboundDefault,
    Limits,
    Listener,
    ProxyConfig,
    Sidecar,
    Timeouts,
    parse_host_port,
)
from milliroute.proxy.errors import ConfigError
from milliroute.proxy.flag_values import seconds

T = TypeVar("T")

# A bare port: the app reaches outbound by loopback only, everybody inbound; IPv6 where the machine has it.
_HOSTS = {"outbound": ("127.0.0.1", "::1"), "inbound": ("0.0.0.0", "::")}
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
# One line of the downward API's file of labels (strconv.Quote), whose values have nothing to escape.
_FILE_LINE = re.compile(r'([^=\s]+)="([^"\\]*)"')
# Of listeners for clients that name their authority; beside a sidecar they would mean nothing.
_NOT_BESIDE = ("listen", "tls-cert", "tls-client-ca", "trust-forwarded", "via", "state-dir")

_Given = Mapping[str, list[str]]


def extend(config: ProxyConfig, given: _Given, explicit: Collection[str]) -> ProxyConfig:
    """config: of all other flags. explicit: the names of those that somebody gave. Raises ConfigError."""
    for name in _NOT_BESIDE:
        if name in explicit:
            raise ConfigError(f"--{name}: saw it together with --outbound or --inbound, wanted a proxy of its own")
    return replace(
        config,
        listeners=tuple(_listeners(given)),
        sidecar=Sidecar(
            opaque_ports=_told("opaque-ports", given, _ports),
            detect_s=_told("detect-timeout-s", given, seconds),
            is_ingress=_told("ingress-mode", given, _is_true),
            inbound_default=_told("inbound-default-policy", given, _default),
            workload=given["workload"][-1],
            pod=given["pod"][-1],
            labels=_told("pod-labels", given, _labels),
        ),
        timeouts=_timeouts(config.timeouts, explicit),
        limits=_limits(config.limits, explicit),
    )


def _listeners(given: _Given) -> Iterator[Listener]:
    for side, hosts in _HOSTS.items():
        for text in filter(None, given[side]):
            if text.isascii() and text.isdigit() and int(text) <= 65535:
                for host in hosts:
                    yield Listener(
                        HostPort(host, int(text)), "", cast("Literal['outbound', 'inbound']", side), ":" in host
                    )
            else:
                address = _told(side, {side: [text]}, parse_host_port)
                yield Listener(address, "", cast("Literal['outbound', 'inbound']", side))


def _timeouts(timeouts: Timeouts, explicit: Collection[str]) -> Timeouts:
    return replace(
        timeouts,
        response_s=timeouts.response_s if "response-timeout-s" in explicit else 0.0,
        stream_idle_s=timeouts.stream_idle_s if "stream-idle-timeout-s" in explicit else 0.0,
        idle_s=timeouts.idle_s if "idle-timeout-s" in explicit else SIDECAR_IDLE_S,
    )


def _limits(limits: Limits, explicit: Collection[str]) -> Limits:
    return replace(
        limits,
        min_rate_bytes_s=limits.min_rate_bytes_s if "min-rate-bytes-s" in explicit else 0,
        stall_s=limits.stall_s if "stall-timeout-s" in explicit else SIDECAR_STALL_S,
    )


def _told(name: str, given: _Given, convert: Callable[[str], T]) -> T:
    try:
        return convert(given[name][-1])
    except ConfigError as error:
        raise ConfigError(f"--{name}: {error}") from error


def _ports(text: str) -> tuple[int, ...]:
    found: dict[int, None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        numbers = _RANGE.fullmatch(part)
        first, last = (int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else (0, 0)
        if not 1 <= first <= last <= 65535:
            raise ConfigError(f"saw {part!r}, wanted ports such as 3306,9000-9010")
        found.update(dict.fromkeys(range(first, last + 1)))
    return tuple(found)


def _is_true(text: str) -> bool:
    if text not in ("true", "false"):
        raise ConfigError(f"saw {text!r}, wanted true or false")
    return text == "true"


def _default(text: str) -> InboundDefault:
    if text not in ("all-unauthenticated", "deny"):
        raise ConfigError(f"saw {text!r}, wanted all-unauthenticated or deny")
    return cast("InboundDefault", text)


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    """ "NAME=VALUE,..." or the path of a file as the downward API writes it."""
    if not text.startswith(("/", "./")):
        pairs = [part.partition("=") for part in filter(None, text.split(","))]
        if not all(name.strip() and equals for name, equals, _ in pairs):
            raise ConfigError(f"saw {text!r}, wanted NAME=VALUE,... or the path of a file")
        return tuple(sorted((name.strip(), value.strip()) for name, _, value in pairs))
    try:
        with open(text, encoding="utf-8") as file:
            content = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {text}: {getattr(error, 'strerror', None) or error}") from error
    return tuple(sorted(_file_label(text, *line) for line in enumerate(content.splitlines(), 1) if line[1].strip()))


def _file_label(path: str, number: int, line: str) -> tuple[str, str]:
    found = _FILE_LINE.fullmatch(line.strip())
    if found is None:
        raise ConfigError(f'{path}:{number}:1: saw {line!r}, wanted NAME="VALUE" as the downward API writes it')
    return found[1], found[2]
