"""Signals that a worker must not obey: it is the agent that decides, by Drain."""

import signal


def shield_from_terminal() -> None:
    """Ctrl-C, a terminal's end and a service manager's SIGTERM or SIGHUP reach the whole process group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
