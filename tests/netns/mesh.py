"""The mesh of these tests: an app with a sidecar, two backends of which the first has one too, a stranger outside, and
the control service, each in a pod of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.e2e.stand import MILLIROUTE, Process, eventually
from tests.netns.world import PROXY_UID, Pod, World, world

PODS = {"ctl": 2, "app": 10, "v1": 11, "v2": 12, "out": 50}
CLUSTER_V4, CLUSTER_V6 = "10.96.0.7", "fd96::7"
GREETER_V4, BOOKS_V6 = "10.96.0.8", "fd96::8"
# What the rules let through, and what no list of ports knows to be opaque.
SKIPPED, UNDECLARED = 4567, 7777
# Of the sidecar beside v1.
DETECT_S = 1

_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, annotations: {{config.linkerd.io/opaque-ports: "{opaque}"}}}}
spec:
  clusterIP: {ips[0]}
  clusterIPs: [{listed}]
  selector: {{{selector}}}
  ports: [{{name: main, port: {port}, targetPort: {target}}}]
---
"""
_SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-{low}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: {family}
ports: [{{name: main, port: {port}}}]
endpoints: [{endpoints}]
---
"""
_SPLIT = """\
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {name: reviews}
spec:
  service: reviews
  backends:
  - {service: reviews-v1, weight: 900m}
  - {service: reviews-v2, weight: 100m}
---
"""
POLICY = """\
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: reviews-v1}}
spec: {{podSelector: {{matchLabels: {{app: reviews, version: v1}}}}, port: 8080}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: the-app}}
spec:
  targetRef: {{group: policy.linkerd.io, kind: Server, name: reviews-v1}}
  requiredAuthenticationRefs: [{{group: policy.linkerd.io, kind: NetworkAuthentication, name: the-app}}]
---
apiVersion: policy.linkerd.io/v1alpha1
kind: NetworkAuthentication
metadata: {{name: the-app}}
spec: {{networks: [{{cidr: {v4}/32}}, {{cidr: {v6}/128}}]}}
---
"""


def service(name: str, *ips: str, port: int, target: int, selector: str = "", opaque: str = "") -> str:
    listed = ", ".join(f'"{ip}"' for ip in ips)
    return _SERVICE.format(
        name=name,
        ips=[f'"{ip}"' for ip in ips] or ["None"],
        listed=listed,
        port=port,
        target=target,
        selector=selector,
        opaque=opaque,
    )


def slices(name: str, port: int, *addresses: str) -> str:
    """One of one family, as Kubernetes has them."""
    family = "IPv6" if ":" in addresses[0] else "IPv4"
    endpoints = ", ".join(f'{{addresses: ["{address}"]}}' for address in addresses)
    return _SLICE.format(name=name, family=family, low=family.lower(), port=port, endpoints=endpoints)


@dataclass
class Mesh:
    world: World
    folder: Path
    app: Pod
    v1: Pod
    v2: Pod
    outside: Pod
    control: Pod
    service: Process = field(init=False)

    @property
    def destination(self) -> str:
        return f"{self.control.v4}:8086"

    def base(self) -> str:
        reviews = "app: reviews"
        return "".join((
            _SPLIT,
            service("reviews", CLUSTER_V4, CLUSTER_V6, port=80, target=8080, selector=reviews),
            service("reviews-v1", port=80, target=8080, selector=f"{reviews}, version: v1"),
            service("reviews-v2", port=80, target=8080, selector=f"{reviews}, version: v2"),
            service("greeter", GREETER_V4, port=UNDECLARED, target=UNDECLARED, opaque=str(UNDECLARED)),
            slices("reviews", 8080, self.v1.v4, self.v2.v4),
            slices("reviews-v1", 8080, self.v1.v4),
            slices("reviews-v2", 8080, self.v2.v4),
            slices("greeter", UNDECLARED, self.v2.v4),
            # A Service of IPv6 alone, so that the whole way is.
            service("books", BOOKS_V6, port=80, target=8080),
            slices("books", 8080, self.v1.v6, self.v2.v6),
            service("books-v1", port=80, target=8080),
            slices("books-v1", 8080, self.v1.v6),
            service("books-v2", port=80, target=8080),
            slices("books-v2", 8080, self.v2.v6),
            _SPLIT.replace("reviews", "books"),
            POLICY.format(v4=self.app.v4, v6=self.app.v6),
        ))  # fmt: skip

    def write(self, more: str = "") -> None:
        fresh = self.folder / ".mesh.new"
        fresh.write_text(self.base() + more)
        fresh.replace(self.folder / "mesh.yaml")


@contextmanager
def mesh(folder: Path) -> Iterator[Mesh]:
    # Everybody may read it: the processes inside are of other users.
    folder.chmod(0o755)
    with world(folder) as made:
        pods = {name: made.pod(name, number) for name, number in PODS.items()}
        for name in ("v1", "v2", "out"):
            pods[name].python("tests.netns.backend", name).address(name)
        here = Mesh(made, folder, pods["app"], pods["v1"], pods["v2"], pods["out"], pods["ctl"])
        here.write()
        control = (MILLIROUTE, "control", "-f", str(folder / "mesh.yaml"), "--listen", "0.0.0.0:8086")
        here.service = here.control.start(*control, "--admin", "127.0.0.1:9996", uid=0)
        here.service.address("grpc")
        here.app.sidecar(here.destination, "--workload", "app", "--pod-labels", "app=app")
        here.app.catch("--outbound-ports-to-ignore", str(SKIPPED))
        labels = ("--workload", "reviews-v1", "--pod-labels", "app=reviews,version=v1")
        here.v1.sidecar(here.destination, *labels, "--detect-timeout-s", str(DETECT_S), "--opaque-ports", "4568")
        here.v1.catch("--inbound-ports-to-ignore", f"4191,{SKIPPED}")
        for pod in (here.app, here.v1):
            eventually(partial(is_ready, pod), f"{pod.name} is ready")
        yield here


def is_ready(pod: Pod) -> bool:
    return pod.run("curl", "-sS", f"http://{pod.v4}:4191/ready", uid=PROXY_UID, check=False).startswith("ready")
