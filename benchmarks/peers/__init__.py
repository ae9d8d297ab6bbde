"""Who is measured: each peer finds its program, writes its configuration and starts it; it knows nothing of scenarios.

All split 900/100 over the same two backends, use one thread, keep connections alive on both sides, write no access
log, and keep every other default. `direct` and `splice` are references, not peers: they do not split.
`guarded` is milliroute with everything on.
"""

from benchmarks.peers.envoy import Envoy
from benchmarks.peers.grpc_aio import GrpcAio
from benchmarks.peers.guarded import Guarded
from benchmarks.peers.haproxy import Haproxy
from benchmarks.peers.milliroute import Milliroute
from benchmarks.peers.nginx import Nginx
from benchmarks.peers.peer import Backends, Lab, Peer, Running
from benchmarks.peers.references import Direct, Splice

ALL: tuple[Peer, ...] = (Milliroute(), Guarded(), Envoy(), Haproxy(), Nginx(), GrpcAio(), Splice(), Direct())

__all__ = ["ALL", "Backends", "Lab", "Peer", "Running"]
