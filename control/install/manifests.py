"""Everything of an installation, in the order in which it can be applied: definitions, namespace, rights, programs."""

from collections.abc import Iterable, Iterator

import yaml

from milliroute.control.install import admission, crds, programs, rights
from milliroute.control.install.options import Object, Options, metadata


def objects(options: Options) -> Iterator[Object]:
    if options.has_crds or options.is_crds_only:
        yield from crds.definitions(options.has_policy_crds)
    if options.is_crds_only:
        return
    about = metadata(options, options.namespace, "milliroute", is_global=True)
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": about}
    yield from rights.rights(options)
    yield from programs.control(options)
    if options.has_webhook:
        yield from programs.webhook(options)
        # Last: from here on new pods ask for it.
        yield from admission.admission(options)


def text(made: Iterable[Object]) -> str:
    """YAML documents, one for each object."""
    return "".join("---\n" + yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=120) for one in made)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        """What two objects share is written twice: not every reader of YAML takes anchors."""
        return True
