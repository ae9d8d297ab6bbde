"""The data plane: an agent process that knows the tables and worker processes that route by them.

- `worker` owns listening sockets; `downstream` reads requests through a `codec`; `exchange` is one request's life.
- `routing` answers (table, request head) -> leaf and endpoint; `upstream` keeps the connections to it. `transport` is
  what both ends share of sockets.
- `guard` says who is let in, `heads` what is changed on the way, `resilience` what becomes of failures; `sidecar` knows
  connections that were led here.
- `agent` supervises the workers, follows the control stream (`discovery`), adds up their counters (`ledger`) and
  serves the admin port.
- `state` and `ipc` are what goes down and up the pipe between them.

Flow: client -> downstream -> codec -> exchange -> routing -> upstream -> backend, and back. The rule not to break: the
worker's side never imports grpc, protobuf or prometheus-client. Imports go strictly down the ranks that
tests/test_layers.py lists.
"""
