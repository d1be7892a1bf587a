"""The webhook's registration: whom it may delay, whom it may stop, and where its certificate comes from."""

from __future__ import annotations

import pytest

from .conftest import Object, Objects, Render, pod_spec

NAME = "hami-hami-dra-webhook"
RESOURCES = ["gpu", "gpumem", "gpumem-percentage", "gpucores", "priority"]


def registration(objects: Objects) -> Object:
    [webhook] = objects.one("MutatingWebhookConfiguration", NAME)["webhooks"]
    assert isinstance(webhook, dict)
    return webhook


def test_only_pods_that_name_one_of_our_resources_reach_the_webhook(objects: Objects) -> None:
    [condition] = registration(objects)["matchConditions"]
    expression = condition["expression"]
    for resource in RESOURCES:
        assert f'"nvidia.com/{resource}"' in expression
    for place in ("object.spec.containers", "initContainers", "limits", "requests"):
        assert place in expression


def test_renamed_resources_are_what_reaches_the_webhook_and_what_it_is_told(render: Render) -> None:
    rendered = render("--set", "hami-dra.resourceMem=example.com/memory")
    [condition] = registration(rendered)["matchConditions"]
    [container] = pod_spec(rendered.one("Deployment", NAME))["containers"]
    assert '"example.com/memory"' in condition["expression"]
    assert 'nvidia.com/gpumem"' not in condition["expression"]
    assert {"name": "HAMI_RESOURCE_MEMORY", "value": "example.com/memory"} in container["env"]


def test_system_namespaces_and_its_own_never_depend_on_the_webhook(render: Render) -> None:
    rendered = render("--set", "hami-dra.webhook.config.scope.excludedNamespaces={kube-system,build}")
    [expression] = registration(rendered)["namespaceSelector"]["matchExpressions"]
    assert expression == {
        "key": "kubernetes.io/metadata.name",
        "operator": "NotIn",
        "values": ["hami-system", "kube-system", "build"],
    }


def test_the_registration_asks_for_pod_creation_only_and_promises_no_side_effects(objects: Objects) -> None:
    webhook = registration(objects)
    [rule] = webhook["rules"]
    assert (rule["operations"], rule["resources"]) == (["CREATE"], ["pods"])
    assert webhook["sideEffects"] == "None"
    assert webhook["failurePolicy"] == "Fail"
    assert webhook["reinvocationPolicy"] == "IfNeeded"
    assert webhook["timeoutSeconds"] == 5


def test_the_api_servers_call_arrives_at_the_webhooks_port(objects: Objects) -> None:
    target = registration(objects)["clientConfig"]["service"]
    service = objects.one("Service", target["name"])["spec"]
    deployment = objects.one("Deployment", NAME)["spec"]
    [port] = [item for item in service["ports"] if item["port"] == target["port"]]
    ports = {
        item["name"]: item["containerPort"]
        for item in deployment["template"]["spec"]["containers"][0]["ports"]
    }
    assert target["path"] == "/mutate"
    assert ports[port["targetPort"]] == 8443
    assert service["selector"].items() <= deployment["template"]["metadata"]["labels"].items()


def test_one_lost_node_or_one_drain_leaves_a_webhook_running(objects: Objects) -> None:
    deployment = objects.one("Deployment", NAME)["spec"]
    budget = objects.one("PodDisruptionBudget", NAME)["spec"]
    [spread] = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert deployment["replicas"] == 2
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == deployment["selector"] == spread["labelSelector"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"


def test_an_upgrade_keeps_the_certificate_that_the_webhook_made(objects: Objects) -> None:
    """Helm leaves alone what it does not render: the Secret's data, and caBundle."""
    secret = objects.one("Secret", f"{NAME}-tls")
    assert not {"data", "stringData"} & set(secret)
    assert "caBundle" not in registration(objects)["clientConfig"]


@pytest.mark.parametrize(
    ("issuer", "reference"),
    [
        ("", {"kind": "Issuer", "name": NAME}),
        (",hami-dra.certs.certManager.issuer.name=team", {"kind": "Issuer", "name": "team"}),
        (
            ",hami-dra.certs.certManager.issuer.clusterIssuerName=company",
            {"kind": "ClusterIssuer", "name": "company"},
        ),
    ],
    ids=["self-signed", "an Issuer", "a ClusterIssuer"],
)
def test_cert_manager_issues_for_the_service_and_fills_the_registration(
    render: Render, issuer: str, reference: dict[str, str]
) -> None:
    rendered = render("--set", f"hami-dra.certs.mode=certManager{issuer}")
    certificate = rendered.one("Certificate", NAME)["spec"]
    configuration = rendered.one("MutatingWebhookConfiguration", NAME)
    volumes = pod_spec(rendered.one("Deployment", NAME))["volumes"]
    assert certificate["issuerRef"] == reference
    assert f"{NAME}.hami-system.svc" in certificate["dnsNames"]
    assert configuration["metadata"]["annotations"] == {
        "cert-manager.io/inject-ca-from": f"hami-system/{NAME}"
    }
    assert {"name": "tls", "secret": {"secretName": certificate["secretName"]}} in volumes
    assert len(rendered.kind("Issuer")) == (0 if issuer else 1)
    assert rendered.kind("Secret") == []


def test_your_own_certificate_is_mounted_and_its_ca_is_registered(render: Render) -> None:
    values = "hami-dra.certs.mode=secret,hami-dra.certs.secret.name=mine,hami-dra.certs.secret.caBundle=QQ=="
    rendered = render("--set", values)
    assert registration(rendered)["clientConfig"]["caBundle"] == "QQ=="
    volumes = pod_spec(rendered.one("Deployment", NAME))["volumes"]
    assert {"name": "tls", "secret": {"secretName": "mine"}} in volumes


def test_without_the_webhook_nothing_of_it_is_left(render: Render) -> None:
    rendered = render("--set", "hami-dra.webhook.enabled=false")
    assert [name for name in rendered.names() if "webhook" in name.lower()] == []
