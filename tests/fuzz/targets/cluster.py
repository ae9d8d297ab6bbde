"""What an API server says: discovery, lists and watches in a row, objects of every kind that is read, and the Lease."""

import json
import random
import re
from collections.abc import Mapping

import yaml

from milliroute.control import snapshot
from milliroute.control.routestatus import unreadable
from milliroute.control.source.kubernetes import answers, reports, statuses, tree
from milliroute.control.source.kubernetes.answers import BadAnswerError, Entry
from milliroute.control.source.kubernetes.assembly import assemble
from milliroute.control.source.kubernetes.lease import Election
from milliroute.control.source.kubernetes.reflector import Answer, Reflector, Wait, Watch
from milliroute.control.source.kubernetes.resources import ROUTES, SERVICES, SPLITS, WATCHED, Resource
from milliroute.control.source.merge import FileState, merge
from tests.control import routing
from tests.control.kubernetes.building import PACE, bookmark, dumped, gone_event, line, split
from tests.control.test_limits import POLICY, SERVER
from tests.control.test_policy_parse import RULES, SOURCES, TARGET, document, policy
from tests.fuzz.target import Target, check_said
from tests.fuzz.targets.gateway import ASKED, EVERYTHING, GRANT, GRPC, WORLD, tabled
from tests.proxy.codec.feeding import cuttings

# Between the answers of a script; no JSON text has it.
_NEXT = b"\x1e"
_MOST_STEPS = 40
_HEAD = re.compile(rb"([0-9]{3}) ?([0-9]{0,9})\n")
_NOW = "2026-01-31T12:00:00Z"


def _script(data: bytes) -> None:
    """Answers in a row, to whatever is asked: however a watch is cut, the same is known in the end."""
    rng = random.Random(len(data))
    resource = SERVICES if b"ClusterIP" in data else SPLITS[0]
    whole, cut = (Reflector(resource, "", random.Random(0), PACE) for _ in range(2))
    for record in data.split(_NEXT)[:_MOST_STEPS]:
        _play(whole, [record])
        _play(cut, rng.choice(cuttings(rng, record)[1:]))
        assert whole.holding.entries == cut.holding.entries
        assert (whole.known, whole.trouble, whole.version) == (cut.known, cut.trouble, cut.version)
        assert "\n" not in whole.trouble
    objects = assemble([whole])
    assert all("\n" not in error for source in objects.sources for error in source.errors)
    _check_told(resource, whole.version, list(whole.holding.entries.values()), snapshot.build(objects, None, 0))


def _play(reflector: Reflector, pieces: list[bytes]) -> None:
    """One answer, after the waits before it; to a watch the stream of one."""
    now = 1000.0
    while isinstance(step := reflector.step(now), Wait):
        assert 0.0 < step.seconds < 600.0
        now += step.seconds
    record = b"".join(pieces)
    head = _HEAD.match(record)
    if not isinstance(step, Watch) or head is not None:
        status, again = (int(head[1]), head[2].decode()) if head is not None else (200, "")
        answer = Answer(status, record[head.end() :] if head is not None else record, again)
        (reflector.opened if isinstance(step, Watch) else reflector.answered)(answer, now)
        return
    known = set(reflector.holding.entries)
    reflector.opened(Answer(200), now)
    goes_on = all(reflector.received(piece, now)[1] for piece in pieces)
    if goes_on:
        reflector.ended(now)
    assert b"\\u" in record or b"DELETED" in record or known <= set(reflector.holding.entries)


def _object(data: bytes) -> None:
    """Of whatever kind it says it is: alone or in a list it means the same, and all of it can be put in force."""
    for resource in [one for one in WATCHED if one.kind.encode() in data] or SPLITS[:1]:
        version = resource.versions[0]
        try:
            entry = answers.entry_of(data, resource, version)
        except BadAnswerError as error:
            check_said(error)
            continue
        listed = answers.page(b'{"metadata": {"resourceVersion": "7"}, "items": [%b]}' % data, resource, version)
        assert listed.entries == (entry,)
        assert all("\n" not in error and error.startswith(resource.kind) for error in entry.errors)
        found = () if entry.value is None else (entry.value,)
        built = snapshot.build(merge([FileState("world.yaml", WORLD), FileState("o", found)]), None, 0)
        for asked, namespace in ASKED:
            tabled(built, asked, namespace)
        _check_told(resource, version, [entry], built)
        if resource in ROUTES:
            _check_status(tree.mapping(tree.decoded(data)), entry)


def _check_told(resource: Resource, version: str, entries: list[Entry], built: snapshot.Snapshot) -> None:
    """Events go out as JSON, within the bounds of the API."""
    known = {report.name: report for report in built.splits}
    for verdict in reports.split_verdicts(resource, version, entries, known):
        event = reports.event(verdict, "me", _NOW)
        assert json.loads(tree.encoded(event)) == event
        assert len(verdict.message) <= reports.MAX_MESSAGE_CHARS
        assert len(reports.name_of(verdict)) <= 253


def _check_status(route: Mapping[str, object], entry: Entry) -> None:
    """What is written is what is read back, so that it is written once."""
    ours = statuses.wanted(unreadable(entry.parents, "; ".join(entry.errors)), entry.generation)
    parents = statuses.merged(route, ours, _NOW)
    assert (parents is None) == (statuses.said(ours) == entry.status)
    if parents is not None and len(parents) < statuses.MAX_PARENTS:
        sent = tree.mapping(tree.decoded(tree.encoded(dict(route) | {"status": {"parents": parents}})))
        assert statuses.ours(sent) == statuses.said(ours)
        assert statuses.merged(sent, ours, "later") is None


