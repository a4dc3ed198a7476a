"""What is deployed on Kubernetes: valid, confined, and cut into zones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from support import kustomize
from support.bulk import BulkServices
from support.cert_manager import CertManager
from support.kustomize import FOLDER, OVERLAYS, Manifest, containers, pod
from support.photos import small_photo
from support.ports import free_ports

import blindsight
from blindsight.runtime import health
from blindsight.runtime.health import LIVENESS, READINESS
from blindsight.runtime.roles import DAYS, RENEW_DAYS, Role, spiffe_id
from blindsight.runtime.settings import DRAIN_SECONDS
from blindsight.runtime.shutdown import CLOSING_SECONDS
from blindsight.runtime.tls import Certificates

# Of its custom resources, which Kubernetes' own schemas do not know.
OF_CERT_MANAGER = json.loads(Path(__file__).with_name("cert-manager.schema.json").read_text())
TRUSTED, UNTRUSTED = "blindsight-trusted", "blindsight-untrusted"
PORTS = {"keyholder": 7420, "evaluator": 7421, "storage": 7422, "rabbitmq": 5671}
ZONES = {
    "keyholder": TRUSTED,
    "worker": TRUSTED,
    "evaluator": UNTRUSTED,
    "storage": UNTRUSTED,
    "rabbitmq": UNTRUSTED,
}
# Who may open connections to whom.
WAYS = {
    ("keyholder", "storage"),
    ("keyholder", "evaluator"),
    ("keyholder", "rabbitmq"),
    ("worker", "keyholder"),
    ("worker", "storage"),
    ("worker", "evaluator"),
    ("worker", "rabbitmq"),
    ("evaluator", "storage"),
}


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    return kustomize.rendered(request.param)


def of_kind(manifests: tuple[Manifest, ...], *kinds: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] in kinds}


def workloads(manifests: tuple[Manifest, ...]) -> dict[str, Manifest]:
    return of_kind(manifests, "StatefulSet", "Deployment")


def test_there_are_overlays_for_one_node_and_for_production() -> None:
    assert OVERLAYS == ["production", "single-node"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_is_rendered_the_same_with_and_without_kubectl(overlay: str) -> None:
    def sorted_by_name(found: tuple[Manifest, ...]) -> list[Manifest]:
        return sorted(
            found,
            key=lambda one: (one["kind"], one["metadata"]["name"], one["metadata"].get("namespace", "")),
        )

    by_kubectl = kustomize.by_kubectl(overlay)
    if not by_kubectl:
        pytest.skip("kubectl is not installed")
    assert sorted_by_name(by_kubectl) == sorted_by_name(kustomize.by_hand(overlay))


def test_every_manifest_is_valid_to_the_letter(manifests: tuple[Manifest, ...]) -> None:
    for manifest in manifests:
        if manifest["apiVersion"] == "cert-manager.io/v1":
            assert manifest.keys() == {"apiVersion", "kind", "metadata", "spec"}
            jsonschema.validate(manifest["spec"], OF_CERT_MANAGER | {"$ref": f"#/$defs/{manifest['kind']}"})
        else:
            kubernetes_validate.validate(manifest, "1.30", strict=True)


@pytest.mark.parametrize(
    "change",
    [{"dnsName": ["storage"]}, {"usages": ["server"]}, {"duration": 90}, {"privateKey": {"size": "P-256"}}],
)
def test_a_certificate_that_cert_manager_would_refuse_is_not_valid(change: dict[str, Any]) -> None:
    manifest = of_kind(kustomize.rendered("production"), "Certificate")["storage"]
    wrong = {**manifest, "spec": {**manifest["spec"], **change}}
    with pytest.raises(jsonschema.ValidationError):
        test_every_manifest_is_valid_to_the_letter((wrong,))


def test_each_workload_has_a_certificate_of_its_role_and_the_authority_is_in_neither_zone(
    manifests: tuple[Manifest, ...],
) -> None:
    certificates = of_kind(manifests, "Certificate")
    authority = certificates.pop("blindsight-authority")
    assert authority["metadata"]["namespace"] == "cert-manager"
    assert of_kind(manifests, "ClusterIssuer")["blindsight"]["spec"]["ca"] == {
        "secretName": authority["spec"]["secretName"]
    }
    assert certificates.keys() == ZONES.keys() | {"owner"}
    for name, certificate in certificates.items():
        role = {"rabbitmq": "queue"}.get(name, name)
        about = certificate["spec"]
        assert certificate["metadata"]["namespace"] == ZONES.get(name, TRUSTED)
        assert about["uris"] == [spiffe_id("blindsight", Role(role))]
        assert about["dnsNames"] == [role]
        assert ("server auth" in about["usages"]) == (name in ZONES)
        assert about["duration"] == f"{DAYS * 24}h"
        assert about["renewBefore"] == f"{RENEW_DAYS * 24}h"
        assert about["issuerRef"] == {"name": "blindsight", "kind": "ClusterIssuer"}
        assert about["privateKey"]["rotationPolicy"] == "Always"
    for name, workload in workloads(manifests).items():
        (container,) = containers(workload)
        mounted = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == "tls"]
        assert mounted == ["/run/tls"]
        variables = {one["name"]: one["value"] for one in container["env"]}
        assert name == "rabbitmq" or variables[f"BLINDSIGHT_{name.upper()}_TLS"] == "/run/tls"


def test_the_broker_has_the_listener_of_the_compose_file(manifests: tuple[Manifest, ...]) -> None:
    deployed = (FOLDER.parent / "rabbitmq" / "10-tls.conf").read_text()
    assert of_kind(manifests, "ConfigMap")["rabbitmq"]["data"] == {"10-tls.conf": deployed}


@pytest.mark.timeout(180)
def test_services_take_certificates_of_exactly_these_fields_and_renewed_ones(
    tmp_path: Path,
) -> None:
    specs = {
        one["spec"].get("dnsNames", [""])[0]: one["spec"]
        for one in kustomize.rendered("production")
        if one["kind"] == "Certificate"
    }
    issuer = CertManager(tmp_path / "mounted", specs)
    beyond = {"keyholder": {"address": f"0.0.0.0:{free_ports(1)[0]}"}}
    (tmp_path / "services").mkdir()
    services = BulkServices(tmp_path / "services", settings=beyond, certificates=issuer)
    try:
        services.start()
        services.worker()
        with blindsight.connect(services.address(), tls=issuer.of(Role.OWNER)) as vault:
            album = vault.create_collection("album", embedder="pixels", dimension=64)
            assert album.ingest_bulk([("one.png", small_photo(1))]).wait().done == 1
            health.require_serving(services.address("storage"), tls=issuer.of(Role.STORAGE))
            roles = [Role(role) for role in specs if role]
            shown = {role: Certificates(issuer.of(role)).current.serial for role in roles}
            for role in roles:
                issuer.issue(role.value)
                assert Certificates(issuer.of(role)).current.serial != shown[role]
            for number in range(2, 4):
                assert album.ingest_bulk([(f"{number}.png", small_photo(number))]).wait().done == 1
            assert album.search(small_photo(1), k=3).results[0][0].name == "one.png"
        told = "".join(path.read_text() for path in (tmp_path / "services").glob("*.log"))
        assert "certificate_refused" not in told
    finally:
        services.stop()


def test_each_workload_is_in_the_namespace_of_its_zone(manifests: tuple[Manifest, ...]) -> None:
    found = {name: one["metadata"]["namespace"] for name, one in workloads(manifests).items()}
    assert found == ZONES
    for name, namespace in of_kind(manifests, "Namespace").items():
        labels = namespace["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        assert name == f"blindsight-{labels['blindsight.zone']}"


def test_every_container_is_confined(manifests: tuple[Manifest, ...]) -> None:
    for name, workload in workloads(manifests).items():
        about = pod(workload)
        assert about is not None
        security = about["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] >= 100, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & about.keys(), name
        assert not any("hostPath" in volume for volume in about["volumes"]), name
        for container in containers(workload):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


def test_no_pod_has_a_token_of_the_cluster(manifests: tuple[Manifest, ...]) -> None:
    accounts = of_kind(manifests, "ServiceAccount")
    for name, workload in workloads(manifests).items():
        about = pod(workload)
        assert about is not None
        assert about["automountServiceAccountToken"] is False, name
        assert accounts[about["serviceAccountName"]]["automountServiceAccountToken"] is False, name
        # Variables like KEYHOLDER_PORT are no settings.
        assert about["enableServiceLinks"] is False, name


def test_every_container_has_requests_limits_and_probes(manifests: tuple[Manifest, ...]) -> None:
    for name, workload in workloads(manifests).items():
        for container in containers(workload):
            for kind in ("requests", "limits"):
                assert container["resources"][kind].keys() == {"cpu", "memory"}, (name, kind)
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert probe in container, (name, probe)
            if name in {"keyholder", "evaluator", "storage"}:
                for kind, asked in (("startup", LIVENESS), ("liveness", LIVENESS), ("readiness", READINESS)):
                    program = ["python", "-P", "-m", "blindsight.runtime.health"]
                    wanted = [*program, f"127.0.0.1:{PORTS[name]}", asked, "--tls", "/run/tls"]
                    probe = container[f"{kind}Probe"]
                    assert probe["exec"]["command"] == wanted
                    # It waits so long for an answer, after a start of Python.
                    assert probe["timeoutSeconds"] > health.ANSWER_SECONDS
            if name in {"keyholder", "evaluator", "storage", "worker"}:
                variables = {one["name"]: one["value"] for one in container["env"]}
                assert variables[f"BLINDSIGHT_{name.upper()}_METRICS_TLS"] == "true"


def test_pods_are_given_the_time_that_their_drain_takes(manifests: tuple[Manifest, ...]) -> None:
    for workload in workloads(manifests).values():
        about = pod(workload)
        assert about is not None
        assert about["terminationGracePeriodSeconds"] > DRAIN_SECONDS + CLOSING_SECONDS


def test_every_workload_has_a_disruption_budget_that_finds_it(manifests: tuple[Manifest, ...]) -> None:
    budgets = of_kind(manifests, "PodDisruptionBudget")
    for name, workload in workloads(manifests).items():
        wanted = budgets[name]["spec"]["selector"]["matchLabels"].items()
        assert wanted <= workload["spec"]["template"]["metadata"]["labels"].items()


def test_services_listen_where_services_and_addresses_say(manifests: tuple[Manifest, ...]) -> None:
    services = of_kind(manifests, "Service")
    for name, port in PORTS.items():
        assert services[name]["spec"]["ports"][0]["port"] == port
        assert services[name]["metadata"]["namespace"] == ZONES[name]
    for name, workload in workloads(manifests).items():
        (container,) = containers(workload)
        for variable in container["env"]:
            if variable["name"].endswith("_ADDRESS") and not variable["value"].startswith("0.0.0.0:"):
                host, _, port = variable["value"].partition(":")
                peer, _, namespace = host.partition(".")
                assert (namespace or ZONES[name], int(port)) == (ZONES[peer], PORTS[peer]), variable


def test_secrets_are_references_and_the_untrusted_zone_has_only_the_broker_s(
    manifests: tuple[Manifest, ...],
) -> None:
    assert not of_kind(manifests, "Secret")
    named = {name: set(secrets_named(workload["spec"])) for name, workload in workloads(manifests).items()}
    assert named == {
        "keyholder": {"blindsight-keys", "blindsight-passphrase", "blindsight-queue", "keyholder-tls"},
        "worker": {"blindsight-keys", "blindsight-passphrase", "blindsight-queue", "worker-tls"},
        "evaluator": {"evaluator-tls"},
        "storage": {"storage-tls"},
        "rabbitmq": {"blindsight-broker", "rabbitmq-tls"},
    }


def secrets_named(value: Any) -> list[str]:
    """Names of all secrets that a part of a manifest refers to, however deep."""
    if isinstance(value, list):
        return [name for one in value for name in secrets_named(one)]
    if not isinstance(value, dict):
        return []
    found = [name for one in value.values() for name in secrets_named(one)]
    references = [value[key] for key in ("secret", "secretRef", "secretKeyRef") if key in value]
    return found + [one.get("secretName") or one["name"] for one in references]


def selects(peer: dict[str, Any], own_namespace: str, service: str) -> bool:
    """Whether a peer of a network policy is this service."""
    assert peer.keys() <= {"namespaceSelector", "podSelector"}, peer
    assert all(selector.keys() == {"matchLabels"} for selector in peer.values()), peer
    zone = ZONES[service]
    names = {"kubernetes.io/metadata.name": zone, "blindsight.zone": zone.removeprefix("blindsight-")}
    labels = {"app.kubernetes.io/name": service, "blindsight.zone": zone.removeprefix("blindsight-")}
    in_namespace = (
        peer["namespaceSelector"]["matchLabels"].items() <= names.items()
        if "namespaceSelector" in peer
        else zone == own_namespace
    )
    return (
        in_namespace and peer.get("podSelector", {"matchLabels": {}})["matchLabels"].items() <= labels.items()
    )


def allowed(manifests: tuple[Manifest, ...], direction: str, service: str, other: str, port: int) -> bool:
    """Whether a service's policy lets it speak to another, or be spoken to by it, at a port."""
    word = {"egress": "to", "ingress": "from"}[direction]
    policy = of_kind(manifests, "NetworkPolicy")[service]
    assert policy["spec"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": service}
    assert policy["metadata"]["namespace"] == ZONES[service]
    return any(
        any(selects(peer, ZONES[service], other) for peer in rule[word])
        and any(one["port"] == port for one in rule["ports"])
        for rule in policy["spec"][direction]
    )


@pytest.mark.parametrize("source", ZONES)
@pytest.mark.parametrize("target", PORTS)
def test_connections_are_possible_on_the_ways_of_the_design_alone(
    manifests: tuple[Manifest, ...], source: str, target: str
) -> None:
    if source == target:
        return
    out = allowed(manifests, "egress", source, target, PORTS[target])
    into = allowed(manifests, "ingress", target, source, PORTS[target])
    assert (out, into) == ((source, target) in WAYS,) * 2


METRICS = {"keyholder": 9101, "evaluator": 9102, "storage": 9103, "worker": 9104, "rabbitmq": 15691}


@pytest.mark.parametrize("name", METRICS)
def test_monitoring_reaches_the_port_of_metrics_alone_and_is_prometheus(
    manifests: tuple[Manifest, ...], name: str
) -> None:
    prometheus = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
    }
    rules = of_kind(manifests, "NetworkPolicy")[name]["spec"]["ingress"]
    measured = [rule for rule in rules if "monitoring" in str(rule["from"])]
    assert measured == [{"from": [prometheus], "ports": [{"protocol": "TCP", "port": METRICS[name]}]}]
    others = [one["port"] for rule in rules if rule not in measured for one in rule["ports"]]
    assert METRICS[name] not in others


