"""Families besides NVIDIA in the chart: switched on by name, or added with one file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hami_dra.devices import families
from hami_dra.devices.profile_file import load
from tests.support.trees import PROFILES
from tests.unit.devices.test_profile import ACME

from .conftest import CHART, Object, Objects, Render, pod_spec

FILES = CHART / "charts/hami-dra/files/families.yaml"
DAEMON_SET = ("DaemonSet", "hami-dra-driver-families")
VALUE = "hami-dra.drivers.families"
NPU = "ascend.project-hami.io"


def resources_of(profile: Path) -> list[str]:
    """The names that Pods write, in the order of the profile."""
    rows = load(profile).resources
    names = (name for row in rows for name in (row.count, row.memory, row.memory_percentage, row.cores))
    return list(dict.fromkeys(filter(None, names)))


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profiles") / "acme.yaml"
    percentage = {"count": "acme.example/part", "memoryPercentage": "acme.example/part-percentage"}
    path.write_text(yaml.safe_dump(ACME | {"resources": [*ACME["resources"], percentage]}))
    return path


@pytest.fixture(scope="module")
def both(render: Render, acme: Path) -> Objects:
    """Ascend switched on, and a family of one's own."""
    return render("--set", f"{VALUE}.enabled={{ascend}}", "--set-file", f"{VALUE}.profiles.acme={acme}")


def variables(workload: Object) -> dict[str, Any]:
    (container,) = pod_spec(workload)["containers"]
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def test_the_chart_knows_the_resource_names_of_every_profile_that_we_ship() -> None:
    wanted = {path.stem: resources_of(path) for path in sorted(PROFILES.glob("*.yaml"))}
    assert yaml.safe_load(FILES.read_text()) == wanted, "run: python -m tests.charts.test_families"


def test_the_chart_offers_every_family_that_we_ship() -> None:
    schema = json.loads((CHART / "charts/hami-dra/values.schema.json").read_text())
    offered = schema["properties"]["drivers"]["properties"]["families"]["properties"]["enabled"]["items"][
        "enum"
    ]
    assert offered == families.known()


def test_without_families_there_is_nothing_of_them(objects: Objects) -> None:
    assert not [name for name in objects.names() if "families" in name or "profiles" in name]
    assert all("hami-core" in item["metadata"]["name"] for item in objects.kind("DeviceClass"))


def test_each_family_has_a_device_class_named_as_its_driver(both: Objects) -> None:
    found = {
        item["metadata"]["name"]: item["spec"]["selectors"][0]["cel"]["expression"]
        for item in both.kind("DeviceClass")
    }
    assert found["ascend.project-hami.io"] == "device.driver == 'ascend.project-hami.io'"
    assert found["acme.project-hami.io"] == "device.driver == 'acme.project-hami.io'"
    assert "hami-core-gpu.project-hami.io" in found


def test_one_plugin_serves_them_all_beside_the_one_for_nvidia(both: Objects) -> None:
    assert variables(both.one(*DAEMON_SET))["HAMI_FAMILIES"] == "acme,ascend"
    assert "HAMI_FAMILIES" not in variables(both.one("DaemonSet", "hami-dra-driver-kubelet-plugin"))
    spec = pod_spec(both.one(*DAEMON_SET))
    host = {volume["name"]: volume.get("hostPath", {}).get("path") for volume in spec["volumes"]}
    assert host["plugin-ascend"] == "/var/lib/kubelet/plugins/ascend.project-hami.io"
    assert host["host-root"] == "/"


def test_a_profile_of_ones_own_reaches_plugin_and_webhook_as_it_is(both: Objects, acme: Path) -> None:
    assert both.one("ConfigMap", "hami-hami-dra-profiles")["data"] == {"acme.yaml": acme.read_text()}
    for workload in (both.one(*DAEMON_SET), both.one("Deployment", "hami-hami-dra-webhook")):
        (volume,) = (each for each in pod_spec(workload)["volumes"] if each["name"] == "profiles")
        assert volume["configMap"]["name"] == "hami-hami-dra-profiles"
        assert variables(workload)["HAMI_PROFILES_DIR"] == "/etc/hami/profiles"
    assert variables(both.one("Deployment", "hami-hami-dra-webhook"))["HAMI_FAMILIES"] == "nvidia,acme,ascend"


def test_pods_that_name_their_resources_reach_the_webhook(both: Objects) -> None:
    (configuration,) = both.kind("MutatingWebhookConfiguration")
    [registered] = configuration["webhooks"]
    conditions = {each["name"]: each["expression"] for each in registered["matchConditions"]}
    names = ("nvidia.com/gpu", "huawei.com/Ascend910B3-memory", "acme.example/npu-memory")
    for name in (*names, "acme.example/part-percentage"):
        assert f'"{name}"' in conditions["names-our-resources"]


