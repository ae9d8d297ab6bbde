"""`python deploy/make_manifests.py`: writes the manifests here that `milliroute install` would print.

tests/deploy holds them against it, so that the two ways to install never differ.
"""

from collections.abc import Iterable
from pathlib import Path

from milliroute.control.install import admission, crds, manifests, programs, rights
from milliroute.control.install.options import WEBHOOK, Object, Options

HERE = Path(__file__).parent
_HEADER = "# Made by deploy/make_manifests.py from control/install; do not edit.\n"
_PLAIN = Options(has_crds=False)
_WEBHOOK = Options(has_cert_manager=True)


def made() -> dict[str, str]:
    """Content by path."""
    account = [one for one in rights.rights(_WEBHOOK) if _name(one) == WEBHOOK]
    webhook = [*account, *programs.webhook(_WEBHOOK), *admission.admission(_WEBHOOK)]
    linkerd = list(crds.definitions(True))[len(crds.SMI) :]
    return {
        "base/crds.yaml": _text(crds.definitions(False)),
        "base/control.yaml": _text(manifests.objects(_PLAIN)),
        "overlays/webhook/webhook.yaml": _text(webhook),
        "overlays/policies/crds.yaml": _text(linkerd),
    }


def _name(made: Object) -> object:
    about = made["metadata"]
    return about.get("name") if isinstance(about, dict) else None


def _text(objects: Iterable[Object]) -> str:
    return _HEADER + manifests.text(objects)


if __name__ == "__main__":
    for path, content in made().items():
        (HERE / path).write_text(content)
