"""Who may ask an authority what: its guards, compiled from their states. Pure; asked once per request.

In: who asks (address, the identities of a verified certificate) and the request's head, or None for a connection that
is not HTTP. Out: None, or the AccessDenied to answer with. What was decided is tallied, for metrics and for a log line
now and then.

The rule not to break: there is only allowing. What is missing, malformed or in doubt lets nobody in, so a path that
could be read in two ways is taken by no match that looks at paths.
"""

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Protocol

from milliroute.proxy.errors import AccessDenied
from milliroute.proxy.guard.paths import is_normal, is_plain
from milliroute.proxy.ipc import AccessDelta
from milliroute.proxy.message import RequestHead
from milliroute.proxy.routing.matching import Matcher, matcher
from milliroute.proxy.state import AuthenticationState, AuthorizationState, GuardState, MatchState, NetworkState

# At most one log line about one guard in this time.
LOG_EVERY_S = 10.0
# Addresses whose parsed form is kept; parsing one takes 2 us. Clients of whom it is kept what is open to them.
MAX_ADDRESSES = 4096

# (version, first, last)
_Range = tuple[int, int, int]
# Kind and name of a guard, authorization, verdict, protocol: what is counted.
_Key = tuple[str, str, str, str, str]
# Whom address and certificate say a client is, and what that leaves to ask of its requests: of each guard the
# authorizations that take such a client, by what they ask, None for nothing, with the counter of those they let in.
_Takes = Callable[[RequestHead], bool]
_Who = str | tuple[str, tuple[str, ...]]
_Way = tuple[_Takes | None, "Counter"]
_Open = tuple[tuple["Guard", tuple[_Way, ...]], ...]


class Asker(Protocol):
    @property
    def client_ip(self) -> str: ...

    @property
    def identities(self) -> tuple[str, ...]:
        """The names in the client's certificate, once it is verified."""


class Access:
    """All guards before one authority."""

    __slots__ = ("_guards", "_only", "_open", "_reads_names", "tally")

    def __init__(self, authority: str, guards: Sequence[GuardState], previous: "Access | None" = None) -> None:
        """previous: whose tally goes on. Raises ValueError or re2.error for what cannot be judged by."""
        self._guards = tuple(Guard(guard) for guard in guards)
        self._reads_names = any(guard.reads_names for guard in self._guards)
        self._open: dict[_Who, _Open] = {}
        self._only: dict[_Who, _Way] = {}  # of those who have but one, at a single guard
        self.tally: Tally = previous.tally if previous is not None else Tally(authority)

    def judge(self, asker: Asker, head: RequestHead | None) -> AccessDenied | None:
        """None: let in. head None: a connection that is not HTTP."""
        if head is None:
            return self._judge_connection(asker)
        who = (asker.client_ip, asker.identities) if self._reads_names else asker.client_ip
        only = self._only.get(who)
        if only is not None and (only[0] is None or only[0](head)):
            only[1].count += 1
            return None
        found = self._open.get(who)
        if found is None:
            found = self._open_to(asker, who)
        for guard, ways in found:
            for takes, counter in ways:
                if takes is None or takes(head):
                    counter.count += 1
                    break
            else:
                if self._turns_away(guard, asker, head):
                    return guard.denial(head)
        return None

    def _judge_connection(self, asker: Asker) -> AccessDenied | None:
        for guard in self._guards:
            name = guard.admitting_connection(asker)
            if name is not None:
                self.tally.counter(guard, name, "allow", "tcp").count += 1
            elif self._turns_away(guard, asker, None):
                return guard.denial(None)
        return None

    def _turns_away(self, guard: "Guard", asker: Asker, head: RequestHead | None) -> bool:
        """False where it is only noted."""
        verdict, protocol = "audit" if guard.is_audit else "deny", "http" if head is not None else "tcp"
        self.tally.counter(guard, "", verdict, protocol).count += 1
        self.tally.note(guard, asker, head)
        return not guard.is_audit

    def _open_to(self, asker: Asker, who: _Who) -> _Open:
        counter = self.tally.counter
        found = tuple(
            (guard, tuple((takes, counter(guard, name, "allow", "http")) for name, takes in guard.ways(asker)))
            for guard in self._guards
        )
        if len(self._open) >= MAX_ADDRESSES:
            self._open.clear()
            self._only.clear()
        self._open[who] = found
        if len(found) == 1 and len(found[0][1]) == 1:
            self._only[who] = found[0][1][0]
        return found