def test_storage_and_the_broker_may_call_nobody(manifests: tuple[Manifest, ...]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    for name in ("storage", "rabbitmq"):
        assert "Egress" in policies[name]["spec"]["policyTypes"]
        assert not policies[name]["spec"].get("egress")
    assert len(policies["evaluator"]["spec"]["egress"]) == 2  # storage, and names


def test_both_zones_deny_what_nothing_allows(manifests: tuple[Manifest, ...]) -> None:
    denials = [one for one in manifests if one["metadata"]["name"] == "nothing-by-default"]
    assert {one["metadata"]["namespace"] for one in denials} == {TRUSTED, UNTRUSTED}
    for denial in denials:
        assert denial["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_in_production_no_node_runs_both_zones_and_workers_follow_the_queue() -> None:
    manifests = kustomize.rendered("production")
    for name, workload in workloads(manifests).items():
        about = pod(workload)
        assert about is not None
        assert about["nodeSelector"] == {"blindsight.zone": ZONES[name].removeprefix("blindsight-")}
    (scaler,) = of_kind(manifests, "HorizontalPodAutoscaler").values()
    assert scaler["spec"]["scaleTargetRef"]["name"] == "worker"
    assert "replicas" not in workloads(manifests)["worker"]["spec"]
    metric = scaler["spec"]["metrics"][0]["external"]["metric"]["name"]
    assert metric in (FOLDER.parent / "README.md").read_text()


def test_no_manifest_holds_what_looks_like_a_secret() -> None:
    for path in FOLDER.rglob("*.yaml"):
        assert "kind: Secret" not in path.read_text(), path
        assert not re.search(r"(?i)(stringData|password:|amqps?://)", path.read_text()), path
        assert list(yaml.safe_load_all(path.read_text())), path
