"""Log lines of a proxy process: to stderr, one line each, `milliroute: LEVEL WHERE: TEXT`."""

import logging

LEVELS = ("debug", "info", "warning", "error")


def configure_logs(level: str) -> None:
    logging.basicConfig(format="milliroute: %(levelname)s %(name)s: %(message)s", level=level.upper())
    # asyncio tells on debug which selector it uses, once per loop.
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def set_level(level: str) -> None:
    """level: one of LEVELS; raises ValueError otherwise."""
    if level not in LEVELS:
        raise ValueError(f"saw {level!r}, wanted one of {', '.join(LEVELS)}")
    logging.getLogger().setLevel(level.upper())


def current_level() -> str:
    return logging.getLevelName(logging.getLogger().level).lower()
