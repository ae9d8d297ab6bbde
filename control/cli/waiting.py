"""`split set --wait`: until every proxy that answers routes by the weights just written.

In: what was written and the proxies' admin addresses. Returns when they agree; raises ControlError with the proxies
that do not when the time is over. A proxy that does not use the split has nothing to wait for.
"""

import time
from collections.abc import Sequence

from milliroute.control import errors
from milliroute.control.cli import proxies
from milliroute.control.cli.proxies import ProxyPage
from milliroute.control.cli.setting import Done

# Seconds between two questions; a change takes some ten milliseconds.
POLL_S = 0.05


def until_in_force(done: Done, admins: Sequence[str], timeout_s: float) -> None:
    """Poll until the weights are in force everywhere. Raises ControlError."""
    deadline = time.monotonic() + timeout_s
    while True:
        answers = proxies.ask(admins)
        late = behind(done, answers.pages)
        if answers.pages and not late:
            return
        if time.monotonic() >= deadline:
            who = "; ".join([*late, *answers.silent])
            raise errors.ControlError(f"written, but not in force everywhere after {timeout_s:g} s: {who}")
        time.sleep(POLL_S)


def behind(done: Done, pages: Sequence[ProxyPage]) -> list[str]:
    """The proxies that route by other weights, each with what it has."""
    wanted = done.weights_micro()
    late = []
    for page in pages:
        for split in (split for authority in page.authorities for split in authority.splits):
            held = {leaf.leaf: leaf.weight_micro for leaf in split.leaves}
            if split.name == done.split and held != wanted:
                late.append(f"{page.proxy}: {' '.join(f'{leaf.leaf}={leaf.weight}' for leaf in split.leaves)}")
    return late
