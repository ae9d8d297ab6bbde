"""Everything printed is valid for Kubernetes, may do no more than it must, and fits together."""

import base64
import re
import ssl
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from milliroute.control.cli.commands import cli
from milliroute.control.cli.installing import install
from milliroute.control.inject import admission
from milliroute.control.install import certificates, crds, manifests
from milliroute.control.install.options import CONTROL, WEBHOOK, Certificate, Options
from milliroute.control.source.kubernetes import resources

PEM = Certificate("chain", "key", "authority")
FULL = Options(certificate=PEM, has_policy_crds=True)
Printed = dict[str, Any]


@cache
def printed(options: Options) -> list[Printed]:
    """Read back from the YAML, as kubectl reads it."""
    return list(yaml.safe_load_all(manifests.text(manifests.objects(options))))


def of(kind: str, options: Options = FULL) -> dict[str, Printed]:
    return {one["metadata"]["name"]: one for one in printed(options) if one["kind"] == kind}


def test_every_object_is_valid_by_kubernetes_own_schemas() -> None:
    for one in printed(FULL):
        kubernetes_validate.validate(one, "1.29", strict=True)


def test_definitions_come_before_the_namespace_and_that_before_what_is_in_it() -> None:
    kinds = [one["kind"] for one in printed(FULL)]
    assert kinds.index("Namespace") == len(crds.SMI) + len(crds.LINKERD)
    assert kinds[-1] == "MutatingWebhookConfiguration"


def test_the_control_service_may_read_every_kind_that_is_watched_and_write_none_of_them() -> None:
    rules = of("ClusterRole")[CONTROL]["rules"]
    read = {(group, name) for rule in rules if rule["verbs"] == ["get", "list", "watch"]
            for group in rule["apiGroups"] for name in rule["resources"]}  # fmt: skip
    assert read == {(resource.group, resource.plural) for resource in resources.WATCHED}
    written = {name for rule in rules if rule["verbs"] != ["get", "list", "watch"] for name in rule["resources"]}
    assert written == {"events", "httproutes/status", "grpcroutes/status"}
    verbs = {name: rule["verbs"] for rule in rules for name in rule["resources"] if name in written}
    assert verbs == {"events": ["create", "patch"], "httproutes/status": ["patch"], "grpcroutes/status": ["patch"]}
    assert not {"*"} & {word for rule in rules for words in rule.values() for word in words}


def test_only_our_lease_can_be_changed() -> None:
    (_, change) = of("Role")[f"{CONTROL}-leader"]["rules"]
    assert change["resourceNames"] == [CONTROL]
    assert change["verbs"] == ["get", "update"]


def test_rights_over_one_namespace_are_rights_of_that_namespace() -> None:
    options = Options(watched_namespace="shop")
    assert of("ClusterRole", options) == {}
    assert of("Role", options)[CONTROL]["metadata"]["namespace"] == "shop"
    arguments = of("Deployment", options)[CONTROL]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[-2:] == ["--namespace", "shop"]


