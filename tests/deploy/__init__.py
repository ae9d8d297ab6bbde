"""The manifests of deploy/, held against what `milliroute install` prints, and given to kustomize."""