def test_a_plugin_may_write_slices_and_status_of_its_families_only(both: Objects) -> None:
    drivers = '["hami-core-gpu.project-hami.io","acme.project-hami.io","ascend.project-hami.io"]'
    policies = json.dumps(both.kind("ValidatingAdmissionPolicy"))
    assert policies.count(json.dumps(drivers)[1:-1]) == 3
    role = both.one("ClusterRole", "hami-dra-driver-kubelet-plugin")
    (rule,) = (each for each in role["rules"] if each["resources"] == ["resourceclaims/driver"])
    assert rule["resourceNames"] == json.loads(drivers)


@pytest.mark.parametrize(
    "text", ["profile: [", "- a", "resources: a", "resources: [a]", "resources: [{count: 5}]"]
)
def test_a_broken_profile_is_installed_for_the_plugin_to_refuse(
    render: Render, objects: Objects, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    rendered = render("--set-file", f"{VALUE}.profiles.bad={path}")
    assert variables(rendered.one(*DAEMON_SET))["HAMI_FAMILIES"] == "bad"
    assert rendered.kind("MutatingWebhookConfiguration") == objects.kind("MutatingWebhookConfiguration")


@pytest.mark.parametrize("name", ["nvidia", "hami-core-gpu", "hami-core-mig"])
def test_a_profile_with_a_name_of_nvidias_is_refused(refusal: Any, name: str) -> None:
    """Two DeviceClasses of one name, or NVIDIA's cards served by both plugins."""
    assert f"profiles.{name}: this name belongs to NVIDIA" in refusal("--set", f"{VALUE}.profiles.{name}=a")


def test_metrics_of_older_names_can_be_switched_off_for_all_families(render: Render) -> None:
    rendered = render("--set", f"{VALUE}.enabled={{ascend}},hami-dra.legacyMetrics=false")
    for name in ("hami-dra-driver-kubelet-plugin", DAEMON_SET[1]):
        assert variables(rendered.one("DaemonSet", name))["HAMI_LEGACY_METRICS"] == "false"


def test_families_without_nvidia_have_all_that_they_need(render: Render) -> None:
    rendered = render("--set", f"{VALUE}.enabled={{ascend}},hami-dra.drivers.nvidia.enabled=false")
    account = pod_spec(rendered.one(*DAEMON_SET))["serviceAccountName"]
    assert rendered.one("ServiceAccount", account)
    assert rendered.one("ClusterRole", account)
    assert [item["metadata"]["name"] for item in rendered.kind("DeviceClass")] == [NPU]


def test_without_any_driver_the_webhook_is_asked_for_no_pod(render: Render) -> None:
    """Helm may make `null` of an empty list; the API server refuses such a condition, and the upgrade."""
    conditions = render("--set", "hami-dra.drivers.nvidia.enabled=false").one(
        "MutatingWebhookConfiguration", "hami-hami-dra-webhook"
    )["webhooks"][0]["matchConditions"]
    assert "[].exists(r," in conditions[1]["expression"]


def test_their_plugin_is_scraped_as_the_others_are(render: Render) -> None:
    scraped = "hami-dra.prometheus.podMonitor.enabled=true"
    assert len(render("--set", scraped).kind("PodMonitor")) == 2
    monitors = render("--set", f"{scraped},{VALUE}.enabled={{ascend}}").kind("PodMonitor")
    assert DAEMON_SET[1] in {item["metadata"]["name"] for item in monitors}


def test_a_family_that_nobody_knows_is_refused_by_name(refusal: Any) -> None:
    assert "families" in refusal("--set", f"{VALUE}.enabled={{acme}}")


def test_every_variable_of_the_containers_is_an_option_of_the_plugin(both: Objects) -> None:
    from hami_dra.cli.plugin import plugin

    known = {option.envvar for option in plugin.params if hasattr(option, "envvar")}
    assert set(variables(both.one(*DAEMON_SET))) <= known
    assert set(variables(both.one("DaemonSet", "hami-dra-driver-kubelet-plugin"))) <= known


if __name__ == "__main__":
    body = {path.stem: resources_of(path) for path in sorted(PROFILES.glob("*.yaml"))}
    head = (
        "# Resource names of the profiles that we ship; `python -m tests.charts.test_families` writes this."
    )
    FILES.write_text(f"{head}\n---\n{yaml.safe_dump(body, sort_keys=False)}")
    subprocess.run(["git", "diff", "--stat", str(FILES)], check=False)
