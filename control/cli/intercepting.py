"""`milliroute iptables`: the rules of `inject.rules` put in force, or printed as shell by --simulate.

Needs CAP_NET_ADMIN and CAP_NET_RAW in the pod's network namespace. IPv6 is left out where the kernel has none.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

from milliroute.control import errors
from milliroute.control.inject import rules
from milliroute.control.inject.rules import Command, Interception

# Seconds for one command: long enough to wait for somebody else's lock, short enough for a pod to be tried again.
TIMEOUT_S = 30
# There from the moment a kernel has IPv6, in every network namespace.
IPV6_IN_USE = "/proc/net/if_inet6"


def script(options: Interception, versions: Sequence[int]) -> str:
    """All commands as a shell script that does what `run` does."""
    lines = [str(command) for version in versions for command in rules.commands(options, version)]
    return "\n".join(["set -e", *lines, ""])


def run(options: Interception, versions: Sequence[int]) -> None:
    """Raises ControlError with what the first command that failed said."""
    for version in versions:
        if version == 6 and not os.path.exists(IPV6_IN_USE):
            print("milliroute: no IPv6 in this kernel: IPv4 only", file=sys.stderr)
            continue
        for command in rules.commands(options, version):
            _do(command)


def _do(command: Command) -> None:
    if command.unless and _called(command.unless, "").returncode == 0:
        return
    done = _called(command.argv, command.stdin)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise errors.ControlError(f"{' '.join(command.argv)}: {said}")


def _called(argv: Sequence[str], stdin: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError:
        hint = "install iptables, or choose another --firewall-mode: nft, legacy or plain"
        raise errors.ControlError(f"{argv[0]}: no such program ({hint})") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise errors.ControlError(f"{argv[0]}: {getattr(error, 'strerror', None) or error}") from error
