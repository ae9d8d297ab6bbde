"""What annotations say of a proxy."""

import pytest

from milliroute.control.errors import ValueTextError
from milliroute.control.inject import annotations
from milliroute.control.inject.annotations import READERS, UNSUPPORTED
from milliroute.control.inject.ports import Ports
from milliroute.control.inject.settings import Settings


def configured(named: dict[str, int] | None = None, **texts: str) -> Settings:
    said = {annotations.CONFIG + name.replace("_", "-"): text for name, text in texts.items()}
    return annotations.configured(Settings(), said, named or {})[0]


def test_ours_beats_linkerds() -> None:
    said = {"linkerd.io/inject": "enabled", "milliroute.io/inject": "disabled"}
    assert annotations.inject_of(said) == "disabled"
    assert annotations.inject_of({"linkerd.io/inject": "ingress"}) == "ingress"
    both = {"config.milliroute.io/proxy-uid": "1", "config.linkerd.io/proxy-uid": "2"}
    assert annotations.configured(Settings(), both, {})[0].uid == 1


def test_saying_nothing_is_neither_yes_nor_no() -> None:
    assert annotations.inject_of({"other": "enabled"}) == ""


@pytest.mark.parametrize("name", ["milliroute.io/inject", "linkerd.io/inject"])
def test_a_mark_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(ValueTextError, match=f"bad {name} .saw 'true', want enabled, disabled or ingress"):
        annotations.inject_of({name: "true"})


def test_a_port_may_be_named() -> None:
    assert configured({"sql": 3306}, opaque_ports="sql,25").opaque == (Ports(3306, 3306), Ports(25, 25))


def test_requests_and_limits_add_up() -> None:
    said = configured(proxy_cpu_request="100m", proxy_memory_request="64Mi", proxy_cpu_limit="1")
    assert said.resources == {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1"}}


@pytest.mark.parametrize(
    ("text", "level"), [("info", "info"), ("warn,linkerd=info", "warning"), ("trace", "debug"), ("off", "error")]
)
def test_linkerds_log_levels_are_understood(text: str, level: str) -> None:
    assert configured(proxy_log_level=text).log_level == level


@pytest.mark.parametrize(("text", "seconds"), [("120", 120.0), ("1m30s", 90.0), ("500ms", 0.5)])
def test_seconds_are_written_with_or_without_a_unit(text: str, seconds: float) -> None:
    assert configured(shutdown_grace_period=text).grace_s == seconds


@pytest.mark.parametrize("name", sorted(READERS))
def test_no_annotation_takes_nonsense(name: str) -> None:
    with pytest.raises(ValueTextError) as raised:
        annotations.configured(Settings(), {annotations.CONFIG + name: "?!\n"}, {})
    assert annotations.CONFIG + name in str(raised.value)
    assert "saw '?!" in str(raised.value)


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_what_is_known_and_not_supported_is_a_warning(name: str) -> None:
    for prefix in ("config.linkerd.io/", "config.milliroute.io/"):
        settings, warnings = annotations.configured(Settings(), {prefix + name: "x"}, {})
        assert settings == Settings()
        assert warnings == (f"{prefix}{name} is not supported: left out (saw 'x')",)


def test_an_unknown_one_of_ours_is_refused_and_one_of_linkerds_is_a_warning() -> None:
    with pytest.raises(ValueTextError, match="unknown annotation"):
        annotations.configured(Settings(), {"config.milliroute.io/proxy-colour": "red"}, {})
    assert annotations.configured(Settings(), {"config.linkerd.io/newer": "x"}, {})[1]
