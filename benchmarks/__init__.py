"""CPU per proxied request of milliroute and its peers, all in one interleaved run: `python -m benchmarks`.

- `scenario` says what is asked, `peers/` who is asked, `run` asks in interleaved rounds, `report` prints and writes.
- `session` is the closed-loop load generator, `backend` the two servers behind every proxy; both are uvloop and raw
  protocols, so that they never cost more than the fastest peer.
- `cputime` reads what a proxy's whole process tree has used; `summary` is the arithmetic.

The rule: a number is only ever compared with another of the same run, and ratios are taken round by round.
"""
