"""The modules of proxy/heads/, each in its own file."""
