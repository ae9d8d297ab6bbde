"""A proxy put beside the application: what is added to a workload, and the rules that lead its traffic there.

- `rules`: which TCP connections of a pod are redirected, as commands for iptables.
- `annotations` + `settings`: what a workload says about its proxy; `containers`: the two containers that follow.
- `workloads`: where a pod is described in an object of each kind; `plan`: what changes in one object, and why not.
- `edits`: changes as values; applied to objects, written as JSON patches, and by `layout` into a file's text.
- `manifests`: whole files, for `milliroute inject`; `admission`: one object of the API server's, for the webhook.

All of it is pure: texts and objects in, texts and objects out.
"""
