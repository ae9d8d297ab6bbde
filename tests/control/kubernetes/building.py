"""Objects as an API server sends them, and a server that is nothing but a model: a history and answers to steps."""

import json
from collections.abc import Iterator, Mapping
from random import Random

from milliroute.control.model import TrafficSplit
from milliroute.control.source.kubernetes.backoff import Pace
from milliroute.control.source.kubernetes.reflector import Answer, Get, Reflector, Wait, Watch
from milliroute.control.source.kubernetes.resources import SPLITS, Resource

Json = dict[str, object]

# Quick, and with waits that can be told apart.
PACE = Pace(first_s=0.01, cap_s=0.05, slow_s=0.1, watch_s=60.0, patience_s=5.0, gone_after_s=0.3, forbidden_after_s=0.4)
SPLIT = SPLITS[0]


def split(name: str, weight: object = "900m", *, namespace: str = "shop", uid: str = "", revision: int = 1) -> Json:
    return {
        "apiVersion": "split.smi-spec.io/v1alpha1",
        "kind": "TrafficSplit",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(revision),
            "generation": 1,
            "creationTimestamp": "2026-01-31T12:00:00Z",
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {
            "service": name,
            "backends": [{"service": f"{name}-v1", "weight": weight}, {"service": f"{name}-v2", "weight": "100m"}],
        },
    }


def reflector(resource: Resource = SPLIT, namespace: str = "") -> Reflector:
    return Reflector(resource, namespace, Random(0), PACE)


def held(found: Reflector) -> dict[str, str]:
    """Name to the weight of the first backend."""
    splits = [value for value in found.holding.held().objects if isinstance(value, TrafficSplit)]
    return {value.name: value.backends[0].weight_text for value in splits}


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


class ModelServer:
    """TrafficSplits under v1alpha2, by name; every change is one event of the history."""

    def __init__(self, page_objects: int = 2) -> None:
        self.objects: dict[str, Json] = {}
        self.revision = 100
        self._births = 0
        self._oldest = 100
        self._history: list[tuple[int, str, Json]] = []
        self._page_objects = page_objects
        # Snapshots that continue tokens read from.
        self._lists: dict[int, list[Json]] = {}

    def put(self, name: str, weight: object) -> None:
        self.revision += 1
        known = self.objects.get(name)
        if known is None:
            self._births += 1
        uid = known["metadata"]["uid"] if known else f"uid-{self._births}"  # type: ignore[index]  # JSON
        self.objects[name] = split(name, weight, uid=str(uid), revision=self.revision)
        self._history.append((self.revision, "MODIFIED" if known else "ADDED", self.objects[name]))

    def remove(self, name: str) -> None:
        if name in self.objects:
            self.revision += 1
            self._history.append((self.revision, "DELETED", self.objects.pop(name)))

    def expire(self) -> None:
        """Every version given out so far is too old."""
        self.revision += 1
        self._oldest = self.revision
        self._lists.clear()

    def weights(self) -> dict[str, str]:
        return {name: str(value["spec"]["backends"][0]["weight"]) for name, value in self.objects.items()}  # type: ignore[index]

    def get(self, step: Get) -> Answer:
        if step.path == "/apis/split.smi-spec.io":
            return Answer(200, dumped({"versions": [{"version": "v1alpha1"}, {"version": "v1alpha2"}]}))
        if step.path == "/apis/split.smi-spec.io/v1alpha2":
            verbs = ["get", "list", "watch"]
            return Answer(200, dumped({"resources": [{"name": "trafficsplits", "verbs": verbs}]}))
        assert step.path == "/apis/split.smi-spec.io/v1alpha2/trafficsplits", step
        return self._listed(step.params)

    def _listed(self, params: Mapping[str, str]) -> Answer:
        start, revision = 0, self.revision
        if "continue" in params:
            revision, start = map(int, params["continue"].split(":"))
            if revision not in self._lists:
                return gone()
        found = self._lists.setdefault(revision, list(self.objects.values()))
        end = start + self._page_objects if "limit" in params else len(found)
        rest = f"{revision}:{end}" if end < len(found) else ""
        metadata = {"resourceVersion": str(revision), "continue": rest}
        return Answer(200, dumped({"metadata": metadata, "items": found[start:end]}))

    def events(self, step: Watch) -> bytes | None:
        """What a watch from there tells; None: too old."""
        since = int(step.params["resourceVersion"])
        if since < self._oldest:
            return None
        lines = [line(kind, value) for revision, kind, value in self._history if revision > since]
        return b"".join(lines)


def line(kind: str, value: object) -> bytes:
    return dumped({"type": kind, "object": value}) + b"\n"


def bookmark(revision: int) -> bytes:
    return line("BOOKMARK", {"kind": "TrafficSplit", "metadata": {"resourceVersion": str(revision)}})


def gone() -> Answer:
    return Answer(410, dumped({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}))


def gone_event() -> bytes:
    return line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})


class Driver:
    """Plays a reflector against a model, with a clock of its own."""

    def __init__(self, server: ModelServer | None = None, found: Reflector | None = None) -> None:
        self.server = server or ModelServer()
        self.reflector = found or reflector()
        self.now = 1000.0

    def step(self) -> Get | Watch:
        """The next request; waits are waited for."""
        step = self.reflector.step(self.now)
        while isinstance(step, Wait):
            self.now += step.seconds
            step = self.reflector.step(self.now)
        return step

    def until_watch(self) -> Watch:
        for _ in range(50):
            step = self.step()
            if isinstance(step, Watch):
                return step
            self.reflector.answered(self.server.get(step), self.now)
        raise AssertionError("no watch within 50 steps")

    def watch_once(self, cut: int | None = None) -> None:
        """A watch that tells all there is to tell, up to `cut` bytes, and ends."""
        told = self.server.events(self.until_watch())
        self.reflector.opened(Answer(200), self.now)
        if told is None:
            self.reflector.received(gone_event(), self.now)
            return
        self.reflector.received(told[:cut], self.now)
        self.reflector.ended(self.now)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
