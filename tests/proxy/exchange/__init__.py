"""The modules of proxy/exchange/, each in its own file."""
