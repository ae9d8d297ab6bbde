"""`split set`: new weights in a manifest, everything else as it was; and what is refused."""

import os
import stat
import threading
from pathlib import Path

import pytest

from milliroute.control import errors
from milliroute.control.cli import rewrite, setting
from milliroute.control.cli.editing import EditError, Manifest
from milliroute.control.source import reading

PLAIN = """\
# The canary of Tuesday.
apiVersion: split.smi-specs.io/v1alpha2
kind: TrafficSplit
metadata:
  name: reviews
spec:
  service: reviews   # the apex
  backends:
  - service: reviews-v1
    weight: 900m     # stable

  - service: reviews-v2
    weight:   100m
"""


def edit(text: str, apex: str = "reviews", **weights: str) -> str:
    manifest = Manifest(text, "split.yaml")
    [found] = manifest.splits(apex)
    return manifest.edit(found, {leaf.replace("_", "-"): weight for leaf, weight in weights.items()}).text


def refusal(text: str, **weights: str) -> str:
    with pytest.raises(EditError) as refused:
        edit(text, **(weights or {"reviews_v1": "1"}))
    return str(refused.value)


def test_only_the_weights_change_and_comments_and_layout_stay() -> None:
    expected = PLAIN.replace("900m ", "0 ").replace("100m", "500m")
    assert edit(PLAIN, reviews_v2="500m") == expected


def test_leaves_not_named_get_zero_and_each_change_is_told() -> None:
    manifest = Manifest(PLAIN, "split.yaml")
    [found] = manifest.splits("reviews")
    changes = manifest.edit(found, {"reviews-v2": "1"}).changes
    assert [(c.line, c.leaf, c.old, c.new) for c in changes] == [
        (10, "reviews-v1", "900m", "0"),
        (13, "reviews-v2", "100m", "1"),
    ]


def test_line_ends_of_windows_stay() -> None:
    text = PLAIN.replace("\n", "\r\n")
    assert edit(text, reviews_v1="900m", reviews_v2="100m") == text
    assert edit(text, reviews_v1="1").count("\r\n") == text.count("\r\n")


def test_quotes_stay_as_they_are() -> None:
    text = PLAIN.replace("900m ", '"900m" ').replace("100m", "'100m'")
    edited = edit(text, reviews_v1="500m", reviews_v2="500m")
    assert 'weight: "500m"     # stable' in edited
    assert "weight:   '500m'" in edited


def test_flow_style_stays_on_its_line() -> None:
    text = (
        "kind: TrafficSplit\nmetadata: {name: a}\n"
        "spec: {service: a, backends: [{service: a-1, weight: 900m}, {weight: 100m, service: a-2}]}\n"
    )
    edited = edit(text, "a", a_1="0", a_2="1")
    assert "[{service: a-1, weight: 0}, {weight: 1, service: a-2}]" in edited


def test_a_byte_order_mark_and_text_beyond_the_bmp_move_nothing() -> None:
    text = "\ufeff" + PLAIN.replace("Tuesday", "Tuesday \U0001f426 \u00e4")
    edited = edit(text, reviews_v1="1")
    assert edited == text.replace("900m ", "1 ").replace("100m", "0")


def test_json_stays_json() -> None:
    text = (
        '{"kind": "TrafficSplit", "metadata": {"name": "a"},\n "spec": {"service": "a", "backends": [\n'
        '  {"service": "a-1", "weight": 90}, {"service": "a-2", "weight": "100m"}]}}\n'
    )
    edited = edit(text, "a", a_1="500m", a_2="500m")
    assert '{"service": "a-1", "weight": "500m"}, {"service": "a-2", "weight": "500m"}' in edited
    assert '"weight": 7}' in edit(text, "a", a_1="7")


def test_other_documents_and_other_splits_are_left_alone() -> None:
    other = PLAIN.replace("reviews", "ratings")
    service = "kind: Service\nmetadata: {name: reviews}\nspec: {service: reviews}\n"
    text = f"---\n{service}---\n{other}---\n{PLAIN}...\n---\n# nothing\n"
    edited = edit(text, reviews_v1="1")
    assert edited == text.replace(PLAIN, edit(PLAIN, reviews_v1="1"))


