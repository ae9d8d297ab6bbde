"""What pyproject.toml says of the packages, held against the folders."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def _folders_with_code(top: str) -> set[str]:
    found = {path.parent.relative_to(ROOT) for path in (ROOT / top).rglob("*.py") if "__pycache__" not in path.parts}
    return {"milliroute." + ".".join(folder.parts) for folder in found}


def test_every_folder_of_code_is_a_listed_package() -> None:
    listed = {name for name in SETUPTOOLS["packages"] if not name.startswith("milliroute.deploy")}
    assert listed == _folders_with_code("proxy") | _folders_with_code("control")


def test_every_package_has_an_init_with_a_docstring_and_no_logic() -> None:
    for name in SETUPTOOLS["packages"]:
        folder = ROOT.joinpath(*name.split(".")[1:])
        if list(folder.glob("*.py")):
            assert (folder / "__init__.py").read_text().startswith('"""'), name


def test_package_data_names_files_that_exist() -> None:
    for package, patterns in SETUPTOOLS["package-data"].items():
        folder = ROOT.joinpath(*package.split(".")[1:])
        for pattern in patterns:
            assert list(folder.glob(pattern)), f"{package}: nothing matches {pattern}"


def test_the_one_console_script_is_milliroute() -> None:
    assert list(PROJECT["project"]["scripts"]) == ["milliroute"]
