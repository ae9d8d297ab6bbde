"""The modules of proxy/upstream/, each in its own file."""
