"""How pods get their proxies: the webhook's registration, and its certificate as a Secret or by cert-manager.

The rule not to break: when the webhook is away, pods start without a proxy and nothing else fails (`Ignore`).
"""

import base64
from collections.abc import Iterator

from milliroute.control.inject import registration
from milliroute.control.install.options import WEBHOOK, Object, Options, metadata
from milliroute.control.install.programs import TLS_SECRET


def admission(options: Options) -> Iterator[Object]:
    about = metadata(options, WEBHOOK, is_global=True)
    client: Object = {"service": {"namespace": options.namespace, "name": WEBHOOK, "port": 443}}
    if options.certificate is not None:
        chain, key = (_encoded(text) for text in (options.certificate.chain, options.certificate.key))
        secret = metadata(options, TLS_SECRET, WEBHOOK)
        data = {"tls.crt": chain, "tls.key": key}
        yield {"apiVersion": "v1", "kind": "Secret", "metadata": secret, "type": "kubernetes.io/tls", "data": data}
        client["caBundle"] = _encoded(options.certificate.authority)
    else:
        yield from _cert_manager(options)
        about["annotations"] = {"cert-manager.io/inject-ca-from": f"{options.namespace}/{TLS_SECRET}"}
    yield {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": about,
        # The machinery of the cluster and we ourselves start without help.
        "webhooks": registration.webhooks(client, ("kube-system", "kube-node-lease", options.namespace)),
    }


def _cert_manager(options: Options) -> Iterator[Object]:
    about = metadata(options, TLS_SECRET, WEBHOOK)
    group = "cert-manager.io/v1"
    yield {"apiVersion": group, "kind": "Issuer", "metadata": about, "spec": {"selfSigned": {}}}
    names = [f"{WEBHOOK}.{options.namespace}.svc", f"{WEBHOOK}.{options.namespace}.svc.cluster.local"]
    spec: Object = {"secretName": TLS_SECRET, "dnsNames": names, "issuerRef": {"name": TLS_SECRET, "kind": "Issuer"}}
    yield {"apiVersion": group, "kind": "Certificate", "metadata": about, "spec": spec}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
