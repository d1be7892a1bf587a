"""What only a real API server decides about the plugin's writes: defaults, limits, permissions and policies.

Needs the programs of the cluster, and not the cluster: kube-apiserver and etcd are started on the loopback.
"""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from hami_dra.devices.backend import Problem
from hami_dra.kube import RESOURCE_CLAIMS, RESOURCE_SLICES, Client
from hami_dra.kube.kinds import Kind
from hami_dra.model.claim import ClaimRef
from hami_dra.model.names import DRIVER
from hami_dra.node.claim_files import Granted
from hami_dra.node.inventory import Inventory
from hami_dra.node.publisher import Publisher
from hami_dra.node.reporter import status
from tests.cluster import go_programs, versions
from tests.support import real_api
from tests.support.cards import card

NODE = "n1"
SHARE = "6108e68f-a7ec-4a30-9782-634885c0c728"
OTHER = "other.example.com"
PLUGIN = "hami-dra-driver-kubelet-plugin"
PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}
"""What of the chart decides about the plugin."""
Answer = tuple[int, str]
Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Path]]:
    """An API server with the chart's permissions and policies."""
    with real_api.serving(tmp_path_factory.mktemp("api"), NODE, "RBAC") as (kube, path):
        for body in _chart():
            group, _, version = body["apiVersion"].partition("/")
            kube.create(Kind(group, version, PLURALS[body["kind"]], body["kind"], namespaced=False), body)
        yield kube, path


def _chart() -> list[dict[str, Any]]:
    helm = go_programs.build(go_programs.HELM) / "helm"
    command = [helm, "-n", "hami-system", "template", "hami", "charts/hami", "--set", "dra.enabled=true"]
    done = subprocess.run(command, cwd=versions.REPO, capture_output=True, text=True, check=True)
    return [
        body
        for body in yaml.safe_load_all(done.stdout)
        if body and body["kind"] in PLURALS and body["metadata"]["name"].startswith(PLUGIN)
    ]


@pytest.fixture(scope="module")
def kube(server: tuple[Client, Path]) -> Client:
    return server[0]


def shown(kube: Client) -> list[tuple[int, int]]:
    """Devices and generation of each slice."""
    specs = [item["spec"] for item in kube.list(RESOURCE_SLICES)[0]]
    return sorted((len(spec.get("devices") or []), spec["pool"]["generation"]) for spec in specs)


def test_slices_are_taken_as_planned_and_come_to_rest(kube: Client) -> None:
    devices = tuple(card(number, f"GPU-{number}", "0000:65:01.0") for number in range(150))
    sick = {"hami-gpu-70": (Problem("hami-gpu-70", "xid", "", "79"), Problem("hami-gpu-70", "recovery", ""))}
    steps = [
        (Inventory(devices), [(22, 1), (128, 1)]),
        (Inventory(devices, sick), [(22, 2), (64, 2), (64, 2)]),
        (Inventory(devices), [(22, 3), (128, 3)]),
        (Inventory(()), [(0, 4)]),
    ]
    one = Publisher(kube, NODE, DRIVER, Inventory(devices))
    for inventory, expected in steps:
        one.update(inventory)
        one.sync()
        Publisher(kube, NODE, DRIVER, inventory).sync()  # as after a restart
        assert (shown(kube), one.problem) == (expected, None)


@pytest.fixture(scope="module")
def claim(kube: Client) -> ClaimRef:
    """Allocated on the node, to us and to another driver, which has reported its device."""
    request = {"name": "gpu", "exactly": {"deviceClassName": DRIVER}}
    body = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "c"},
        "spec": {"devices": {"requests": [request]}},
    }
    stored = kube.create(RESOURCE_CLAIMS, body, "default")
    _set(kube, {"allocation": ALLOCATION})
    _set(kube, {"devices": [{"driver": OTHER, "pool": NODE, "device": "x"}]})
    return ClaimRef("default", "c", stored["metadata"]["uid"])


CONSUMED = {"memory": "1Gi", "cores": "0"}
FIELD = {"key": "metadata.name", "operator": "In", "values": [NODE]}
ALLOCATION: dict[str, Any] = {
    "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [FIELD]}]},
    "devices": {
        "results": [
            {"request": "gpu", "driver": DRIVER, "pool": NODE, "device": "hami-gpu-0"}
            | {"shareID": SHARE, "consumedCapacity": CONSUMED},
            {"request": "gpu", "driver": OTHER, "pool": NODE, "device": "x"},
        ]
    },
}


def _set(kube: Client, value: dict[str, Any]) -> None:
    kube.patch(RESOURCE_CLAIMS, "c", {"status": value}, "default", subresource="status")


@pytest.fixture
def ask(server: tuple[Client, Path], claim: ClaimRef) -> Ask:
    """Patch the claim's status as the plugin of a node; the API server's code and message."""
    config = yaml.safe_load(server[1].read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    http = urllib3.PoolManager(ca_certs=cluster["certificate-authority"])

    def patch(body: dict[str, Any], node: str = NODE, form: str = "merge-patch+json") -> Answer:
        headers = {
            "Authorization": f"Bearer {user['token']}",
            "Content-Type": f"application/{form}",
            "Impersonate-User": f"system:serviceaccount:hami-system:{PLUGIN}",
            "Impersonate-Extra-authentication.kubernetes.io%2Fnode-name": node,
        }
        query = "?fieldManager=hami-dra&force=true" if form.startswith("apply") else ""
        path = f"/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/c/status{query}"
        answer = http.request("PATCH", cluster["server"] + path, headers=headers, body=json.dumps(body))
        return answer.status, json.loads(answer.data).get("message", "")

    return patch


def test_a_plugin_reports_its_own_device_beside_that_of_another_driver(
    kube: Client, ask: Ask, claim: ClaimRef
) -> None:
    granted = Granted("gpu", NODE, "hami-gpu-0", SHARE, ("cdi",))
    assert ask(status(DRIVER, claim, [granted]), form="apply-patch+yaml") == (200, "")
    devices = kube.get(RESOURCE_CLAIMS, "c", "default")["status"]["devices"]
    assert {each["driver"] for each in devices} == {DRIVER, OTHER}


def test_the_plugin_of_another_node_is_refused(ask: Ask, claim: ClaimRef) -> None:
    granted = Granted("gpu", NODE, "hami-gpu-0", SHARE, ("other",))
    code, message = ask(status(DRIVER, claim, [granted]), node="n2", form="apply-patch+yaml")
    assert code == 422
    assert "status.devices" in message


@pytest.mark.parametrize(
    "change",
    [
        {"allocation": None},
        {"reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]},
        {"devices": []},
    ],
    ids=["allocation", "reservedFor", "another driver's device"],
)
def test_what_is_not_the_plugins_is_refused(kube: Client, ask: Ask, change: dict[str, Any]) -> None:
    before = copy.deepcopy(kube.get(RESOURCE_CLAIMS, "c", "default")["status"])
    code, _ = ask({"status": change})
    assert code in (403, 422)
    assert kube.get(RESOURCE_CLAIMS, "c", "default")["status"] == before
