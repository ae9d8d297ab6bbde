"""Which guards stand before an authority: what Servers, TrafficTargets and the default policy mean for it.

In: an Index, the authority's name and port, the leaves that its requests may reach. Out: GuardViews; a request must
pass all. A Service that no Server guards is covered by those of the apex through which it is reached, else by the
default. Pods are not known here, so a Server finds its Services by their selectors or by an annotation.

The rule not to break: what is missing or unresolved lets nobody in.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from milliroute.control import names
from milliroute.control.index import Index
from milliroute.control.model import (
    AccessMode,
    AuthorizationPolicy,
    HTTPRouteGroup,
    Match,
    MeshTLSAuthentication,
    Network,
    NetworkAuthentication,
    Reference,
    Server,
    Service,
    ServicePort,
    TargetRule,
    TrafficTarget,
)
from milliroute.control.views import (
    AuthenticationView,
    AuthorizationView,
    GuardView,
    HeaderMatchView,
    MatchView,
)

ANYBODY = ("*",)


def guards(
    index: Index, host: str, namespace: str, port: int | None, leaves: Iterable[tuple[str, int | None]]
) -> tuple[GuardView, ...]:
    """`host`: the authority without its port; `namespace`: whose it is; `leaves`: keys of Services, and their ports."""
    own = list(_of_service(index, host, namespace, port))
    found, is_open = list(own), False
    for key, leaf_port in dict.fromkeys(leaves):
        service = index.services.get(key)
        is_other = (key, leaf_port) != (host, port)
        theirs = list(_of_service(index, key, service.namespace, leaf_port)) if service and is_other else own
        found += theirs
        is_open = is_open or not theirs
    if is_open and not own:
        found += _default(index)
    return tuple(dict.fromkeys(found))


def of_services(index: Index, places: Iterable[tuple[str, int]]) -> tuple[GuardView, ...]:
    """Before the pods that stand behind all of these Services, at these ports of theirs (0: any)."""
    found = [
        guard for key, port in places for guard in _of_service(index, key, index.services[key].namespace, port or None)
    ]
    return tuple(dict.fromkeys(found or _default(index)))


def of_pod(
    index: Index, namespace: str, labels: Mapping[str, str], port: int, places: Sequence[tuple[str, int]]
) -> tuple[GuardView, ...]:
    """Before one pod itself, at a port of its own: by its labels, and by the Services behind which it stands."""
    found = [_server_guard(index, server) for server in _of_labels(index, namespace, labels, port)]
    found += [guard for key, number in places for guard in _of_service(index, key, namespace, number or None)]
    return tuple(dict.fromkeys(found or _default(index)))


def servers_of_pod(
    index: Index, namespace: str, labels: Mapping[str, str], port: int, places: Sequence[tuple[str, int]]
) -> Iterator[Server]:
    """Those that guard it, as above; one may come twice."""
    yield from _of_labels(index, namespace, labels, port)
    for key, number in places:
        yield from servers(index, key, namespace, number or None)


def _of_labels(index: Index, namespace: str, labels: Mapping[str, str], port: int) -> Iterator[Server]:
    for server in index.policies.servers.get(namespace, ()):
        if not server.service and server.port == port and set(server.pod_labels) <= set(labels.items()):
            yield server


def pod_ports(index: Index, key: str, declared: ServicePort) -> set[int | str]:
    return _pod_ports(index, key, index.services[key], declared)


def warnings(index: Index) -> Iterator[str]:
    """What an operator should know: policies that point at nothing."""
    policies = index.policies
    all_servers = [server for several in policies.servers.values() for server in several]
    known = {Reference("Server", server.namespace, server.name) for server in all_servers}
    for server in all_servers:
        title = f"Server {server.namespace}/{server.name}"
        if not any(_selects(index, server, key, server.namespace) for key in _keys(index, server)):
            yield f"{title} guards no Service ({server.origin.short})"
        for key, service in index.services.items():
            if service.selector and set(service.selector) < set(server.pod_labels):
                yield f"{title} guards some of the pods of {key}, which are not told apart: not guarded"
    for target, several in policies.policies.items():
        for policy in several:
            if target.kind == "Server" and target not in known:
                yield f"{_title(policy)}: no Server {target.namespace}/{target.name} ({policy.origin.short})"
            yield from _unresolved(index, policy)
    for target, limits in policies.rate_limits.items():
        if target not in known:
            where = f"HTTPLocalRateLimitPolicy {target.namespace}/{limits[0].name}"
            yield f"{where}: no Server {target.namespace}/{target.name} ({limits[0].origin.short})"
    for key, targets in policies.targets.items():
        if key not in index.services and key not in index.splits:
            yield f"{_titled(targets[0])}: no Service {key} ({targets[0].origin.short})"
        yield from (f"{_titled(t)}: {key} is not of its namespace" for t in targets if not _is_own(index, t, key))


def servers(index: Index, key: str, namespace: str, port: int | None) -> Iterator[Server]:
    """Those that guard a Service or host name by itself."""
    for server in index.policies.servers.get(namespace, ()):
        if _selects(index, server, key, namespace) and _is_of_port(index, server, key, port):
            yield server


def identities(index: Index, accounts: Sequence[Reference]) -> Iterator[str]:
    """The names in certificates of ServiceAccounts, and of all those of Namespaces; in both spellings: Linkerd's DNS
    names, and the SPIFFE ids of others."""
    domain = index.policies.defaults.trust_domain
    for account in accounts:
        who = account.namespace if account.kind == "Namespace" else f"{account.name}.{account.namespace}"
        prefix = "*." if account.kind == "Namespace" else ""
        yield f"{prefix}{who}.serviceaccount.identity.linkerd.{domain}"
        name = "*" if account.kind == "Namespace" else account.name
        yield f"spiffe://{domain}/ns/{account.namespace}/sa/{name}"


def _of_service(index: Index, key: str, namespace: str, port: int | None) -> Iterator[GuardView]:
    for server in servers(index, key, namespace, port):
        yield _server_guard(index, server)
    targets = [
        t for t in index.policies.targets.get(key, ()) if t.namespace == namespace and t.port in (0, port or t.port)
    ]
    if targets:
        yield GuardView("TrafficTarget", key, tuple(view for t in targets for view in _target_views(index, t)))


def _keys(index: Index, server: Server) -> Iterator[str]:
    yield from (key for key, service in index.services.items() if service.namespace == server.namespace)
    yield from (key for key, split in index.splits.items() if split.namespace == server.namespace)


def _selects(index: Index, server: Server, key: str, namespace: str) -> bool:
    """A Server sees only its own namespace. Without pods, those of a Service are surely meant when its selector has all
    the labels that the Server asks for; one that asks for none guards all of its namespace."""
    if server.namespace != namespace:
        return False
    if server.service:
        return names.canonical(server.service, server.namespace) == key
    service = index.services.get(key)
    selector = service.selector if service else ()
    return set(server.pod_labels) <= set(selector)


def _is_of_port(index: Index, server: Server, key: str, port: int | None) -> bool:
    """A Service that declares no ports, or is none of ours, is guarded whole."""
    service = index.services.get(key)
    if service is None or not service.ports or port is None:
        return True
    declared = next((one for one in service.ports if one.port == port), None)
    if declared is None:
        return False
    if server.service:
        return server.port in (declared.port, declared.name)
    return server.port in _pod_ports(index, key, service, declared)


def _pod_ports(index: Index, key: str, service: Service, declared: ServicePort) -> set[int | str]:
    """The numbers and names by which pods know this port; for a named one only their slices know the number."""
    found: set[int | str] = {declared.target_port or declared.port}
    if isinstance(declared.target_port, str) or not declared.target_port:
        found |= {p.port for one in index.slices.get(key, ()) for p in one.ports if p.name == declared.name}
    return found


def _server_guard(index: Index, server: Server) -> GuardView:
    name = f"{server.namespace}/{server.name}"
    wanted = (
        Reference("Server", server.namespace, server.name),
        Reference("Namespace", server.namespace, server.namespace),
    )
    views = [_policy_view(index, p) for target in wanted for p in index.policies.policies.get(target, ())]
    return GuardView("Server", name, (*views, *_mode_views(index, server.mode)), is_audit=server.mode == "audit")


def _default(index: Index) -> list[GuardView]:
    mode = index.policies.defaults.mode
    if mode == "all-unauthenticated":
        return []
    return [GuardView("default", mode, tuple(_mode_views(index, mode)), is_audit=mode == "audit")]


def _mode_views(index: Index, mode: AccessMode) -> Iterator[AuthorizationView]:
    if mode in ("deny", "audit"):
        return
    required = []
    if mode.startswith("cluster-"):
        cluster = tuple(Network(cidr) for cidr in index.policies.defaults.cluster_networks)
        required.append(AuthenticationView("cluster", networks=cluster))
    if not mode.endswith("-unauthenticated"):
        required.append(AuthenticationView("authenticated", identities=ANYBODY))
    yield AuthorizationView(mode, tuple(required))


def _policy_view(index: Index, policy: AuthorizationPolicy) -> AuthorizationView:
    required = tuple(_authentication(index, reference) for reference in policy.required)
    matches: tuple[MatchView, ...] = ()
    if policy.groups:
        found = [index.groups.get((policy.namespace, name)) for name in policy.groups]
        matches = tuple(_match_view(match) for group in found if group for match in group.matches)
        if not matches:
            required = (*required, AuthenticationView("no such HTTPRouteGroup"))
    return AuthorizationView(f"{policy.namespace}/{policy.name}", required, matches)


def _authentication(index: Index, reference: Reference) -> AuthenticationView:
    name = f"{reference.namespace}/{reference.name}"
    if reference.kind == "ServiceAccount":
        return AuthenticationView(name, identities=tuple(identities(index, [reference])))
    match index.policies.authentications.get(reference):
        case NetworkAuthentication() as found:
            return AuthenticationView(name, networks=found.networks)
        case MeshTLSAuthentication() as found:
            return AuthenticationView(name, identities=(*found.identities, *identities(index, found.accounts)))
    return AuthenticationView(name)


def _target_views(index: Index, target: TrafficTarget) -> Iterator[AuthorizationView]:
    name = f"{target.namespace}/{target.name}"
    sources = (AuthenticationView("sources", identities=tuple(identities(index, target.sources))),)
    if not target.rules:
        yield AuthorizationView(name, sources)
    if TargetRule() in target.rules:
        yield AuthorizationView(name, sources, is_tcp_only=True)
    matches = tuple(
        _match_view(match)
        for rule in target.rules
        if rule.group and (group := index.groups.get((target.namespace, rule.group)))
        for match in _chosen(group, rule)
    )
    if matches:
        yield AuthorizationView(name, sources, matches)


def _chosen(group: HTTPRouteGroup, rule: TargetRule) -> list[Match]:
    return [match for match in group.matches if not rule.matches or match.name in rule.matches]


def _match_view(match: Match) -> MatchView:
    headers = tuple(HeaderMatchView(header.name, header.regex) for header in match.headers)
    return MatchView(match.path_regex, match.methods, headers)


def _title(policy: AuthorizationPolicy) -> str:
    return f"AuthorizationPolicy {policy.namespace}/{policy.name}"


def _titled(target: TrafficTarget) -> str:
    return f"TrafficTarget {target.namespace}/{target.name}"


def _is_own(index: Index, target: TrafficTarget, key: str) -> bool:
    owner = index.services.get(key) or index.splits.get(key)
    return owner is None or owner.namespace == target.namespace


def _unresolved(index: Index, policy: AuthorizationPolicy) -> Iterator[str]:
    for reference in policy.required:
        if reference.kind != "ServiceAccount" and reference not in index.policies.authentications:
            where = f"{reference.kind} {reference.namespace}/{reference.name}"
            yield f"{_title(policy)}: no {where}, so it lets nobody in ({policy.origin.short})"
    for name in policy.groups:
        if (policy.namespace, name) not in index.groups:
            yield f"{_title(policy)}: no HTTPRouteGroup {policy.namespace}/{name} ({policy.origin.short})"
