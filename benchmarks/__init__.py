"""CPU per proxied request of milliroute and its peers, all in one interleaved run: `python -m benchmarks`.

- `scenario` says what is asked, `peers/` who is asked, `run` asks in interleaved rounds, `report` prints and writes.
- `session` is the closed-loop load generator, `backend` the two servers behind every proxy; both are uvloop and raw
  protocols, so that they never cost more than the fastest peer.
- `scenario_h2`, `session_h2` and `backend_h2` are the same over HTTP/2. `h2_end` is what their connections share, and
  `hpack_plan` and `hpack_items` write and read field blocks cheaply. `splice` and `grpc_aio` are proxies.
- `cputime` reads what a proxy's whole process tree has used; `summary` is the arithmetic.

The rule: a number is only ever compared with another of the same run, and ratios are taken round by round.
"""
