"""Which splits an operator means by APEX: `reviews`, `reviews.shop`, `shop/reviews`, or a whole DNS name.

Pure. A bare name means that apex in any namespace; the caller decides what to do when that is more than one.
"""

from milliroute.control import errors, names


def matches(asked: str, apex: str, namespace: str) -> bool:
    """Whether a split of `apex` (spec.service) in `namespace` is what `asked` means. Raises ConfigError."""
    asked_namespace, slash, name = asked.partition("/")
    wanted = f"{name}.{asked_namespace}" if slash else asked
    try:
        wanted_key = names.canonical(wanted, namespace)
    except errors.AuthorityError as error:
        raise errors.ConfigError(f"APEX: saw {asked!r}, want name, name.namespace or namespace/name") from error
    try:
        return names.split_port(wanted_key)[0] == names.split_port(names.canonical(apex, namespace))[0]
    except errors.AuthorityError:
        return False
