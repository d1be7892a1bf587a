"""The webhook's registration: whom it may delay, whom it may stop, and where its certificate comes from."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Object, Objects, Render, pod_spec

NAME = "hami-hami-dra-webhook"
RESOURCES = ["gpu", "gpumem", "gpumem-percentage", "gpucores", "priority"]


def registration(objects: Objects) -> Object:
    [webhook] = objects.one("MutatingWebhookConfiguration", NAME)["webhooks"]
    assert isinstance(webhook, dict)
    return webhook


def condition(objects: Objects, name: str) -> str:
    """The expression of one of the registration's conditions."""
    found = {item["name"]: item["expression"] for item in registration(objects)["matchConditions"]}
    return str(found[name])


def test_only_pods_that_name_one_of_our_resources_reach_the_webhook(objects: Objects) -> None:
    expression = condition(objects, "names-our-resources")
    for resource in RESOURCES:
        assert f'"nvidia.com/{resource}"' in expression
    for place in ("object.spec.containers", "initContainers", "ephemeralContainers", "limits", "requests"):
        assert place in expression


def test_renamed_resources_are_what_reaches_the_webhook_and_what_it_is_told(render: Render) -> None:
    rendered = render("--set", "hami-dra.resourceMem=example.com/memory")
    expression = condition(rendered, "names-our-resources")
    [container] = pod_spec(rendered.one("Deployment", NAME))["containers"]
    assert '"example.com/memory"' in expression
    assert 'nvidia.com/gpumem"' not in expression
    assert {"name": "HAMI_RESOURCE_MEMORY", "value": "example.com/memory"} in container["env"]


def test_system_namespaces_and_its_own_never_depend_on_the_webhook(render: Render) -> None:
    rendered = render("--set", "hami-dra.webhook.config.scope.excludedNamespaces={kube-system,build}")
    [expression] = registration(rendered)["namespaceSelector"]["matchExpressions"]
    assert expression == {
        "key": "kubernetes.io/metadata.name",
        "operator": "NotIn",
        "values": ["hami-system", "kube-system", "build"],
    }


def test_the_registration_asks_for_pods_and_ephemeral_containers_and_promises_no_side_effects(
    objects: Objects,
) -> None:
    webhook = registration(objects)
    rules = [(rule["operations"], rule["resources"]) for rule in webhook["rules"]]
    assert rules == [(["CREATE", "UPDATE"], ["pods"]), (["UPDATE"], ["pods/ephemeralcontainers"])]
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
    ids=["a CA of its own", "an Issuer", "a ClusterIssuer"],
)
def test_cert_manager_issues_for_the_service_and_fills_the_registration(
    render: Render, issuer: str, reference: dict[str, str]
) -> None:
    rendered = render("--set", f"hami-dra.certs.mode=certManager{issuer}")
    certificate = rendered.one("Certificate", NAME)["spec"]
    configuration = rendered.one("MutatingWebhookConfiguration", NAME)
    spec = pod_spec(rendered.one("Deployment", NAME))
    assert certificate["issuerRef"] == reference
    assert f"{NAME}.hami-system.svc" in certificate["dnsNames"]
    assert configuration["metadata"]["annotations"] == {
        "cert-manager.io/inject-ca-from": f"hami-system/{NAME}"
    }
    assert {"name": "HAMI_CERT_MODE", "value": "files"} in spec["containers"][0]["env"]
    assert {"name": "tls", "secret": {"secretName": certificate["secretName"]}} in spec["volumes"]
    assert len(rendered.kind("Issuer")) == (0 if issuer else 2)
    assert rendered.kind("Secret") == []


def test_a_release_can_change_over_from_cert_manager_to_its_own_certificate(render: Render) -> None:
    """cert-manager's Secret outlives the Certificate, and Helm takes over none that it did not make."""
    issued = render("--set", "hami-dra.certs.mode=certManager").one("Certificate", NAME)["spec"]["secretName"]
    assert issued not in {item["metadata"]["name"] for item in render().kind("Secret")}


def test_what_the_api_server_trusts_outlives_every_serving_certificate(render: Render) -> None:
    """The serving certificate is signed by a CA, which keeps its key when it is renewed."""
    rendered = render("--set", "hami-dra.certs.mode=certManager")
    serving, ca = (rendered.one("Certificate", name)["spec"] for name in (NAME, f"{NAME}-ca"))
    issuer = rendered.one("Issuer", serving["issuerRef"]["name"])["spec"]
    assert issuer == {"ca": {"secretName": ca["secretName"]}}
    assert ca["isCA"]
    assert (ca["duration"], ca["renewBefore"]) == ("87600h", "8760h"), "ten years, renewed after nine"
    assert ca["privateKey"]["rotationPolicy"] == "Never"
    assert rendered.one("Issuer", ca["issuerRef"]["name"])["spec"] == {"selfSigned": {}}
    assert ca["secretName"] != serving["secretName"]


