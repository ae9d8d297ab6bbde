"""The modules of proxy/routing/, each in its own file."""
