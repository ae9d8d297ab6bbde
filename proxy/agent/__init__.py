"""The proxy's parent process: it makes the workers, follows the control stream, adds up, and tells.

- `launch` opens listeners and forks the first workers, then runs `agent`; `supervisor` keeps workers alive.
- `discovery` holds the stream to the control service, `destination` turns its bytes into values; `catalog` knows what
  is watched and in force; `statedir` and `keeper` keep it on disk.
- `ledger` adds up the workers' counters; `collector`, `splitsview` and `surface` show them; `admin` serves HTTP.

The rule not to break: no grpc, protobuf or prometheus-client before the first workers are forked.
"""