def test_a_list_of_objects_is_looked_into() -> None:
    indented = "".join(f"  {line}\n" for line in PLAIN.splitlines()[1:])
    text = "kind: List\nitems:\n-" + indented[1:]
    assert "weight: 250m     # stable" in edit(text, reviews_v1="250m")


@pytest.mark.parametrize("apex", ["reviews", "reviews.default", "default/reviews", "reviews.default.svc.cluster.local"])
def test_an_apex_has_several_names(apex: str) -> None:
    assert len(Manifest(PLAIN, "split.yaml").splits(apex)) == 1


@pytest.mark.parametrize("apex", ["reviews.shop", "shop/reviews", "ratings"])
def test_another_apex_is_not_found(apex: str) -> None:
    assert Manifest(PLAIN, "split.yaml").splits(apex) == []


def test_an_unknown_leaf_is_refused_with_the_leaves_there_are() -> None:
    assert refusal(PLAIN, reviews_v9="1") == (
        "split.yaml:2: split default/reviews has no leaf reviews-v9 (it has reviews-v1, reviews-v2)"
    )


def test_a_missing_weight_is_refused_where_it_is_missing() -> None:
    text = PLAIN.replace("    weight: 900m     # stable\n", "")
    assert refusal(text).startswith("split.yaml:9:5: backend reviews-v1 has no weight to replace")


@pytest.mark.parametrize("weight", ["&w 900m", "!!str 900m", "", "[900m]", "|\n      900m"])
def test_a_weight_that_is_no_scalar_of_its_own_is_refused(weight: str) -> None:
    message = refusal(PLAIN.replace("900m ", f"{weight} "))
    assert message.startswith("split.yaml:10:")
    assert "weight of reviews-v1 is no plain value" in message


def test_an_aliased_weight_is_refused() -> None:
    text = PLAIN.replace("900m ", "&w 900m ").replace("100m", "*w")
    assert "weight of reviews-v1 is shared by an anchor" in refusal(text)


def test_aliased_backends_are_refused() -> None:
    shared = "backends: &b\n  - {service: a-1, weight: 1}\n"
    text = f"kind: TrafficSplit\nspec:\n  service: a\n  {shared}  spare: *b\n"
    with pytest.raises(EditError, match=r"split.yaml:4:\d+: spec.backends is shared by an anchor"):
        edit(text, "a", a_1="2")


def test_a_leaf_listed_twice_is_refused() -> None:
    assert "leaf reviews-v1 is listed 2 times" in refusal(PLAIN.replace("reviews-v2", "reviews-v1"))


def test_text_that_is_not_yaml_is_refused_with_its_place() -> None:
    with pytest.raises(EditError, match=r"^split.yaml:3:\d+: "):
        Manifest("kind: TrafficSplit\nspec:\n\tservice: a\n", "split.yaml")


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(EditError, match="too deeply"):
        Manifest("[" * 100_000, "split.yaml")