def validations(objects: Objects) -> list[Object]:
    found = objects.one("ValidatingWebhookConfiguration", NAME)["webhooks"]
    assert isinstance(found, list)
    return found


def test_native_claims_of_our_class_are_looked_at_and_no_others(objects: Objects) -> None:
    [claims, pods] = validations(objects)
    [rule] = claims["rules"]
    assert (rule["operations"], rule["resources"]) == (
        ["CREATE"],
        ["resourceclaims", "resourceclaimtemplates"],
    )
    [made_by_a_person, ours] = [item["expression"] for item in claims["matchConditions"]]
    assert '"hami-core-gpu.project-hami.io"' in ours
    assert "system:serviceaccount:hami-system:hami-hami-dra-webhook" in made_by_a_person
    [by_hand] = [item["expression"] for item in pods["matchConditions"]]
    assert "nodeName" in by_hand


def test_claims_of_every_family_of_the_release_are_looked_at(render: Render) -> None:
    families = "hami-dra.drivers.families"
    rendered = render("--set", f"{families}.enabled={{ascend,amd}},hami-dra.webhook.dra.deviceClassName=mine")
    [claims, _] = validations(rendered)
    [_, ours] = [item["expression"] for item in claims["matchConditions"]]
    classes = {item["metadata"]["name"] for item in rendered.kind("DeviceClass")}
    assert classes == {
        "hami-core-gpu.project-hami.io",
        "hami-core-mig.project-hami.io",
        "amd.project-hami.io",
        "ascend.project-hami.io",
    }
    for name in (*classes, "mine"):
        assert ours.count(f'"{name}"') >= 2, "in a request, and in an alternative of one"
    drivers = ours.partition("opaque")[2]
    assert '"ascend.project-hami.io"' in drivers
    assert '"hami-core-mig.project-hami.io"' not in drivers, "MIG instances are of the driver of cards"


def test_a_webhook_that_is_away_stops_no_native_claim(objects: Objects) -> None:
    for webhook in validations(objects):
        assert webhook["failurePolicy"] == "Ignore"
        assert webhook["sideEffects"] == "None"
        assert webhook["clientConfig"]["service"]["path"] == "/validate"


def test_validation_can_be_switched_off(render: Render) -> None:
    rendered = render("--set", "hami-dra.webhook.config.validation.enabled=false")
    assert rendered.kind("ValidatingWebhookConfiguration") == []
    assert registration(rendered)


def test_whole_cards_are_left_to_kubernetes_only_when_asked_for(objects: Objects, render: Render) -> None:
    driver = "hami-core-gpu.project-hami.io"
    assert "extendedResourceName" not in objects.one("DeviceClass", driver)["spec"]
    rendered = render("--set", "hami-dra.webhook.extendedResource=true")
    assert rendered.one("DeviceClass", driver)["spec"]["extendedResourceName"] == "nvidia.com/gpu"
    more = condition(rendered, "names-more-than-whole-cards")
    assert '"nvidia.com/gpumem"' in more
    assert '"nvidia.com/gpu"' not in more
    [container] = pod_spec(rendered.one("Deployment", NAME))["containers"]
    assert {"name": "HAMI_EXTENDED_RESOURCE", "value": "true"} in container["env"]


def test_whole_cards_are_not_left_to_a_kubernetes_that_cannot_serve_them(refusal: Callable[..., str]) -> None:
    said = refusal("--set", "hami-dra.webhook.extendedResource=true", "--kube-version", "1.35.0")
    assert "extendedResource needs Kubernetes 1.36" in said


def test_a_webhook_that_ends_answers_until_nobody_asks_it_any_more(objects: Objects) -> None:
    [container] = pod_spec(objects.one("Deployment", NAME))["containers"]
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}


def test_your_own_certificate_is_mounted_and_its_ca_is_registered(render: Render) -> None:
    values = "hami-dra.certs.mode=secret,hami-dra.certs.secret.name=mine,hami-dra.certs.secret.caBundle=QQ=="
    rendered = render("--set", values)
    assert registration(rendered)["clientConfig"]["caBundle"] == "QQ=="
    volumes = pod_spec(rendered.one("Deployment", NAME))["volumes"]
    assert {"name": "tls", "secret": {"secretName": "mine"}} in volumes


def test_without_the_webhook_nothing_of_it_is_left(render: Render) -> None:
    rendered = render("--set", "hami-dra.webhook.enabled=false")
    assert [name for name in rendered.names() if "webhook" in name.lower()] == []
