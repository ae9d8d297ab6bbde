"""`python -m tests.e2e.grpc_restarting NAME [PORT]`: a server of tests/e2e/grpc_backend.py that begins anew at SIGHUP.

It stops as gRPC servers should: GOAWAY, then what runs is answered within 5 s; then another one listens on the port.
It announces itself as NAME, NAME-1, NAME-2, and so on.
"""

import signal
import sys
import threading

from tests.e2e import grpc_backend

GRACE_S = 5.0


def main(name: str, port: int) -> None:
    asked = threading.Semaphore(0)
    signal.signal(signal.SIGHUP, lambda *_: asked.release())
    server, port = grpc_backend.serve(name, port)
    print(f"milliroute: listening {name} 127.0.0.1:{port}", file=sys.stderr, flush=True)
    number = 0
    while True:
        # In pieces, so that the signal handler has its turn.
        while not asked.acquire(timeout=0.05):
            pass
        number += 1
        server.stop(GRACE_S).wait()
        server, _ = grpc_backend.serve(name, port)
        print(f"milliroute: listening {name}-{number} 127.0.0.1:{port}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
