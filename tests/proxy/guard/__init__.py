"""The modules of proxy/guard/, each in its own file."""
