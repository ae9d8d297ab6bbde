"""Kubernetes objects out of YAML nodes: each field checked, each error with its `path:line:col`.

In: the positioned nodes of `source.yaml` (`nodes`). Out: values of `model`, and errors. `objects` is the entry; `smi`
and `core` hold the kinds, `annotations` what we read beyond SMI, `metadata` and `fields` what all kinds share.
"""
