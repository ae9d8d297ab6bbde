"""Texts of users: manifests, quantities, durations, authorities, and weights edited in a file."""

import json
from pathlib import Path

import yaml

from milliroute.control import names, quantity
from milliroute.control.cli.editing import EditError, Manifest
from milliroute.control.errors import AuthorityError, DurationError, QuantityError
from milliroute.control.manifest import duration
from milliroute.control.source import merge, reading
from milliroute.control.source.text import EncodingError, decoded
from tests.control.building import SPLIT
from tests.fuzz.target import Target, check_said

_DEMO = Path(__file__).parents[3] / "deploy" / "demo"
_YAML = (
    b"&a ", b"*a", b"<<: *a", b"!!int ", b"- ", b": ", b"{", b"}", b"[", b"]", b"'", b'"', b"|\n", b"---\n", b"# ",
    b"? ", b"\xef\xbb\xbf", b"900m", b"-1", b"0x10", b"null", b"~", b"2001-01-01", b"\xe2\x80\xa8", b"%YAML 1.1\n",
    b"  ",
)  # fmt: skip
_JSON = b'{"apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit", "metadata": {"name": "r"}, "spec": {"service": "reviews", "backends": [{"service": "a", "weight": 1}, {"service": "b", "weight": "100m"}]}}'  # noqa: E501
_ANCHORED = SPLIT.replace("weight: 900m", "weight: &w 900m").replace("weight: 100m", "weight: *w")
_ANNOTATED = SPLIT.replace("  name: reviews\n", "  name: reviews\n  annotations: {milliroute.io/ramp: 30s, a: 'b'}\n")


def _manifest(data: bytes) -> None:
    """Errors are texts; what is accepted can be merged with other files."""
    objects, errors = reading.parsed(data, "f.yaml")
    assert all(error.startswith("f.yaml") and "\n" not in error for error in errors)
    merge.merge([merge.FileState("f.yaml", objects), merge.FileState("g.yaml", objects)])


def _annotations(data: bytes) -> None:
    """Lines of `name: value`, as a split, a Service or a route may carry them."""
    lines = [line.partition(": ") for line in data.decode("utf-8", "replace").split("\n")]
    told = json.dumps({name: value for name, _, value in lines})
    for kind in _ANNOTATED_KINDS:
        _manifest(kind.replace("ANNOTATIONS", told).encode())


def _quantity(data: bytes) -> None:
    try:
        micro = quantity.parse(data.decode("utf-8", "replace"))
    except QuantityError as error:
        check_said(error)
        return
    assert 0 <= micro <= quantity.MAX_UNITS * quantity.MICRO
    assert quantity.parse(quantity.format_micro(micro)) == micro


def _duration(data: bytes) -> None:
    try:
        assert duration.parse_ms(data.decode("utf-8", "replace")) >= 0
    except DurationError as error:
        check_said(error)


def _authority(data: bytes) -> None:
    """A key is its own key, in whatever namespace."""
    try:
        key = names.canonical(data.decode("utf-8", "replace"), "shop")
    except AuthorityError as error:
        check_said(error)
        return
    assert names.canonical(key, "other") == key
    host, port = names.split_port(key)
    assert host
    assert port is None or 1 <= port <= 65535


def _edit(data: bytes) -> None:
    """Only the weights of the split are others afterwards, and every other character is the same."""
    try:
        text = decoded(data, "f.yaml")
        manifest = Manifest(text, "f.yaml")
        for found in manifest.splits("reviews"):
            edited = manifest.edit(found, {"reviews-v1": "250m"})
            again = [one for one in Manifest(edited.text, "f.yaml").splits("reviews") if one.line == found.line]
            assert [change.new for change in edited.changes] == _weights(again[0].spec)
            assert len(edited.text) - len(text) == sum(len(c.new) - len(c.old) for c in edited.changes) or "\\" in text
    except (EditError, EncodingError) as error:
        check_said(error)


def _weights(spec: yaml.MappingNode) -> list[str]:
    backends = next(value for key, value in spec.value if key.value == "backends")
    return [next(value.value for key, value in leaf.value if key.value == "weight") for leaf in backends.value]


_ANNOTATED_KINDS = (
    SPLIT.replace("  name: reviews\n", "  name: reviews\n  annotations: ANNOTATIONS\n"),
    "apiVersion: v1\nkind: Service\nmetadata:\n  name: reviews\n  annotations: ANNOTATIONS\n"
    "spec:\n  ports: [{port: 80, appProtocol: https}]\n",
)
_PROMISES = (
    "milliroute.io/ramp: 30s\nmilliroute.io/sticky: cookie=id",
    "milliroute.io/failover: true\nmilliroute.io/empty-leaf: strict",
    "milliroute.io/fault: delay=100ms 10%; abort=503 1%; path=/a.*; header=a=b",
    "retry.linkerd.io/http: 5xx,gateway-error,429",
    "retry.linkerd.io/grpc: unavailable,14\nretry.linkerd.io/limit: 3\nretry.linkerd.io/timeout: 1s",
    "timeout.linkerd.io/request: 5s\ntimeout.linkerd.io/idle: 1h\nmilliroute.io/rate-limit: 100/s",
    "balancer.linkerd.io/failure-accrual: consecutive\nbalancer.linkerd.io/failure-accrual-consecutive-max-failures: 7",
    "milliroute.io/health-check: http:/live\nmilliroute.io/health-interval: 10s\nmilliroute.io/tls: a.b",
    "config.linkerd.io/opaque-ports: 80,90-99",
)


def _manifests() -> list[bytes]:
    texts = [SPLIT, _ANCHORED, _ANNOTATED, SPLIT.replace("\n", "\r\n"), SPLIT + "---\n" + SPLIT.replace("reviews", "r")]
    demo = [path.read_bytes() for path in sorted(_DEMO.glob("*.yaml"))]
    return [text.encode() for text in texts] + [_JSON] + [data for data in demo if len(data) < 4000]


def _words(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


TARGETS = (
    Target("manifest", _manifests, _manifest, _YAML),
    Target("edit", _manifests, _edit, _YAML),
    Target("annotations", lambda: _words(*_PROMISES), _annotations,
           (b"milliroute.io/", b"retry.linkerd.io/", b": ", b"%", b";", b"=", b"-1", b"1e9", b"ms", b"h", b",")),
    Target("quantity", lambda: _words("900m", "1", "0.5", "1e3", "1Ki", "+1.5k", "-0", "1E-9", "9" * 30, "1n"),
           _quantity, (b"e", b"E", b"Ki", b"m", b".", b"+", b"\xd9\xa5")),
    Target("duration", lambda: _words("60s", "1m30s", "500ms", "1.5h", "0", "2us", "-1s", ".5s", "1d"), _duration,
           (b"s", b"ms", b"h", b".", b"\xc2\xb5s", b"\xd9\xa5")),
    Target("authority", lambda: _words("reviews", "reviews:80", "reviews.shop.svc.cluster.local:9080", "[::1]:80",
                                       "10.0.0.1", "Reviews.Shop", "a.b.svc", "[2001:db8::1%eth0]", "x:"), _authority,
           (b".", b"[", b"]", b"%", b".svc.cluster.local", b":65536", b"@", b"/")),
)  # fmt: skip
