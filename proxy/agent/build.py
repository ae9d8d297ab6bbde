"""Which milliroute this is. Costly to find out (importlib.metadata), so only when somebody asks."""

import platform
from functools import cache


@cache
def version() -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as distribution_version

    try:
        return distribution_version("milliroute")
    except PackageNotFoundError:
        return "unknown"


def python_version() -> str:
    return platform.python_version()
