"""What `milliroute install` prints: everything a cluster needs, as Kubernetes objects.

- `options`: what can be chosen; `crds`: the kinds we read, `schemas`: what may stand in them;
- `rights`: who may do what; `programs`: Deployments and all that keeps them running;
- `admission`: the webhook and its certificate; `manifests`: all of it, in the order in which it can be applied.

Pure but for `certificates`. The flow: Options -> objects -> YAML.
"""
