"""What a platform team expects of any chart: its labels, a network policy, Pods that can be placed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import Object, Objects, Render, pod_spec

EVERYTHING = (
    *(
        "--set",
        "hami-dra.drivers.families.enabled={amd}",
        "--set",
        "hami-dra.grafana.dashboards.enabled=true",
    ),
    *("--set", "hami-dra.networkPolicy.enabled=true"),
)


def templates(objects: Objects) -> Iterator[Object]:
    """Each Pod that the release makes, as metadata and spec."""
    for item in objects:
        if item["kind"] == "Pod":
            yield item
        elif "template" in item.get("spec", {}):
            yield item["spec"]["template"]


def test_common_labels_are_on_every_object_and_pod_and_never_replace_ours(render: Render) -> None:
    wanted = {"team": "platform", "app.kubernetes.io/name": "other"}
    labels = [
        "--set-json",
        'global.commonLabels={"team": "platform", "app.kubernetes.io/name": "other"}',
    ]
    objects = render(*EVERYTHING, *labels)
    for item in (*objects, *templates(objects)):
        found = item["metadata"]["labels"]
        assert (found["team"], found["app.kubernetes.io/name"]) == (wanted["team"], "hami-dra")
    selectors = [item["spec"]["selector"] for item in objects if item["kind"] in ("Deployment", "DaemonSet")]
    assert not any("team" in selector["matchLabels"] for selector in selectors), "an upgrade could not add it"


@pytest.mark.parametrize(
    ("values", "kind", "name"),
    [
        ("drivers.nvidia.daemonSet", "DaemonSet", "hami-dra-driver-kubelet-plugin"),
        ("drivers.families.daemonSet", "DaemonSet", "hami-dra-driver-families"),
        ("webhook", "Deployment", "hami-hami-dra-webhook"),
        ("monitor", "Deployment", "hami-hami-dra-monitor"),
    ],
)
def test_pods_of_one_component_take_more_labels_and_annotations(
    render: Render, values: str, kind: str, name: str
) -> None:
    objects = render(
        *EVERYTHING,
        *("--set-string", f"hami-dra.{values}.podLabels.billing=4711"),
        *("--set-string", rf"hami-dra.{values}.podAnnotations.sidecar\.istio\.io/inject=false"),
    )
    given = objects.one(kind, name)["spec"]["template"]["metadata"]
    assert given["labels"]["billing"] == "4711"
    assert given["annotations"]["sidecar.istio.io/inject"] == "false"
    others = [item["metadata"]["labels"] for item in templates(objects)]
    assert sum("billing" in labels for labels in others) == 1


def test_the_plugin_tolerates_the_usual_taint_of_gpu_nodes_or_those_that_are_named(render: Render) -> None:
    def tolerated(*values: str) -> list[dict[str, str]]:
        found = pod_spec(render(*values).one("DaemonSet", "hami-dra-driver-kubelet-plugin"))
        return found.get("tolerations", [])

    value = "hami-dra.drivers.nvidia.daemonSet.tolerations"
    assert tolerated() == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert tolerated("--set-json", f'{value}=[{{"key": "dedicated", "value": "gpu"}}]') == [
        {"key": "dedicated", "value": "gpu"}
    ]
    assert tolerated("--set-json", f"{value}=[]") == []


def test_a_label_that_is_no_text_is_refused_with_its_place(refusal: Callable[..., str]) -> None:
    said = refusal("--set", "global.commonLabels.cost=4711")
    assert "at '/global/commonLabels/cost': got number, want string" in said


def test_a_global_value_of_another_kind_is_refused_although_helm_would_keep_the_default(
    refusal: Callable[..., str],
) -> None:
    said = refusal("--set", "global.imageRegistry.name=registry.example.com")
    assert "at '/global/imageRegistry': got object, want string" in said


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ("hami-dra.image.tag=1", "ghcr.io/hami-dra/hami-dra:1"),
        ("hami-dra.image.registry=,hami-dra.image.tag=1", "hami-dra:1"),
        ("global.imageRegistry=mirror/a,hami-dra.image.tag=1", "mirror/a/hami-dra:1"),
        (f"hami-dra.image.digest=sha256:{'0' * 64}", f"ghcr.io/hami-dra/hami-dra@sha256:{'0' * 64}"),
    ],
    ids=["tag", "no registry", "mirror", "digest"],
)
def test_every_pod_takes_the_image_from_where_the_values_say(render: Render, values: str, image: str) -> None:
    pods = [item["spec"] for item in templates(render(*EVERYTHING, "--set-string", values))]
    used = [each for pod in pods for each in (*pod["containers"], *pod.get("initContainers", []))]
    assert {each["image"] for each in used} == {image}


def test_a_component_may_have_an_image_of_its_own(render: Render) -> None:
    tags = "hami-dra.image.tag=1,hami-dra.monitor.image.tag=2"
    objects = render("--set-string", tags, "--set", "hami-dra.monitor.image.pullPolicy=Always")
    pods = {item["metadata"]["name"]: pod_spec(item)["containers"][0] for item in objects.kind("Deployment")}
    found = {name: (each["image"][-2:], each["imagePullPolicy"]) for name, each in pods.items()}
    assert found == {
        "hami-hami-dra-monitor": (":2", "Always"),
        "hami-hami-dra-webhook": (":1", "IfNotPresent"),
    }


def test_without_asking_there_is_no_network_policy(objects: Objects) -> None:
    assert objects.kind("NetworkPolicy") == []


def test_the_network_policy_lets_in_to_every_port_that_a_pod_opens_and_to_no_other(render: Render) -> None:
    objects = render(*EVERYTHING)
    [policy] = objects.kind("NetworkPolicy")
    selector = policy["spec"]["podSelector"]["matchLabels"]
    opened: set[int] = set()
    for item in templates(objects):
        assert selector.items() <= item["metadata"]["labels"].items()
        for container in item["spec"]["containers"]:
            opened |= {port["containerPort"] for port in container.get("ports", [])}
    allowed = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert allowed == opened
    out = [port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])]
    assert out == [443, 6443, 53, 53]


def test_metrics_can_be_kept_to_one_namespace(render: Render) -> None:
    peer: dict[str, Any] = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    }
    place = "hami-dra.networkPolicy.metricsFrom[0].namespaceSelector.matchLabels"
    objects = render(*EVERYTHING, "--set", rf"{place}.kubernetes\.io/metadata\.name=monitoring")
    [policy] = objects.kind("NetworkPolicy")
    limited = [rule for rule in policy["spec"]["ingress"] if "from" in rule]
    assert [(rule["ports"], rule["from"]) for rule in limited] == [
        ([{"protocol": "TCP", "port": 8080}], [peer])
    ]


def test_pods_of_helms_hooks_run_where_the_webhook_runs_and_within_a_quota(render: Render) -> None:
    """On a cluster whose nodes are all tainted, or whose namespaces have a quota, they would never run."""
    objects = render(
        *("--set", "hami-dra.webhook.tolerations[0].operator=Exists"),
        *("--set", "hami-dra.webhook.nodeSelector.pool=infra"),
    )
    for kind, name in (("Job", "hami-hami-dra-uninstall"), ("Pod", "hami-hami-dra-test")):
        hook = objects.one(kind, name)
        spec = hook["spec"] if kind == "Pod" else pod_spec(hook)
        assert spec["tolerations"] == [{"operator": "Exists"}]
        assert spec["nodeSelector"] == {"pool": "infra"}
        for container in (*spec["containers"], *spec.get("initContainers", [])):
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


def test_replicas_of_the_webhook_are_spread_as_the_values_say_else_over_nodes(render: Render) -> None:
    def keys(*extra: str) -> list[str]:
        spec = pod_spec(render(*extra).one("Deployment", "hami-hami-dra-webhook"))
        return [constraint["topologyKey"] for constraint in spec["topologySpreadConstraints"]]

    zone = '[{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]'
    assert keys() == ["kubernetes.io/hostname"]
    assert keys("--set-json", f"hami-dra.webhook.topologySpreadConstraints={zone}") == ["zone"]


def test_helm_prints_why_an_uninstall_was_refused_or_a_test_failed(objects: Objects) -> None:
    for kind, name in (("Job", "hami-hami-dra-uninstall"), ("Pod", "hami-hami-dra-test")):
        annotations = objects.one(kind, name)["metadata"]["annotations"]
        assert annotations["helm.sh/hook-output-log-policy"] == "hook-failed", name


def test_a_second_monitor_is_refused_as_dashboards_would_count_everything_twice(
    refusal: Callable[..., str],
) -> None:
    assert "/monitor/replicas" in refusal("--set", "hami-dra.monitor.replicas=2")
