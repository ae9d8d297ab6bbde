"""What a workload's annotations say: whether a proxy, and which. Linkerd's names mean the same; ours come first.

In: the annotations of a pod. Out: an Inject, or newer Settings and warnings about what we know and do not have. One
under config.milliroute.io/ that nobody knows is an error: ignored in silence, the pod would not be as its writer
believes; one of Linkerd's may be newer than this list.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Literal, TypeAlias

from milliroute.control.errors import DurationError, ValueTextError
from milliroute.control.inject import ports as port_lists
from milliroute.control.inject.settings import Settings
from milliroute.control.manifest import duration

INJECT = "milliroute.io/inject"
LINKERD_INJECT = "linkerd.io/inject"
CONFIG = "config.milliroute.io/"
LINKERD_CONFIG = "config.linkerd.io/"

Inject: TypeAlias = Literal["enabled", "disabled", "ingress", ""]
Reader: TypeAlias = Callable[[Settings, str, Mapping[str, int]], Settings]

# Of Linkerd 2.19; what they do has no counterpart here.
UNSUPPORTED = frozenset(
    {
        "access-log",
        "close-wait-timeout",
        "control-port",
        "default-inbound-policy",
        "enable-debug-sidecar",
        "enable-external-profiles",
        "enable-gateway",
        "proxy-admin-shutdown",
        "proxy-disable-inbound-protocol-detect-timeout",
        "proxy-disable-outbound-protocol-detect-timeout",
        "proxy-inbound-connect-timeout",
        "proxy-inbound-discovery-cache-unused-timeout",
        "proxy-log-format",
        "proxy-metrics-hostname-labels",
        "proxy-outbound-discovery-cache-unused-timeout",
        "proxy-require-identity-inbound-ports",
    }
)
# The Kubernetes Quantity, as far as a container's resources use it.
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|Ki|[MGTPE]i?)?")
# A registry, a path, a tag; no blanks, nothing that a YAML file would read otherwise.
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")
_LEVELS = ("debug", "info", "warning", "error")
# Linkerd's names for ours; of its filters such as warn,linkerd=info the first word counts.
_LINKERD_LEVELS = {"trace": "debug", "warn": "warning", "off": "error"}


def inject_of(annotations: Mapping[str, str]) -> Inject:
    """ "": it says nothing. Raises ValueTextError."""
    for name in (INJECT, LINKERD_INJECT):
        if name in annotations:
            return _inject(name, annotations[name])
    return ""


def _inject(name: str, text: str) -> Inject:
    marks: tuple[Inject, ...] = ("enabled", "disabled", "ingress")
    for mark in marks:
        if text == mark:
            return mark
    raise ValueTextError(f"bad {name}", text, "enabled, disabled or ingress")


def configured(
    settings: Settings, annotations: Mapping[str, str], named_ports: Mapping[str, int]
) -> tuple[Settings, tuple[str, ...]]:
    """Settings with what the annotations say, and warnings. Raises ValueTextError."""
    warnings = []
    for name, text, key in _of_config(annotations):
        reader = READERS.get(key)
        if reader is not None:
            settings = _read(reader, settings, name, text, named_ports)
        elif name.startswith(CONFIG) and key not in UNSUPPORTED:
            raise ValueTextError("unknown annotation", name, f"{CONFIG} and one of {', '.join(sorted(READERS))}")
        else:
            warnings.append(f"{name} is not supported: left out (saw {text!r})")
    return settings, tuple(warnings)


def _of_config(annotations: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Ours last, because the last one counts."""
    for prefix in (LINKERD_CONFIG, CONFIG):
        for name, text in annotations.items():
            if name.startswith(prefix):
                yield name, text, name.removeprefix(prefix)


def _read(reader: Reader, settings: Settings, name: str, text: str, named_ports: Mapping[str, int]) -> Settings:
    try:
        return reader(settings, text, named_ports)
    except ValueTextError as error:
        raise ValueTextError(f"bad {name}", error.saw, error.want) from error


def _flag(text: str) -> bool:
    if text not in ("true", "false", "enabled", "disabled"):
        raise ValueTextError("bad value", text, "true or false")
    return text in ("true", "enabled")


def _id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ValueTextError("bad id", text, "the number of a user or group")
    return int(text)


def _image(text: str) -> str:
    if not _IMAGE.fullmatch(text):
        raise ValueTextError("bad image", text, "the name of an image")
    return text


def _choice(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueTextError("bad value", text, f"one of {', '.join(choices)}")
        return text

    return read


def _level(text: str) -> str:
    word = text.partition(",")[0]
    return _choice(*_LEVELS)(_LINKERD_LEVELS.get(word, word))


def _seconds(text: str) -> float:
    """Linkerd writes 120 for some and 1000ms for others."""
    if text.isascii() and text.isdigit() and len(text) <= 5:
        return float(text)
    try:
        return duration.parse_ms(text) / 1000
    except DurationError as error:
        raise ValueTextError("bad duration", error.saw, error.want) from error


def _resource(kind: str, resource: str) -> Reader:
    def read(settings: Settings, text: str, _: Mapping[str, int]) -> Settings:
        if not _QUANTITY.fullmatch(text):
            raise ValueTextError("bad quantity", text, "a Quantity such as 100m or 64Mi")
        merged = {**settings.resources.get(kind, {}), resource: text}
        return replace(settings, resources={**settings.resources, kind: merged})

    return read


READERS: Mapping[str, Reader] = {
    "skip-inbound-ports": lambda s, text, named: replace(s, skip_inbound=port_lists.parse(text, named)),
    "skip-outbound-ports": lambda s, text, named: replace(s, skip_outbound=port_lists.parse(text, named)),
    "skip-subnets": lambda s, text, _: replace(s, skip_subnets=port_lists.networks(text)),
    "opaque-ports": lambda s, text, named: replace(s, opaque=port_lists.parse(text, named)),
    "proxy-image": lambda s, text, _: replace(s, image=_image(text)),
    "proxy-version": lambda s, text, _: replace(s, version=_image(text)),
    "image-pull-policy": lambda s, text, _: replace(s, pull_policy=_choice("Always", "IfNotPresent", "Never")(text)),
    "admin-port": lambda s, text, _: replace(s, admin_port=port_lists.one(text)),
    "inbound-port": lambda s, text, _: replace(s, inbound_port=port_lists.one(text)),
    "outbound-port": lambda s, text, _: replace(s, outbound_port=port_lists.one(text)),
    "proxy-uid": lambda s, text, _: replace(s, uid=_id(text)),
    "proxy-gid": lambda s, text, _: replace(s, gid=_id(text)),
    "proxy-log-level": lambda s, text, _: replace(s, log_level=_level(text)),
    "proxy-await": lambda s, text, _: replace(s, is_awaited=_flag(text)),
    "proxy-enable-native-sidecar": lambda s, text, _: replace(s, is_native=_flag(text)),
    "shutdown-grace-period": lambda s, text, _: replace(s, grace_s=_seconds(text)),
    "proxy-outbound-connect-timeout": lambda s, text, _: replace(s, connect_timeout_s=_seconds(text)),
    **{
        f"proxy-{resource}-{kind}": _resource(f"{kind}s", resource)
        for resource in ("cpu", "memory", "ephemeral-storage")
        for kind in ("request", "limit")
    },
}
