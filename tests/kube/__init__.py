"""A stand-in for kube-apiserver, as clients see it: one resource version over all kinds, watches, faults on demand.

* `store` keeps objects and a bounded history, `cluster` are the verbs on it. They and `kinds`, `intake`, `schema`,
  `shapes`, `patches`, `fields`, `applying`, `selectors`, `paging`, `watching`, `tables`, `discovery` and `openapi` are
  pure.
* `server`, `streams` and `faults` are the thin HTTP rim; `standin` is the fixture, `__main__` the process.

Not done, unlike the real one: protobuf (415) and HTTP/2; admission, webhooks (conversion too), quotas; garbage
collection by owner; controllers (no endpoints, pods or tokens appear by themselves); field selectors but metadata,
type, reason and involvedObject; v1 and events.k8s.io Events are two kinds; a bookmark comes at the end of
timeoutSeconds and when a test asks for it, not each minute; built-in kinds are validated in a few fields only;
server-side apply knows the list keys of common built-in kinds and of CRD schemas, takes every other list as atomic,
and tracks leaves (no ownership of bare maps).
"""
