"""Settings that hold for every test."""

from hypothesis import settings

# The same examples on each run, and no time limit for one of them: the machines are shared.
settings.register_profile("milliroute", deadline=None, derandomize=True)
settings.load_profile("milliroute")
