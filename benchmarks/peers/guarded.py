"""guarded: milliroute with all that protects turned on, so that its price shows. None of it strikes in a benchmark."""

from benchmarks.peers.milliroute import SPLIT, Milliroute

# Every request is judged: its network, method and path by access policies, its retries, time limits and rate limit by
# the policy of its split, its endpoint by failure accrual and health checks.
_ACCESS = """\
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: {apex}, annotations: {{milliroute.io/service: {apex}}}}}
spec: {{port: 80}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: {apex}, annotations: {{milliroute.io/matches: all-of-the-api}}}}
spec:
  targetRef: {{group: policy.linkerd.io, kind: Server, name: {apex}}}
  requiredAuthenticationRefs:
  - {{group: policy.linkerd.io, kind: NetworkAuthentication, name: here}}
"""
_NETWORK = """\
---
apiVersion: policy.linkerd.io/v1alpha1
kind: NetworkAuthentication
metadata: {name: here}
spec: {networks: [{cidr: 10.0.0.0/8, except: [10.66.0.0/16]}, {cidr: 127.0.0.0/8}]}
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {name: all-of-the-api}
spec: {matches: [{name: every, pathRegex: "/.*", methods: [GET, POST]}]}
"""
_POLICY = """\
  annotations:
    retry.linkerd.io/http: gateway-error
    retry.linkerd.io/grpc: unavailable
    retry.linkerd.io/timeout: 10s
    timeout.linkerd.io/request: 30s
    timeout.linkerd.io/idle: 30s
    milliroute.io/rate-limit: 1000000/s
"""
_LEAF = """\
---
apiVersion: v1
kind: Service
metadata:
  name: {leaf}
  annotations:
    balancer.linkerd.io/failure-accrual: consecutive
    milliroute.io/health-check: tcp
"""


class Guarded(Milliroute):
    """With access policies, retries, time limits, a rate limit, failure accrual, health checks and every limit of
    `milliroute proxy`."""

    name = "guarded"
    proxy_flags = (
        *("--max-connections", "10000", "--max-connections-per-address", "5000", "--max-requests", "5000"),
        *("--max-queued-bytes", "268435456", "--min-rate-bytes-s", "500", "--trust-forwarded", "127.0.0.0/8"),
        *("--via", "milliroute"),
    )

    def manifest(self) -> str:
        made = SPLIT
        for name in ("bench", "bench-h2"):
            made = made.replace(f"  name: {name}\n", f"  name: {name}\n{_POLICY}")
        access = "".join(_ACCESS.format(apex=apex) for apex in ("apex", "apex-h2"))
        leaves = "".join(_LEAF.format(leaf=leaf) for leaf in ("stable", "canary", "stable-h2", "canary-h2"))
        return made + access + _NETWORK + leaves