@pytest.mark.parametrize("name", [CONTROL, WEBHOOK])
def test_programs_run_without_root_capabilities_or_a_root_to_write_to(name: str) -> None:
    pod = of("Deployment")[name]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    allowed = container["securityContext"]
    assert (allowed["allowPrivilegeEscalation"], allowed["readOnlyRootFilesystem"]) == (False, True)
    assert allowed["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is (name == CONTROL)


@pytest.mark.parametrize("name", [CONTROL, WEBHOOK])
def test_selectors_services_budgets_and_network_policies_mean_the_same_pods(name: str) -> None:
    deployment = of("Deployment")[name]["spec"]
    selected = deployment["selector"]["matchLabels"]
    assert selected.items() <= deployment["template"]["metadata"]["labels"].items()
    assert of("Service")[name]["spec"]["selector"] == selected
    assert of("PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"] == selected
    policy = of("NetworkPolicy")[name]["spec"]
    assert policy["podSelector"]["matchLabels"] == selected
    ports = {port["name"] for port in deployment["template"]["spec"]["containers"][0]["ports"]}
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == ports
    assert {port["targetPort"] for port in of("Service")[name]["spec"]["ports"]} <= ports
    assert deployment["replicas"] == 2


def test_webhook_lets_pods_be_when_it_is_away() -> None:
    for webhook in of("MutatingWebhookConfiguration")[WEBHOOK]["webhooks"]:
        assert webhook["failurePolicy"] == "Ignore"
        assert webhook["clientConfig"]["service"]["name"] == WEBHOOK
        assert base64.b64decode(webhook["clientConfig"]["caBundle"]) == b"authority"
        assert "milliroute" in webhook["namespaceSelector"]["matchExpressions"][1]["values"]


def test_cert_manager_makes_the_certificate_where_it_is_asked_to() -> None:
    options = Options(has_cert_manager=True)
    assert of("Secret", options) == {}
    (certificate,) = of("Certificate", options).values()
    assert (
        certificate["spec"]["secretName"]
        == of("Deployment", options)[WEBHOOK]["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"]
    )


def test_without_webhook_nothing_is_left_of_it() -> None:
    assert WEBHOOK not in manifests.text(manifests.objects(Options()))


@pytest.mark.parametrize("weight", ["900m", "1", "0", "0.1", "1e3", "1k", "2Ki", ".5"])
def test_schema_takes_the_weights_that_we_take(weight: str) -> None:
    split = _split_schema()["properties"]["backends"]["items"]["properties"]["weight"]
    assert re.fullmatch(split["pattern"], weight)


@pytest.mark.parametrize("weight", ["-1", "many", "", "1 ", "0x10", "NaN"])
def test_schema_refuses_the_weights_that_we_refuse(weight: str) -> None:
    split = _split_schema()["properties"]["backends"]["items"]["properties"]["weight"]
    assert not re.fullmatch(split["pattern"], weight)


def _split_schema() -> Printed:
    versions = of("CustomResourceDefinition")["trafficsplits.split.smi-spec.io"]["spec"]["versions"]
    assert [version["name"] for version in versions] == ["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"]
    assert sum(version["storage"] for version in versions) == 1
    schema: Printed = versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def test_made_certificate_is_one_that_a_client_of_the_service_believes(tmp_path: Path) -> None:
    made = certificates.make("milliroute")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_text(made.chain)
    key.write_text(made.key)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=made.authority)
    server.load_cert_chain(chain, key)
    _shake_hands(server, client, "milliroute-webhook.milliroute.svc")
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(server, client, "somebody-else.milliroute.svc")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while sides:
        for side in list(sides):
            try:
                side.do_handshake()
                sides.remove(side)
            except ssl.SSLWantReadError:
                pass


def test_verb_prints_what_kubectl_takes_and_refuses_half_a_certificate() -> None:
    done = CliRunner().invoke(install, ["--no-webhook", "--namespace", "mesh"])
    assert done.exit_code == 0
    names = {one["metadata"].get("namespace", "mesh") for one in yaml.safe_load_all(done.stdout)}
    assert names == {"mesh"}
    done = CliRunner().invoke(install, ["--webhook-cert", "a.pem"])
    assert done.exit_code == 2
    assert "want all three" in done.stderr
    done = CliRunner().invoke(install, ["--webhook-cert", "a", "--webhook-key", "b", "--webhook-ca", "c"])
    assert done.exit_code == 1
    assert "certificate of the webhook" in done.stderr


def test_webhook_is_asked_where_it_listens() -> None:
    webhooks = of("MutatingWebhookConfiguration")[WEBHOOK]["webhooks"]
    assert [webhook["clientConfig"]["service"]["path"] for webhook in webhooks] == list(admission.PATHS)


@pytest.mark.parametrize("name", [CONTROL, WEBHOOK])
def test_programs_are_started_with_flags_that_they_have(name: str) -> None:
    (container,) = of("Deployment")[name]["spec"]["template"]["spec"]["containers"]
    verb, *flags = container["args"]
    known = {flag for parameter in cli.commands[verb].params for flag in parameter.opts}
    assert {flag for flag in flags if flag.startswith("--")} <= known
