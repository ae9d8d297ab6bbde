"""The modules of proxy/downstream/, each in its own file."""
