"""What the chart sets for admission is read back from a cluster as it was set."""

from __future__ import annotations

from pathlib import Path

import yaml

from hami_dra.kube import kinds
from hami_dra.ops import installed
from tests.support.fake_kube import FakeKube
from tests.unit.devices.test_profile import ACME

from .conftest import Objects, Render


def applied(objects: Objects) -> FakeKube:
    """A cluster with what bears on admission of OBJECTS."""
    kube = FakeKube()
    for kind in (kinds.MUTATING_WEBHOOKS, kinds.DEPLOYMENTS, kinds.CONFIG_MAPS):
        for item in objects.kind(kind.kind):
            kube.create(kind, item, item["metadata"].get("namespace"))
    return kube


def test_the_charts_values_are_what_the_webhook_runs_with(render: Render, objects: Objects) -> None:
    found = installed.webhook(applied(objects))
    assert found is not None
    assert found.excluded == ("hami-system", "kube-system")
    assert [family.name for family in found.settings.families] == ["nvidia"]
    assert "nvidia.com/gpumem" in installed.resources(found.settings)
    assert not found.settings.extended_resource


def test_renamed_resources_families_and_profiles_of_ones_own_are_known(
    render: Render, tmp_path: Path
) -> None:
    profile = tmp_path / "acme.yaml"
    profile.write_text(yaml.safe_dump(ACME))
    values = [
        "hami-dra.resourceMem=example.com/memory",
        "hami-dra.webhook.extendedResource=true",
        "hami-dra.webhook.dra.deviceClassName=mine",
        "hami-dra.webhook.config.scope.excludedNamespaces={build}",
        "hami-dra.drivers.families.enabled={amd}",
    ]
    own = ("--set-file", f"hami-dra.drivers.families.profiles.acme={profile}")
    found = installed.webhook(applied(render("--set", ",".join(values), *own)))
    assert found is not None
    settings = found.settings
    assert settings.extended_resource
    assert settings.families[0].device_class == "mine"
    assert {family.name for family in settings.families} == {"nvidia", "amd", "acme"}
    known = installed.resources(settings)
    assert {"example.com/memory", "nvidia.com/gpu", "amd.com/gpumem", "acme.example/npu-memory"} <= known
    assert "nvidia.com/gpumem" not in known
    assert found.excluded == ("hami-system", "build")


def test_without_a_webhook_there_is_nothing_to_read(render: Render) -> None:
    assert installed.webhook(applied(render("--set", "hami-dra.webhook.enabled=false"))) is None


def test_without_its_driver_pods_of_nvidia_are_left_to_whoever_serves_them(render: Render) -> None:
    """NVIDIA's device plugin, on a cluster that shares other accelerators."""
    rendered = render(
        "--set", "hami-dra.drivers.nvidia.enabled=false,hami-dra.drivers.families.enabled={amd}"
    )
    found = installed.webhook(applied(rendered))
    assert found is not None
    assert [family.name for family in found.settings.families] == ["amd"]
    [registered] = rendered.kind("MutatingWebhookConfiguration")
    assert "nvidia.com/" not in str(registered["webhooks"][0]["matchConditions"])