def written(folder: Path, text: str = PLAIN, name: str = "split.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_the_file_is_written_and_each_line_names_its_place(tmp_path: Path) -> None:
    path = written(tmp_path)
    done = setting.apply("reviews", {"reviews-v2": "1"}, [str(path)])
    assert done.lines() == [f"{path}:10 reviews-v1 900m -> 0", f"{path}:13 reviews-v2 100m -> 1"]
    assert path.read_text() == edit(PLAIN, reviews_v2="1")
    assert done.weights_micro() == {"reviews-v1": 0, "reviews-v2": 1_000_000}
    assert os.listdir(tmp_path) == ["split.yaml"]


def test_the_mode_stays_and_a_link_is_followed(tmp_path: Path) -> None:
    path = written(tmp_path, name="real.yaml")
    path.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to("real.yaml")
    setting.apply("reviews", {"reviews-v1": "1"}, [str(link)])
    assert link.is_symlink()
    assert path.read_text() == edit(PLAIN, reviews_v1="1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_weights_already_in_place_write_nothing(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = path.stat()
    setting.apply("reviews", {"reviews-v1": "900m", "reviews-v2": "100m"}, [str(path)])
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_folder_is_searched_and_a_broken_neighbour_is_no_obstacle(tmp_path: Path) -> None:
    written(tmp_path, "a: [", "broken.yaml")
    written(tmp_path, "not yaml at all: [", "notes.txt")
    (tmp_path / "deep").mkdir()
    written(tmp_path / "deep")
    path = written(tmp_path)
    done = setting.apply("reviews", {"reviews-v1": "1"}, setting.files([str(tmp_path)]))
    assert done.path == str(path)


def test_one_apex_in_two_files_is_refused_with_both_places(tmp_path: Path) -> None:
    paths = [str(written(tmp_path, name=name)) for name in ("a.yaml", "b.yaml")]
    with pytest.raises(errors.ControlError, match=r"2 splits: .*a.yaml:2 .*b.yaml:2 "):
        setting.apply("reviews", {"reviews-v1": "1"}, paths)


def test_the_broken_file_itself_is_the_error_when_nothing_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, "a: [")
    with pytest.raises(errors.ControlError, match=rf"^{path}:1:5: "):
        setting.apply("reviews", {"reviews-v1": "1"}, [str(path)])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_an_encoding_is_good_for_the_control_service_and_for_editing_or_for_neither(
    tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "split.yaml"
    path.write_bytes(PLAIN.encode(encoding))
    _, wrong = reading.parsed(path.read_bytes(), str(path))
    if encoding.startswith("utf-8"):
        assert wrong == ()
        setting.apply("reviews", {"reviews-v1": "1"}, [str(path)])
        assert path.read_bytes() == edit(PLAIN, reviews_v1="1").encode(encoding)
    else:
        with pytest.raises(errors.ControlError) as refused:
            setting.apply("reviews", {"reviews-v1": "1"}, [str(path)])
        assert (str(refused.value),) == wrong
        assert f"saw {encoding.upper()[:6]}, want UTF-8" in wrong[0]


def test_a_folder_is_the_same_files_as_for_the_control_service(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "c.json", ".hidden.yaml", "notes.txt"):
        written(tmp_path, name=name)
    os.mkfifo(tmp_path / "d.yaml")
    assert setting.files([str(tmp_path)]) == reading.listed(str(tmp_path))
    assert [os.path.basename(path) for path in setting.files([str(tmp_path)])] == [
        "a.yml", "b.yaml", "c.json", "d.yaml"
    ]  # fmt: skip


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(errors.ControlError, match=r"a\.yaml: not a regular file$"):
        setting.apply("reviews", {"reviews-v1": "1"}, [str(tmp_path / "a.yaml")])


def test_a_missing_file_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(errors.ControlError, match=r"none\.yaml: no such file"):
        setting.apply("reviews", {"reviews-v1": "1"}, [str(tmp_path / "none.yaml")])


def test_a_file_that_somebody_else_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = written(tmp_path)
    opened = rewrite.read(str(path))
    path.write_text("somebody else's work\n")
    with pytest.raises(errors.ControlError, match="changed by somebody else"):
        rewrite.replace(opened, b"mine\n")
    assert path.read_text() == "somebody else's work\n"
    assert os.listdir(tmp_path) == ["split.yaml"]


def test_a_reader_sees_the_old_file_or_the_new_one_whole(tmp_path: Path) -> None:
    path = written(tmp_path)
    allowed = {edit(PLAIN, reviews_v1="1"), edit(PLAIN, reviews_v2="1"), PLAIN}
    seen: set[str] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for n in range(40):
            setting.apply("reviews", {f"reviews-v{n % 2 + 1}": "1"}, [str(path)])
    finally:
        stop.set()
        reader.join()
    assert seen <= allowed


@pytest.mark.parametrize("word", ["reviews-v1", "=1", "a=-1", "a=NaN", "a=", "a=x", "a=1 000"])
def test_a_word_that_is_no_weight_is_a_usage_error(word: str) -> None:
    with pytest.raises(errors.ConfigError):
        setting.parse_weights([word])


def test_a_leaf_given_twice_is_a_usage_error() -> None:
    with pytest.raises(errors.ConfigError, match="leaf a is given twice"):
        setting.parse_weights(["a=1", "a=2"])
