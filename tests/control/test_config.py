"""Addresses as text, and the version."""

import tomllib
from pathlib import Path

import pytest

from milliroute.control import errors
from milliroute.control.config import VERSION, Address, parse_address


@pytest.mark.parametrize("text", ["127.0.0.1:0", "localhost:8086", "[::1]:65535", "0.0.0.0:1"])
def test_an_address_reads_as_it_is_written(text: str) -> None:
    assert str(parse_address(text, "--listen")) == text


def test_brackets_belong_to_the_text_and_not_to_the_host() -> None:
    assert parse_address("[::1]:80", "--listen") == Address("::1", 80)


@pytest.mark.parametrize("text", ["", "8086", ":8086", "h:", "h:65536", "h:-1", "h:x", "::1:80", "h:\u0661", "h:80 "])
def test_what_is_no_address_is_refused_with_the_flag_and_the_form_wanted(text: str) -> None:
    with pytest.raises(errors.ConfigError, match=r"--listen: saw .*, want HOST:PORT"):
        parse_address(text, "--listen")


def test_the_version_is_that_of_the_distribution() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert pyproject["project"]["version"] == VERSION