class Guard:
    """title: what it does to those whom it does not let in, for the log. reads_names: of certificates."""

    __slots__ = ("_authorizations", "_reads_paths", "is_audit", "kind", "name", "reads_names", "title")

    def __init__(self, state: GuardState) -> None:
        self.kind = state.kind
        self.name = state.name
        self.is_audit = state.is_audit
        named = f"the default policy {state.name}" if state.kind == "default" else f"{state.kind} {state.name}"
        self.title = f"{'audited' if state.is_audit else 'denied'} by {named}"
        self._authorizations = tuple(_Authorization(one) for one in state.authorizations)
        self._reads_paths = any(_reads_path(match) for one in state.authorizations for match in one.matches)
        self.reads_names = any(of.identities for one in state.authorizations for of in one.required)

    def admitting_connection(self, asker: Asker) -> str | None:
        """The name of the authorization that lets in a connection that is not HTTP."""
        # Those with matches do not: there is no request that one could take.
        return next((one.name for one in self._authorizations if not one.matches and one.takes(asker)), None)

    def ways(self, asker: Asker) -> Iterator[tuple[str, _Takes | None]]:
        """The authorizations that take this client's requests, with what a request needs besides."""
        for one in self._authorizations:
            if not one.is_tcp_only and one.takes(asker):
                yield one.name, _one_of(one.matches)

    def denial(self, head: RequestHead | None) -> AccessDenied:
        if head is not None and self._reads_paths and not is_normal(head.target):
            return AccessDenied("denied: access is by path, and this path is not in normal form")
        return AccessDenied("denied by an access policy")  # whose name is nothing for strangers


class _Authorization:
    __slots__ = ("_required", "is_tcp_only", "matches", "name")

    def __init__(self, state: AuthorizationState) -> None:
        self.name = state.name
        self._required = tuple(_Authentication(one) for one in state.required)
        self.matches = tuple(_Match(match) for match in state.matches)
        self.is_tcp_only = state.is_tcp_only

    def takes(self, asker: Asker) -> bool:
        return all(one.takes(asker) for one in self._required)


class _Match:
    __slots__ = ("takes",)

    def __init__(self, state: MatchState) -> None:
        made = matcher(state)
        self.takes: _Takes = made.takes
        if not _reads_path(state):
            return
        if isinstance(made, Matcher) and made.plain is not None:
            self.takes = _plain_test(*made.plain)
        else:
            self.takes = partial(_takes_normal, made.takes)


def _plain_test(methods: frozenset[bytes], prefix: bytes) -> _Takes:
    """As _takes_normal, of a match that asks for no more: most do, and this is a third of the calls."""

    def takes(head: RequestHead) -> bool:
        target = head.target
        if methods and head.method not in methods:
            return False
        return target.startswith(prefix) and (is_plain(target) is not None or is_normal(target))

    return takes


def _takes_normal(matches: _Takes, head: RequestHead) -> bool:
    return is_normal(head.target) and matches(head)


def _reads_path(match: MatchState) -> bool:
    return bool(match.path_regex or match.path_exact or match.path_prefix or match.path_full_regex)


def _one_of(matches: Sequence[_Match]) -> _Takes | None:
    if len(matches) > 1:
        return partial(_takes_one, tuple(match.takes for match in matches))
    return matches[0].takes if matches else None


def _takes_one(ways: tuple[_Takes, ...], head: RequestHead) -> bool:
    for takes in ways:  # noqa: SIM110  # not any(): a generator is 0.3 us
        if takes(head):
            return True
    return False


