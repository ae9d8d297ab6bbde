"""cli.cluster: `split set` and `split show` of a cluster, whichever version of the API is served."""

from pathlib import Path

import pytest

from milliroute.control import errors
from milliroute.control.cli import cluster as cli
from milliroute.control.cli import showing
from milliroute.control.config import ClusterAccess
from milliroute.control.source.kubernetes.api import NoAnswerError
from tests.control.kubernetes.building import Json
from tests.control.kubernetes.standing import GROUP, cluster, crd, put, service, split
from tests.kube.standin import Standin

pytestmark = pytest.mark.slow


def access(api: Standin, folder: Path) -> ClusterAccess:
    return ClusterAccess(str(api.kubeconfig(folder)))


def weights(api: Standin, name: str = "reviews", version: str = "v1alpha1") -> list[object]:
    found: Json = api.get(f"{GROUP}/{version}", "TrafficSplit", name)
    return [backend["weight"] for backend in found["spec"]["backends"]]  # type: ignore[index]  # JSON


def test_leaves_named_get_their_weights_and_others_0_each_in_the_type_it_had(tmp_path: Path) -> None:
    with cluster(split("reviews", "900m", 1, 5)) as api:
        done = cli.set_weights("reviews", {"reviews-v1": "500m", "reviews-v2": "7"}, access(api, tmp_path))
        assert weights(api) == ["500m", 7, 0]
        assert done.split == "default/reviews"
        assert done.lines() == [
            "TrafficSplit default/reviews reviews-v1 900m -> 500m",
            "TrafficSplit default/reviews reviews-v2 1 -> 7",
            "TrafficSplit default/reviews reviews-v3 5 -> 0",
        ]


@pytest.mark.parametrize("version", ["v1alpha1", "v1alpha4"])
def test_any_version_that_is_served_will_do(tmp_path: Path, version: str) -> None:
    with Standin() as api:
        put(api, crd(GROUP, "TrafficSplit", "trafficsplits", version), split("reviews", 9, 1, version=version))
        cli.set_weights("reviews", {"reviews-v2": "3"}, access(api, tmp_path))
        assert weights(api, version=version) == [0, 3]


def test_a_change_in_between_is_read_again_and_not_lost(tmp_path: Path) -> None:
    with cluster(split("reviews", "1", "1")) as api:
        api.refuse("trafficsplits", "patch", 409)
        with pytest.raises(errors.ControlError, match="TrafficSplit default/reviews: status 409"):
            cli.set_weights("reviews", {"reviews-v1": "3"}, access(api, tmp_path))
        assert api.requests().count("patch trafficsplits") == cli.MAX_TRIES
        assert api.requests().count("list trafficsplits") == cli.MAX_TRIES


@pytest.mark.parametrize(
    ("asked", "wanted", "said"),
    [
        ("nobody", {"reviews-v1": "1"}, "no TrafficSplit with the apex nobody in http"),
        ("reviews", {"reviews-v9": "1"}, r"no leaf reviews-v9 \(it has reviews-v1, reviews-v2\)"),
        ("twice", {"twice-v1": "1"}, "twice is the apex of 2 splits: default/a, default/b"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(tmp_path: Path, asked: str, wanted: dict[str, str], said: str) -> None:
    twins = [{**split("twice", "1", "1"), "metadata": {"name": name}} for name in ("a", "b")]
    with cluster(split("reviews", "1", "1"), *twins) as api, pytest.raises(errors.ControlError, match=said):
        cli.set_weights(asked, wanted, access(api, tmp_path))


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with cluster() as api:
        found = access(api, tmp_path)
    with pytest.raises(NoAnswerError, match=r"http://127\.0\.0\.1:\d+: no answer: "):
        cli.set_weights("reviews", {"a": "1"}, found)


def test_show_has_the_configured_weights_of_the_cluster(tmp_path: Path) -> None:
    with cluster(split("reviews", "900m", "100m"), service("reviews")) as api:
        query = showing.Query("reviews", (), ("127.0.0.1:1",), "table", access(api, tmp_path))
        rows, notes = showing.collect(query)
    assert [(row.leaf, row.weight, row.share) for row in rows] == [
        ("reviews-v1", "900m", 0.9),
        ("reviews-v2", "100m", 0.1),
    ]
    assert any("configured weights only" in note for note in notes)
