"""The guide's commands, word for word, and values that must be refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import INSTALL_LINE, Objects, Render, pod_spec

Refusal = Callable[..., str]


def test_the_guides_install_line_makes_the_objects_that_it_shows(objects: Objects) -> None:
    assert {
        "DaemonSet/hami-dra-driver-kubelet-plugin",
        "Deployment/hami-hami-dra-webhook",
        "Deployment/hami-hami-dra-monitor",
        "DeviceClass/hami-core-gpu.project-hami.io",
    } <= objects.names()


def test_all_namespaced_objects_are_in_the_releases_namespace(objects: Objects) -> None:
    assert {item["metadata"].get("namespace", "hami-system") for item in objects} == {"hami-system"}


def test_the_plugin_runs_on_nodes_labelled_gpu_on_only(objects: Objects) -> None:
    spec = pod_spec(objects.one("DaemonSet", "hami-dra-driver-kubelet-plugin"))
    assert spec["nodeSelector"] == {"gpu": "on"}


@pytest.mark.parametrize(
    ("option", "root"),
    [
        ((), "/run/nvidia/driver"),
        (("--set", "hami-dra.drivers.nvidia.containerDriver=false"), "/"),
        (
            ("--set", "hami-dra.drivers.nvidia.driverRoot=/home/kubernetes/bin/nvidia"),
            "/home/kubernetes/bin/nvidia",
        ),
    ],
    ids=["installed by GPU Operator", "installed on the host", "installed by GKE"],
)
def test_the_plugin_sees_the_driver_where_it_is_installed(
    render: Render, option: tuple[str, ...], root: str
) -> None:
    spec = pod_spec(render(*option).one("DaemonSet", "hami-dra-driver-kubelet-plugin"))
    [plugin] = spec["containers"]
    mount = next(item for item in plugin["volumeMounts"] if item["name"] == "driver-root")
    volume = next(item for item in spec["volumes"] if item["name"] == "driver-root")
    environment = {item["name"]: item.get("value") for item in plugin["env"]}
    assert volume["hostPath"]["path"] == root
    assert environment["HAMI_HOST_DRIVER_ROOT"] == root
    assert environment["HAMI_DRIVER_ROOT"] == mount["mountPath"]
    assert mount["readOnly"] is True
    assert mount["mountPropagation"] == "HostToContainer"


def test_the_limiter_can_be_put_into_a_folder_that_programs_may_be_mapped_from(render: Render) -> None:
    folder = "/home/kubernetes/bin/hami"
    daemon_set = "hami-dra-driver-kubelet-plugin"
    spec = pod_spec(
        render("--set", f"hami-dra.drivers.nvidia.limiterDirectory={folder}").one("DaemonSet", daemon_set)
    )
    [plugin] = spec["containers"]
    assert {"name": "HAMI_LIMITER_DIR", "value": folder} in plugin["env"]
    # Containers are given the host's path: it must be the same in here.
    [mount] = [item for item in plugin["volumeMounts"] if item["name"] == "limiter"]
    [volume] = [item for item in spec["volumes"] if item["name"] == "limiter"]
    assert [mount["mountPath"], volume["hostPath"]["path"]] == [folder, folder]


@pytest.mark.parametrize(
    "line",
    [
        INSTALL_LINE.replace("dra.enabled=true", "dra.enabled=false"),
        INSTALL_LINE.replace("--set dra.enabled=true ", ""),
    ],
    ids=["switched off", "left out"],
)
def test_without_dra_mode_the_install_stops_with_the_reason_and_the_remedy(
    refusal: Refusal, line: str
) -> None:
    said = refusal(line=line)
    assert "this distribution has DRA mode only" in said
    assert "set dra.enabled=true" in said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("hami-dra.monitr.enabled=false", "additional properties 'monitr' not allowed"),
        ("hami-dra.drivers.nvidia.conatinerDriver=false", "'conatinerDriver' not allowed"),
        ("devicePlugin.enabled=true", "additional properties 'devicePlugin' not allowed"),
        ("hami-dra.webhook.replicas=two", "at '/webhook/replicas': got string, want integer"),
        ("hami-dra.certs.mode=selfsigned", "at '/certs/mode'"),
        ("hami-dra.resourceMem=gpumem", "at '/resourceMem'"),
        ("hami-dra.webhook.image.tag=a b", "at '/webhook/image/tag'"),
        ("hami-dra.webhook.image.repository=hami-dra/", "at '/webhook/image/repository'"),
        ("global.imageRegistry='", "at '/global/imageRegistry'"),
        ("global.imageRegistry=registry.example.com/mirror/", "at '/global/imageRegistry'"),
        ("global.imageRegistry=https://registry.example.com", "at '/global/imageRegistry'"),
        ("hami-dra.drivers.nvidia.driverRoot=run/nvidia", "at '/drivers/nvidia/driverRoot'"),
        ("hami-dra.drivers.nvidia.limiterDirectory=lib", "at '/drivers/nvidia/limiterDirectory'"),
        ("hami-dra.webhook.resources.limits.memory=lots", "at '/webhook/resources/limits/memory'"),
        # Helm takes away a key that is left empty in a values file: the webhook would just not be there.
        ("hami-dra.webhook.enabled=null", "at '/webhook': missing property 'enabled'"),
        ("hami-dra.monitor=null", "missing property 'monitor'"),
        ("hami-dra.drivers.families=null", "at '/drivers': missing property 'families'"),
        ("hami-dra.prometheus.rules=null", "at '/prometheus': missing property 'rules'"),
        (
            "hami-dra.drivers.nvidia.kubelet.registryDirectory=plugins",
            "'/drivers/nvidia/kubelet/registryDirectory'",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_one_line_that_names_it(
    refusal: Refusal, value: str, said: str
) -> None:
    [headline, _chart, detail] = refusal("--set", value).strip().splitlines()
    assert headline.startswith("Error: values don't meet the specifications of the schema")
    assert said in detail


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ("hami-dra.certs.mode=secret", "set hami-dra.certs.secret.name"),
        ("hami-dra.certs.mode=secret,hami-dra.certs.secret.name=mine", "hami-dra.certs.secret.caBundle"),
        ("hami-dra.certs.secret.name=mine", "set hami-dra.certs.mode=secret"),
        ("hami-dra.certs.certManager.issuer.name=mine", "set hami-dra.certs.mode=certManager"),
        (
            "hami-dra.certs.mode=certManager,hami-dra.certs.certManager.issuer.name=a,"
            "hami-dra.certs.certManager.issuer.clusterIssuerName=b",
            "keep one of the two",
        ),
        (
            "hami-dra.drivers.nvidia.audit.policy=stop,hami-dra.drivers.nvidia.daemonSet.privileged=false",
            "set privileged to true, or the policy to warn",
        ),
        ("hami-dra.resourceCores=nvidia.com/gpumem", "give each its own name"),
        ("hami-dra.monitor.service.nodePort.metrics=31993", "set the type to NodePort"),
    ],
)
def test_values_that_contradict_each_other_are_refused_with_the_remedy(
    refusal: Refusal, values: str, remedy: str
) -> None:
    assert remedy in refusal("--set", values)


def test_two_components_never_share_a_name_however_long_the_releases_is(render: Render) -> None:
    longest = "r" * 53
    rendered = render(line=INSTALL_LINE.replace("install hami", f"install {longest}"))
    names = rendered.names()
    assert len(names) == len(rendered)
    ours = {name.partition("/")[2] for name in names if not name.startswith("DeviceClass/")}
    assert {len(name) <= 63 and name.startswith("rrr") for name in ours} == {True}


def test_helm_test_asks_nobody_when_neither_webhook_nor_monitor_is_there(
    render: Render, objects: Objects
) -> None:
    """`hami verify` without addresses would look at the cluster, which this Pod may not."""

    def arguments(rendered: Objects) -> list[str]:
        [container] = pod_spec(rendered.one("Pod", "hami-hami-dra-test"))["containers"]
        assert isinstance(container["args"], list)
        return container["args"]

    assert len([word for word in arguments(objects) if word.startswith("--answers=")]) == 2
    neither = render("--set", "hami-dra.webhook.enabled=false,hami-dra.monitor.enabled=false")
    assert arguments(neither) == ["--version"]
