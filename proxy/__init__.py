"""The data plane: an agent process that knows the tables and worker processes that route by them.

- `worker` owns listening sockets; `downstream` reads requests through a `codec`; `exchange` is one request's life.
- `router` answers (table, request head) -> leaf; `table` holds splits, whose `selector`, `ramp` or `sticky` picks one
  and whose backend's `balancer` picks an endpoint; `upstream` keeps the connections to it.
- `agent` supervises the workers, follows the control stream (`discovery`), adds up their counters (`ledger`) and
  serves the admin port.
- `state` and `ipc` are what goes down and up the pipe between them.

Flow: client -> downstream -> codec -> exchange -> router -> split -> balancer -> upstream -> backend, and back. The
rule not to break: the worker's side never imports grpc, protobuf or prometheus-client. Imports go strictly down the
ranks that tests/test_layers.py lists.
"""
