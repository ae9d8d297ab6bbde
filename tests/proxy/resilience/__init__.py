"""The modules of proxy/resilience/, each in its own file."""
