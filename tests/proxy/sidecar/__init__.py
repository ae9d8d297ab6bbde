"""The modules of proxy/sidecar/, each in its own file."""
