"""Access policies and mutual TLS through real processes: files, the control service, a proxy, and clients in front."""

import http.client
import ssl
from contextlib import closing
from pathlib import Path

import pytest

from tests.certificates import Authority, authority
from tests.e2e.stand import (
    MILLIROUTE,
    PATIENCE_S,
    Process,
    Stand,
    backend_flags,
    eventually,
    get,
    is_ready,
    stand,
    write_split,
)
from tests.sizes import CODEC

WEB = "spiffe://cluster.local/ns/default/sa/web"
OPS = "spiffe://cluster.local/ns/default/sa/ops"
POLICIES = """\
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: reviews, annotations: {{milliroute.io/service: reviews}}}}
spec: {{port: 80}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: readers, annotations: {{milliroute.io/matches: api}}}}
spec:
  targetRef: {{group: policy.linkerd.io, kind: Server, name: reviews}}
  requiredAuthenticationRefs:
  - {{kind: ServiceAccount, name: {reader}}}
  - {{group: policy.linkerd.io, kind: NetworkAuthentication, name: here}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: NetworkAuthentication
metadata: {{name: here}}
spec: {{networks: [{{cidr: 127.0.0.0/8}}]}}
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {{name: api}}
spec: {{matches: [{{name: reads, pathRegex: /api, methods: [GET]}}]}}
"""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("access"))


def write_policies(folder: Path, reader: str) -> Path:
    path, fresh = folder / "policies.yaml", folder / ".policies.new"
    fresh.write_text(POLICIES.format(reader=reader))
    fresh.replace(path)
    return path


def flags_of(here: Stand) -> list[str]:
    ports = here.backends("reviews-v1", "reviews-v2")
    split, policies = write_split(here.folder), write_policies(here.folder, "web")
    return ["-f", str(split), "-f", str(policies), *backend_flags(ports)]


def guarded(here: Stand, ours: Authority, codec: str) -> Process:
    files = ours.server("localhost")
    run = here.start(
        *(MILLIROUTE, "run", *flags_of(here), "--listen", "127.0.0.1:0=reviews", "--codec", codec),
        *("--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0"),
        MILLIROUTE_TLS_CERT=files.cert,
        MILLIROUTE_TLS_KEY=files.key,
        MILLIROUTE_TLS_CLIENT_CA=str(ours.ca),
    )
    admin = run.port("admin")
    eventually(lambda: is_ready(admin), "readiness")
    return run


def connection(run: Process, ours: Authority, identity: str | None) -> http.client.HTTPSConnection:
    context = ours.client_context()
    if identity is not None:
        shown = ours.client(identity.rpartition("/")[2], f"URI:{identity}")
        context.load_cert_chain(shown.cert, shown.key)
    return http.client.HTTPSConnection("localhost", run.port("proxy"), context=context, timeout=PATIENCE_S)


def ask(client: http.client.HTTPConnection, path: str, method: str = "GET") -> int:
    client.request(method, path)
    answer = client.getresponse()
    answer.read()
    return answer.status


@CODEC
def test_who_may_do_what_is_in_the_files_and_counts_at_once(tmp_path: Path, ours: Authority, codec: str) -> None:
    with stand(tmp_path) as here:
        run = guarded(here, ours, codec)
        with closing(connection(run, ours, WEB)) as web, closing(connection(run, ours, OPS)) as ops:
            assert [ask(web, "/api/1"), ask(web, "/api/1", "POST"), ask(web, "/"), ask(web, "/api/%2e%2e/x")] == [
                200, 403, 403, 403,
            ]  # fmt: skip
            assert ask(ops, "/api/1") == 403
            write_policies(tmp_path, "ops")
            # On connections that are open.
            eventually(lambda: ask(ops, "/api/1") == 200, "the new policy")
            assert ask(web, "/api/1") == 403
        with closing(connection(run, ours, None)) as nobody, pytest.raises((ssl.SSLError, OSError)):
            ask(nobody, "/api/1")
        labels = 'authority="reviews.default",authz_name="{}",srv_kind="Server",srv_name="default/reviews"'
        eventually(lambda: _metric(run, "inbound_http_authz_deny_total", labels.format("")) >= 5, "denials counted")
        allowed = labels.format("default/readers")
        eventually(lambda: _metric(run, "inbound_http_authz_allow_total", allowed) >= 2, "what was let in counted")
        assert len([line for line in run.lines if "denied by Server default/reviews" in line]) == 1


def _metric(run: Process, name: str, labels: str) -> float:
    lines = get(run.port("admin"), "/metrics")[1].splitlines()
    wanted = sorted(labels.split(","))
    for line in lines:
        if line.startswith(f"{name}{{"):
            shown, _, value = line[len(name) + 1 :].partition("} ")
            if sorted(shown.split(",")) == wanted:
                return float(value)
    return 0.0


def test_tables_are_for_proxies_with_a_certificate_and_the_token(tmp_path: Path, ours: Authority) -> None:
    files, shown = ours.server("localhost"), ours.client("proxy", "DNS:proxy.example")
    token, wrong = tmp_path / "token", tmp_path / "wrong"
    token.write_text("secret\n")
    wrong.write_text("guess\n")
    with stand(tmp_path) as here:
        control = here.milliroute(
            *("control", *flags_of(here), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
            *("--tls-cert", files.cert, "--tls-key", files.key, "--tls-client-ca", str(ours.ca)),
            *("--token-file", str(token)),
        )
        destination = f"localhost:{control.port('grpc')}"

        def proxy(*flags: str) -> Process:
            listen = ("--listen", "127.0.0.1:0=reviews", "--admin", "127.0.0.1:0", "--destination", destination)
            return here.milliroute("proxy", *listen, *flags)

        tls = ("--destination-ca", str(ours.ca), "--destination-cert", shown.cert, "--destination-key", shown.key)
        good = proxy(*tls, "--destination-token-file", str(token))
        guess = proxy(*tls, "--destination-token-file", str(wrong))
        bare = proxy("--destination-ca", str(ours.ca), "--destination-token-file", str(token))
        eventually(lambda: is_ready(good.port("admin")), "readiness")
        eventually(lambda: any("unauthenticated" in line for line in guess.lines), "the refusal of a wrong token")
        eventually(lambda: any("cannot connect" in line for line in bare.lines), "the refusal without a certificate")
        assert not is_ready(guess.port("admin"))
        assert not is_ready(bare.port("admin"))
        assert get(good.port("proxy"), "/api")[0] == 403


def test_a_default_policy_shuts_what_no_server_guards(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        ports = here.backends("reviews-v1", "reviews-v2")
        run = here.milliroute(
            *("run", "-f", str(write_split(tmp_path)), *backend_flags(ports), "--listen", "127.0.0.1:0=reviews"),
            *("--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0", "--default-policy", "deny"),
        )
        eventually(lambda: is_ready(run.port("admin")), "readiness")
        assert get(run.port("proxy"), "/")[0] == 403
