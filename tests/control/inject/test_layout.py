"""Edits in a text: every layout that YAML allows keeps its bytes, or is refused with its place."""

import json
import random
from collections.abc import Callable

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from milliroute.control.errors import ControlError
from tests.control.inject import golden
from tests.control.inject.golden import FORMS

POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: a
spec:
  containers:
  - name: a
    image: a
"""


def back_and_forth(text: str, form: str) -> str:
    content = text.encode()
    once = golden.injected(content, "a.yaml", form).text
    assert once != text
    assert golden.injected(once.encode(), "a.yaml", form).text == once
    return golden.uninjected(once.encode(), "a.yaml").text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.removesuffix("\n"),
        lambda text: text + "\n\n# the end\n",
        lambda text: text.replace("metadata:", "metadata: # of a").replace("spec:\n", "spec: # of a\n\n  # first\n"),
        lambda text: text.replace("spec:", "spec: &spec"),
        lambda text: text.replace("  name: a\n", "  name: a\n  annotations:\n", 1),
        lambda text: text.replace("  name: a\n", "  name: a\n  annotations: # none\n", 1),
        lambda text: text.replace("  name: a\n", "  name: a\n  annotations: null\n", 1),
        lambda text: text.replace("  name: a\n", "  name: a\n  annotations: {  }\n", 1),
        lambda text: text.replace("  name: a\n", "  name: a\n  annotations: ~\n", 1),
        lambda text: text.replace("  name: a\n", "  annotations: {a: b}\n  name: a\n", 1),
        lambda text: text.replace("  name: a\n", '  annotations: {"a": "b",\n    c: d,}\n  name: a\n', 1),
        lambda text: text.replace("spec:\n", "spec:\n  initContainers:\n  volumes: [ ]\n"),
        lambda text: text.replace("spec:\n", "spec:\n  initContainers:\n    -   {name: b, image: b} # x\n    # y\n"),
        lambda text: text.replace("spec:\n", "spec:\n  volumes: [{name: b, emptyDir: {}},\n    {name: c}]\n"),
        lambda text: text.replace("\n  - name", "\n  # flush\n\n  - name"),
        lambda text: text + "  dnsPolicy: |\n    ClusterFirst\n\n\n",
        lambda text: "%YAML 1.1\n---\n" + text + "...\n# after\n",
        lambda text: text + "--- # another\n" + text,
        lambda text: '{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}, "spec": {"containers": [{}]}}',
        lambda text: '{"kind":"Pod","apiVersion":"v1","metadata":{},"spec":{"containers":[{}],"volumes":[]}}',
        lambda text: json.dumps(yaml.safe_load(text), indent="\t"),
    ],
)  # fmt: skip
def test_every_layout_comes_back_byte_for_byte(change: Callable[[str], str], form: str) -> None:
    assert back_and_forth(change(POD), form) == change(POD)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x: &x {containers: [{name: a}]}\n" + POD.partition("spec:")[0] + "spec: *x\n", ":6:1"),
        (POD.replace("spec:", "spec:\n  <<: {dnsPolicy: Default, initContainers: [{name: b}]}"), ":6:3"),
        (POD.replace("spec:", "spec: &spec") + "again: *spec\n", ":1:1"),
        (POD + "  containers: []\n", ":9:3"),
        (POD.replace("name: a\n", "name: a\n\tannotations: {}\n", 1), ":5:1"),
        (POD.replace("name: a\n", "name: a\n  annotations: [a]\n", 1), ":1:1"),
    ],
)  # fmt: skip
def test_what_cannot_be_edited_without_harm_is_refused_at_its_place(text: str, place: str) -> None:
    with pytest.raises(ControlError) as raised:
        golden.injected(text.encode(), "a.yaml", "native")
    assert str(raised.value).startswith(f"a.yaml{place}: ")
    assert "\n" not in str(raised.value)


def test_an_anchor_that_nobody_else_uses_is_edited() -> None:
    assert "&spec" in golden.injected(POD.replace("spec:", "spec: &spec").encode(), "a.yaml", "native").text


def test_an_equals_sign_and_a_date_are_texts() -> None:
    text = POD.replace("name: a\n", "name: a\n  labels: {at: 2024-05-01, op: =}\n", 1)
    assert back_and_forth(text, "native") == text


def test_a_stranger_reads_what_was_meant() -> None:
    pod = yaml.safe_load(golden.injected(POD.encode(), "a.yaml", "native").text)
    assert [one["name"] for one in pod["spec"]["initContainers"]] == ["milliroute-init", "milliroute-proxy"]
    assert pod["spec"]["containers"] == [{"name": "a", "image": "a"}]


NAMES = st.sampled_from(["a", "b", "x-y", "true", "no", "1.0", "ünï", "with: colon", "# hash", "multi\nline\n", ""])
MAPPINGS = st.dictionaries(NAMES.filter(bool), NAMES, max_size=3)
MAYBE = st.one_of(st.none(), MAPPINGS)
ITEMS = st.lists(st.fixed_dictionaries({"name": NAMES, "args": st.lists(NAMES, max_size=2)}), max_size=2)


@st.composite
def pods(draw: st.DrawFn) -> str:
    """Any order of keys, any of them missing or empty, in any of the layouts that PyYAML prints."""
    spec: dict[str, object] = {"containers": [{"name": "c", "image": draw(NAMES)}]}
    for key in draw(st.sets(st.sampled_from(["initContainers", "volumes"]))):
        spec[key] = draw(ITEMS)
    template: dict[str, object] = {"spec": spec}
    if draw(st.booleans()):
        template["metadata"] = draw(st.fixed_dictionaries({}, optional={"annotations": MAYBE, "labels": MAYBE}))
    thing = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": template}}
    return str(
        yaml.safe_dump(
            _shuffled(thing, random.Random(draw(st.integers(0, 999)))),
            default_flow_style=draw(st.sampled_from([True, False, None])),
            indent=draw(st.sampled_from([1, 2, 4, 7])),
            width=draw(st.sampled_from([20, 80, 1000])),
            allow_unicode=draw(st.booleans()),
            sort_keys=False,
        )
    )


def _shuffled(value: object, rng: random.Random) -> object:
    if isinstance(value, dict):
        entries = [(key, _shuffled(inner, rng)) for key, inner in value.items()]
        rng.shuffle(entries)
        return dict(entries)
    return [_shuffled(item, rng) for item in value] if isinstance(value, list) else value


@pytest.mark.slow
@given(pods(), st.sampled_from(FORMS))
def test_whatever_pyyaml_prints_comes_back_byte_for_byte(text: str, form: str) -> None:
    assert back_and_forth(text, form) == text
