"""The console script. Light, so that `milliroute version` takes no longer than Python itself.

In: argv. Out: an exit code, 0 ok, 1 failure, 2 usage. `milliroute proxy` replaces this process, so that a proxy never
carries the operator's code.
"""

import sys

from milliroute.control.config import VERSION


def main() -> None:
    args = sys.argv[1:]
    if args in (["version"], ["--version"]):
        print(f"milliroute {VERSION}")
    elif args[:1] == ["proxy"]:
        from milliroute.control.cli.handover import become_proxy

        become_proxy(args[1:])
    else:
        # Here and not above: click alone takes as long as everything before it.
        from milliroute.control.cli.commands import main as run_verb

        run_verb(args)
