"""The destination service: from TrafficSplits in files to the tables that proxies route by.

- `source` reads and watches files and folders and gives `Objects` (`model`), with every error as `path:line:col`.
- `snapshot` builds the versioned state from Objects, purely: who wins, a leaf's endpoints, where a ramp starts.
- `views` mirror the messages of destination.proto; a snapshot gives one per authority.
- `hub` hands the latest snapshot to every subscriber; `service` turns views into bytes on each proxy's stream.
- `server` wires these by hand; `cli` holds the operator's verbs.

Flow: source -> Objects -> snapshot -> hub -> service -> proxy. Imports go strictly the other way.
"""