class _Authentication:
    __slots__ = ("_is_anybody", "_names", "_networks", "_prefixes", "_suffixes")

    def __init__(self, state: AuthenticationState) -> None:
        self._networks = tuple(_Network(network) for network in state.networks)
        self._is_anybody = "*" in state.identities
        self._names = frozenset(state.identities)
        self._suffixes = tuple(name[1:] for name in state.identities if name.startswith("*."))
        self._prefixes = tuple(name[:-1] for name in state.identities if name.endswith("/*"))

    def takes(self, asker: Asker) -> bool:
        if self._names and self._takes_one_of(asker.identities):
            return True
        if not self._networks:
            return False
        address = _parse(asker.client_ip)
        return address is not None and any(network.holds(*address) for network in self._networks)

    def _takes_one_of(self, identities: Sequence[str]) -> bool:
        if self._is_anybody:
            return bool(identities)
        return any(
            name in self._names
            or (bool(self._suffixes) and "/" not in name and name.endswith(self._suffixes))
            or (bool(self._prefixes) and name.startswith(self._prefixes))
            for name in identities
        )


class _Network:
    __slots__ = ("_excepts", "_range")

    def __init__(self, state: NetworkState) -> None:
        self._range = _range(state.cidr)
        self._excepts = tuple(_range(cidr) for cidr in state.excepts)

    def holds(self, version: int, address: int) -> bool:
        return _is_in(self._range, version, address) and not any(_is_in(one, version, address) for one in self._excepts)


class Counter:
    """Of one kind of decision, since the last report."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Tally:
    """What was decided of one authority since the last report, and whom the guards turned away last."""

    __slots__ = ("_counters", "_logged_s", "_noted", "authority")

    def __init__(self, authority: str) -> None:
        self.authority = authority
        # By name, and for good: who is admitted holds them, and a policy that was replaced goes on under its name.
        self._counters: dict[_Key, Counter] = {}
        # By what is to be said: how often since the last line, and who wanted what the last time.
        self._noted: dict[str, tuple[int, str, tuple[str, ...], bytes, bytes]] = {}
        self._logged_s: dict[str, float] = {}

    def counter(self, guard: Guard, authorization: str, verdict: str, protocol: str) -> Counter:
        key = guard.kind, guard.name, authorization, verdict, protocol
        found = self._counters.get(key)
        if found is None:
            found = self._counters[key] = Counter()
        return found

    def note(self, guard: Guard, asker: Asker, head: RequestHead | None) -> None:
        known = self._noted.get(guard.title)
        method, target = (head.method, head.target) if head is not None else (b"a", b"connection")
        count = known[0] + 1 if known is not None else 1
        self._noted[guard.title] = count, asker.client_ip, asker.identities, method, target

    def take(self) -> list[AccessDelta]:
        """Counted since the last call."""
        found = []
        for key, counter in self._counters.items():
            if counter.count:
                found.append(AccessDelta(self.authority, *key, counter.count))
                counter.count = 0
        return found

    def lines(self, now: float) -> list[str]:
        """What is due to be logged; what is not yet goes on being added up."""
        found = []
        for title, (count, client_ip, identities, method, target) in list(self._noted.items()):
            if now - self._logged_s.get(title, -LOG_EVERY_S) >= LOG_EVERY_S:
                self._logged_s[title] = now
                del self._noted[title]
                what, who = (method + b" " + target).decode("latin-1"), ", ".join((client_ip, *identities))
                found.append(f"{self.authority}: {count} {title}, the last: {_printable(f'{what} from {who}')}")
        return found


def _range(cidr: str) -> _Range:
    network = ipaddress.ip_network(cidr)
    return network.version, int(network.network_address), int(network.broadcast_address)


def _is_in(one: _Range, version: int, address: int) -> bool:
    return one[0] == version and one[1] <= address <= one[2]


@lru_cache(MAX_ADDRESSES)
def _parse(client_ip: str) -> tuple[int, int] | None:
    """None for what is no address: a peer of a unix socket. An IPv4 address inside IPv6 counts as what it holds."""
    try:
        address = ipaddress.ip_address(client_ip.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


def _printable(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:300]