def _lease(data: bytes) -> None:
    """Leases in a row as they are read: nobody leads without having written, and what is written can be read."""
    one, other = Election("me", "milliroute", "mesh"), Election("other", "milliroute", "mesh")
    for number, text in enumerate(data.split(_NEXT)[:_MOST_STEPS]):
        try:
            found = tree.mapping(tree.decoded(text))
        except ValueError:
            continue
        now = 1000.0 + number
        for election in (one, other):
            election.seen(found, now)
            assert not election.leads(now)
        wanted = one.wanted(now, now)
        if wanted is None:
            assert one.holder not in ("", "me")
            assert one.wanted(now + 2.0**31, now) is not None
            continue
        sent = tree.mapping(tree.decoded(tree.encoded(wanted)))
        assert sent == wanted
        other.seen(sent, now)
        assert (other.holder, other.wanted(now + 14.9, now)) == ("me", None)
        assert one.release(now) is None or one.holder == ""


def _scripts() -> list[bytes]:
    group = dumped({"versions": [{"version": "v1alpha1"}, {"version": "v1alpha2"}]})
    kinds = dumped({"resources": [{"name": "trafficsplits", "verbs": ["get", "list", "watch"]}]})
    first = dumped({"metadata": {"resourceVersion": "9", "continue": "2"}, "items": [split("a"), split("b", 1)]})
    last = dumped({"metadata": {"resourceVersion": "9"}, "items": [split("c", 0.5)]})
    events = line("ADDED", split("d", "1", revision=10)) + bookmark(11)
    more = line("MODIFIED", split("a", "7", revision=12)) + line("DELETED", split("b", revision=13))
    no = b"429 3\n" + dumped({"kind": "Status", "code": 429, "message": "too\nmany"})
    services = [{"metadata": {"name": "a", "namespace": "b"}, "spec": {"type": "ClusterIP", "ports": [{"port": 80}]}}]
    known = (group, kinds, first, last)
    scripts = (
        (*known, events + more, gone_event(), last, b'{"type": "MODIF'),
        (group, no, b"403\n{}", kinds, first, b"410\n{}", first, last, b"404\n", group),
        (*known, more, b"500\n<html>", b"", b"503 7\n", b"410\n", first, last, events),
        (dumped({"metadata": {"resourceVersion": "1"}, "items": services}), line("ERROR", {"code": 500}), b"", b""),
    )
    return [_NEXT.join(script) for script in scripts]


def _objects() -> list[bytes]:
    access = [
        SERVER, POLICY, routing.route("\n  " + EVERYTHING), routing.route(GRPC, kind="GRPCRoute"), GRANT,
        policy("AuthorizationPolicy", TARGET + "  requiredAuthenticationRefs: [{kind: ServiceAccount, name: a}]"),
        policy("NetworkAuthentication", "  networks: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]"),
        policy("MeshTLSAuthentication", "  identities: ['*.shop.example', 'spiffe://a.b/c']"),
        document("TrafficTarget", "access.smi-spec.io/v1alpha3",
                 f"  destination: {{kind: ServiceAccount, name: b}}\n  sources: {SOURCES}\n  rules: {RULES}"),
        "apiVersion: specs.smi-spec.io/v1alpha4\nkind: HTTPRouteGroup\nmetadata: {name: r}\n"
        "spec: {matches: [{name: m, pathRegex: /a.*, methods: [GET], headers: [{x: 'b.*'}]}]}\n",
        routing.SERVICES.partition("---\napiVersion: v1\nkind: Service\nmetadata: {name: reviews-v1")[0],
    ]  # fmt: skip
    found = [one for text in access for one in yaml.safe_load_all(text) if one]
    return [*map(dumped, found), dumped(split("reviews")), dumped(_told()), dumped(_deep())]


def _told() -> dict[str, object]:
    """A route with entries of two controllers in its status, and an error in it."""
    found: dict[str, object] = yaml.safe_load(routing.route("[{bad: 1}]"))
    entries = statuses.wanted([], 1) + [
        {"parentRef": {"name": "reviews"}, "controllerName": name, "conditions": [{"type": "Accepted"}]}
        for name in (statuses.CONTROLLER, "other.example/x")
    ]
    return found | {"status": {"parents": entries}}


def _deep() -> dict[str, object]:
    """Nested as an API server allows, where a definition leaves fields open."""
    value: object = 1
    for _ in range(900):
        value = [value]
    found = split("reviews")
    return found | {"more": value}


def _leases() -> list[bytes]:
    def one(holder: str, **spec: object) -> bytes:
        told = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-01-31T12:00:00.000000Z"}
        return dumped({"metadata": {"name": "milliroute", "resourceVersion": "5"}, "spec": told | spec})

    rows = ([one("other"), one("")], [one("me", leaseTransitions=3), one("other")], [one("x", leaseDurationSeconds=-1)])
    return [*map(_NEXT.join, rows), b"{}", b'{"spec": null}']


_JSON = (
    b'"', b"{", b"}", b"[", b"]", b":", b",", b"null", b"true", b"1e400", b"-1", b"0.5", b"\\ud83d\\ude00", b"\\n",
    b'"metadata": {}', b'"spec": null', b'"status"', b'"name": ""', b'"namespace"', b'"kind": ', b"[" * 500, b"]" * 500,
)  # fmt: skip

TARGETS = (
    Target(
        "kube-answers",
        _scripts,
        _script,
        (*_JSON, _NEXT, b"\n", b"404\n", b"410\n", b"403\n", b"429 9\n", b"BOOKMARK", b"DELETED", b"ERROR", b"Expired"),
    ),
    Target("kube-objects", _objects, _object, _JSON),
    Target("lease", _leases, _lease, (*_JSON, _NEXT, b'"holderIdentity"', b'"me"', b"99999999999999999999", b"1e9")),
)
