"""docs/interfaces.md is the contract between the chart and the programs: both of its tables hold here."""

from __future__ import annotations

import re

import pytest

from tests.cluster.versions import REPO

from .conftest import Object, Objects, Render, pod_spec

CONTRACT = (REPO / "docs" / "interfaces.md").read_text()
WORKLOADS = {
    "plugin": ("DaemonSet", "hami-dra-driver-kubelet-plugin"),
    "webhook": ("Deployment", "hami-hami-dra-webhook"),
    "monitor": ("Deployment", "hami-hami-dra-monitor"),
}
ONE_MODE_ONLY = {"HAMI_CERT_DIR": "secret", "HAMI_CERT_SECRET": "self"}
"""Variables that belong to one mode of certificate: `certs.mode` in which each is set."""


def documented_variables(command: str) -> set[str]:
    """The names in the table of variables, in the row of `command` and the row `all`."""
    names: set[str] = set()
    for row in re.findall(rf"^\| (?:all|{command}) \| (`HAMI_.*) \|$", CONTRACT, flags=re.MULTILINE):
        for name in re.findall(r"`(HAMI_[A-Z_{},]+)`", row):
            stem, _, choices = name.rstrip("}").partition("{")
            names |= {stem + choice for choice in choices.split(",")}
    assert names, f"no variables of {command} in docs/interfaces.md"
    return names


def documented_ports(command: str) -> set[int]:
    """Ports that the same rows give in parentheses."""
    [row] = re.findall(rf"^\| {command} \| (`HAMI_.*) \|$", CONTRACT, flags=re.MULTILINE)
    return {int(port) for port in re.findall(r"_PORT` \((?:[^`)]*)`(\d+)`", row)}


def container(objects: Objects, command: str) -> Object:
    [only] = pod_spec(objects.one(*WORKLOADS[command]))["containers"]
    assert isinstance(only, dict)
    return only


def certificate_mode(render: Render, mode: str) -> Objects:
    more = ",hami-dra.certs.secret.name=mine,hami-dra.certs.secret.caBundle=QQ==" if mode == "secret" else ""
    return render("--set", f"hami-dra.certs.mode={mode}{more}")


@pytest.mark.parametrize("mode", ["self", "secret"])
@pytest.mark.parametrize("command", WORKLOADS)
def test_each_program_gets_exactly_the_variables_that_it_documents(
    render: Render, command: str, mode: str
) -> None:
    rendered = {item["name"] for item in container(certificate_mode(render, mode), command)["env"]}
    of_other_modes = {name for name, its_mode in ONE_MODE_ONLY.items() if its_mode != mode}
    assert rendered == documented_variables(command) - of_other_modes


@pytest.mark.parametrize("command", WORKLOADS)
def test_each_container_runs_its_own_command_under_its_own_name(objects: Objects, command: str) -> None:
    only = container(objects, command)
    assert (only["name"], only["args"]) == (command, [command])
    assert "command" not in only


@pytest.mark.parametrize("command", WORKLOADS)
def test_documented_ports_are_those_that_the_container_opens(objects: Objects, command: str) -> None:
    only = container(objects, command)
    assert {port["containerPort"] for port in only["ports"]} == documented_ports(command)
    set_by_variables = {int(item["value"]) for item in only["env"] if item["name"].endswith("_PORT")}
    assert set_by_variables == documented_ports(command)


def test_every_variable_has_a_value_or_a_source(objects: Objects) -> None:
    for command in WORKLOADS:
        for item in container(objects, command)["env"]:
            assert item.get("value") or item.get("valueFrom"), item["name"]


def test_node_paths_are_mounted_where_the_programs_expect_them(objects: Objects) -> None:
    spec = pod_spec(objects.one(*WORKLOADS["plugin"]))
    [plugin] = spec["containers"]
    host = {item["name"]: item["hostPath"]["path"] for item in spec["volumes"] if "hostPath" in item}
    inside = {item["name"]: item["mountPath"] for item in plugin["volumeMounts"] if item["name"] in host}
    shifted = {name for name in host if host[name] != inside[name]}
    assert shifted == {"driver-root"}
    value = {item["name"]: item.get("value") for item in plugin["env"]}
    assert value["HAMI_STATE_DIR"] == host["state"] == "/var/lib/hami"
    assert value["HAMI_CDI_DIR"] == host["cdi"] == "/var/run/cdi"
    assert f"{value['HAMI_KUBELET_PLUGINS_DIR']}/hami-core-gpu.project-hami.io" == host["plugin"]
    assert value["HAMI_KUBELET_REGISTRY_DIR"] == host["registry"]


def test_kubelets_directories_follow_its_root_directory(render: Render) -> None:
    kubelet = "hami-dra.drivers.nvidia.kubelet"
    root = "/srv/kubelet"
    rendered = render(
        "--set",
        f"{kubelet}.pluginsDirectory={root}/plugins,{kubelet}.registryDirectory={root}/plugins_registry,"
        f"{kubelet}.podResourcesDirectory={root}/pod-resources",
    )
    spec = pod_spec(rendered.one(*WORKLOADS["plugin"]))
    host = {item["name"]: item.get("hostPath") for item in spec["volumes"]}
    assert host["plugin"]["path"] == f"{root}/plugins/hami-core-gpu.project-hami.io"
    assert host["pod-resources"] == {"path": f"{root}/pod-resources", "type": "Directory"}
    # Kubelet makes this folder; were it created here, a wrong path would go unnoticed.
    assert host["registry"] == {"path": f"{root}/plugins_registry", "type": "Directory"}


def test_a_node_without_cdi_folders_gets_them(objects: Objects) -> None:
    spec = pod_spec(objects.one(*WORKLOADS["plugin"]))
    types = {
        item["hostPath"]["path"]: item["hostPath"]["type"] for item in spec["volumes"] if "hostPath" in item
    }
    assert types["/var/run/cdi"] == types["/etc/cdi"] == "DirectoryOrCreate"
