"""Texts of flags to numbers, with what was seen and what is wanted where they are none. Pure."""

from collections.abc import Callable

from milliroute.proxy.errors import ConfigError


def whole(least: int, most: int) -> Callable[[str], int]:
    """A reader of numbers in these bounds; it raises ConfigError."""

    def convert(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 11 and least <= int(text) <= most):
            raise ConfigError(f"saw {text!r}, wanted a number from {least} to {most}")
        return int(text)

    return convert


def seconds(text: str) -> float:
    """Raises ConfigError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    # A day: longer is a unit mistaken. NaN compares false.
    if not 0.0 <= value <= 86_400.0:
        raise ConfigError(f"saw {text!r}, wanted seconds from 0 to 86400")
    return value
