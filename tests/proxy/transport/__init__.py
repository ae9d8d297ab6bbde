"""The modules of proxy/transport/, each in its own file."""
