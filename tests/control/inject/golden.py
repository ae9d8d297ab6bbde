"""What `inject` prints for each file of manifests/, kept in golden/: `python -m tests.control.inject.golden` writes it
anew, for a person to read the difference.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from milliroute.control.inject import manifests, plan
from milliroute.control.inject.manifests import Rewritten
from milliroute.control.inject.plan import Wish
from milliroute.control.inject.settings import Settings

FOLDER = Path(__file__).parent
SOURCES = sorted((FOLDER / "manifests").iterdir())
FORMS = ("annotated", "native", "classic")
# Not the version of the day, so that a release does not change all files.
NATIVE = Wish(Settings(version="1.2.3"), "milliroute/cli 1.2.3", {})
CLASSIC = replace(NATIVE, settings=replace(NATIVE.settings, is_native=False))


def injected(content: bytes, name: str, form: str) -> Rewritten:
    wish = CLASSIC if form == "classic" else NATIVE
    make = plan.annotate if form == "annotated" else plan.mesh
    return manifests.rewrite(content, name, lambda thing, written: make(thing, wish, written))


def uninjected(content: bytes, name: str) -> Rewritten:
    return manifests.rewrite(content, name, lambda thing, _: plan.unmesh(thing))


def cases() -> Iterator[tuple[Path, str, Path]]:
    """Source, form and golden file."""
    for source in SOURCES:
        for form in FORMS:
            yield source, form, FOLDER / "golden" / f"{source.stem}.{form}{source.suffix}"


def main() -> None:
    for source, form, golden in cases():
        golden.write_bytes(injected(source.read_bytes(), source.name, form).text.encode())


if __name__ == "__main__":
    main()
