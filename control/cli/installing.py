"""`milliroute install`: prints what a cluster needs, for `kubectl apply --server-side -f -`."""

import sys

import click

from milliroute.control import errors
from milliroute.control.cli.mesh import option
from milliroute.control.install.options import Options


@click.command()
@option("--namespace", "namespace", None, "milliroute", "Where everything goes.")
@option("--watch", "watched", None, "", "Read only this namespace of the cluster; all otherwise.")
@option("--image", "image", None, Options().image, "Of control service, webhook and proxies.")
@option("--replicas", "replicas", click.IntRange(1), 2, "Of each program.")
@option("--crds", "is_crds_only", None, False, "Only the definitions of the kinds that are read.")
@option("--no-crds", "is_without_crds", None, False, "Everything but them.")
@option("--policy-crds", "has_policy_crds", None, False, "Linkerd's policy kinds too, where there is no Linkerd.")
@option("--no-webhook", "is_without_webhook", None, False, "Pods are injected by `milliroute inject` only.")
@option("--cert-manager", "has_cert_manager", None, False, "It makes the webhook's certificate.")
@option("--webhook-cert", "cert", None, "", "Certificate of the webhook, in PEM. [default: made now]")
@option("--webhook-key", "key", None, "", "Its private key, in PEM.")
@option("--webhook-ca", "authority", None, "", "Who vouches for it, in PEM.")
def install(
    namespace: str,
    watched: str,
    image: str,
    replicas: int,
    is_crds_only: bool,
    is_without_crds: bool,
    has_policy_crds: bool,
    is_without_webhook: bool,
    has_cert_manager: bool,
    cert: str,
    key: str,
    authority: str,
) -> None:
    """Print what a cluster needs, to be applied."""
    from milliroute.control.install import certificates, manifests

    given = [bool(file) for file in (cert, key, authority)]
    if any(given) and not all(given):
        raise click.UsageError(
            "--webhook-cert, --webhook-key, --webhook-ca: saw one without the others, want all three"
        )
    if sum((is_without_webhook, has_cert_manager, all(given))) > 1:
        raise click.UsageError("--no-webhook, --cert-manager, --webhook-cert: saw several, want one of them")
    certificate = None
    if not (is_crds_only or is_without_webhook or has_cert_manager):
        try:
            certificate = certificates.read(cert, key, authority) if all(given) else certificates.make(namespace)
        except errors.ConfigError as error:
            raise click.ClickException(str(error)) from None
    options = Options(
        namespace=namespace,
        watched_namespace=watched,
        image=image,
        replicas=replicas,
        is_crds_only=is_crds_only,
        has_crds=not is_without_crds,
        has_policy_crds=has_policy_crds,
        has_cert_manager=has_cert_manager,
        certificate=certificate,
    )
    sys.stdout.write(manifests.text(manifests.objects(options)))
