"""What only a real API server decides about a plugin's writes: defaults, limits, permissions, policies."""

import copy
import json
import secrets
from urllib.parse import urlencode

import pytest
import urllib3
import yaml

from hami_dra.devices.backend import Problem
from hami_dra.kube import NODES, RESOURCE_CLAIMS, RESOURCE_SLICES
from hami_dra.kube.kinds import Kind
from hami_dra.model import names
from hami_dra.model.claim import ClaimRef
from hami_dra.node.claim_files import Granted
from hami_dra.node.inventory import Inventory
from hami_dra.node.publisher import Publisher
from hami_dra.node.reporter import SETTLED_S, Reporter, status
from tests.control_plane.conftest import RBAC, installed, rendered
from tests.support.cards import card
from tests.support.control_plane import RELEASES
from tests.support.waiting import until

NODE = "n1"
SHARE = "6108e68f-a7ec-4a30-9782-634885c0c728"
NAME = "written"
OTHER = "other.example.com"
NPU = "ascend.project-hami.io"
PLUGIN = "hami-dra-driver-kubelet-plugin"
ACCOUNT = f"system:serviceaccount:hami-system:{PLUGIN}"
POLICIES = [
    Kind("admissionregistration.k8s.io", "v1", plural, kind, namespaced=False)
    for plural, kind in (
        ("validatingadmissionpolicies", "ValidatingAdmissionPolicy"),
        ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
    )
]


@pytest.fixture(scope="module")
def kube(plane):
    """The administrator's client: Node NODE is there, and what the chart says of its plugin is in force."""
    client = plane.client
    client.create(NODES, {"metadata": {"name": NODE}})
    items = rendered(plane, [*RBAC, *POLICIES])
    with installed(
        plane, [(kind, item) for kind, item in items if item["metadata"]["name"].startswith(PLUGIN)]
    ):
        yield client
    for item in client.list(RESOURCE_SLICES, fields=f"spec.nodeName={NODE}")[0]:
        client.delete(RESOURCE_SLICES, item["metadata"]["name"])
    client.delete(NODES, NODE)


def shown(kube):
    """Devices and generation of each slice."""
    specs = [item["spec"] for item in kube.list(RESOURCE_SLICES, fields=f"spec.nodeName={NODE}")[0]]
    return sorted((len(spec.get("devices") or []), spec["pool"]["generation"]) for spec in specs)


@pytest.mark.parametrize("plane", [minor for minor in RELEASES if minor >= "1.36"], indirect=True)
def test_slices_are_taken_as_planned_and_come_to_rest(kube):
    """Since 1.36 a slice can say that a device is sick, and has room for half as many then."""
    devices = tuple(card(number, f"GPU-{number}", "0000:65:01.0") for number in range(150))
    sick = {"hami-gpu-70": (Problem("hami-gpu-70", "xid", "", "79"), Problem("hami-gpu-70", "recovery", ""))}
    steps = [
        (Inventory(devices), [(22, 1), (128, 1)]),
        (Inventory(devices, sick), [(22, 2), (64, 2), (64, 2)]),
        (Inventory(devices), [(22, 3), (128, 3)]),
        (Inventory(()), [(0, 4)]),
    ]
    one = Publisher(kube, NODE, names.DRIVER, Inventory(devices))
    for inventory, expected in steps:
        one.update(inventory)
        one.sync()
        Publisher(kube, NODE, names.DRIVER, inventory).sync()  # as after a restart
        assert (shown(kube), one.problem) == (expected, None)


@pytest.fixture(scope="module")
def claim(kube):
    """Allocated on the node, to us and to another driver, which has reported its device."""
    request = {"name": "gpu", "exactly": {"deviceClassName": names.DRIVER}}
    body = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": NAME},
        "spec": {"devices": {"requests": [request]}},
    }
    stored = kube.create(RESOURCE_CLAIMS, body, "default")
    _set(kube, {"allocation": ALLOCATION})
    _set(kube, {"devices": [{"driver": OTHER, "pool": NODE, "device": "x"}]})
    return ClaimRef("default", NAME, stored["metadata"]["uid"])


CONSUMED = {"memory": "1Gi", "cores": "0"}
FIELD = {"key": "metadata.name", "operator": "In", "values": [NODE]}
ALLOCATION = {
    "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [FIELD]}]},
    "devices": {
        "results": [
            {"request": "gpu", "driver": names.DRIVER, "pool": NODE, "device": "hami-gpu-0"}
            | {"shareID": SHARE, "consumedCapacity": CONSUMED},
            {"request": "gpu", "driver": OTHER, "pool": NODE, "device": "x"},
        ]
    },
}


def _set(kube, value):
    kube.patch(RESOURCE_CLAIMS, NAME, {"status": value}, "default", subresource="status")


@pytest.fixture
def ask(plane, claim):
    """Patch the claim's status as the plugin of a node, once its rights and our policy are in force: code and
    message."""
    config = yaml.safe_load(plane.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    http = urllib3.PoolManager(ca_certs=cluster["certificate-authority"])

    def patch(body, node=NODE, form="merge-patch+json", dry_run=False):
        headers = {
            "Authorization": f"Bearer {user['token']}",
            "Content-Type": f"application/{form}",
            "Impersonate-User": ACCOUNT,
            "Impersonate-Extra-authentication.kubernetes.io%2Fnode-name": node,
        }
        query = {"fieldManager": "hami-dra", "force": "true"} if form.startswith("apply") else {}
        query |= {"dryRun": "All"} if dry_run else {}
        url = f"{cluster['server']}{RESOURCE_CLAIMS.path('default', NAME)}/status?{urlencode(query)}"
        answer = http.request("PATCH", url, headers=headers, body=json.dumps(body))
        return answer.status, json.loads(answer.data).get("message", "")

    nothing, taken_away = {"status": {}}, {"status": {"allocation": None}}
    until(lambda: patch(nothing, dry_run=True)[0] == 200, "the rights")
    until(lambda: patch(taken_away, dry_run=True)[0] != 200, "the policy")
    return patch


def test_a_plugin_reports_its_own_device_beside_that_of_another_driver(kube, ask, claim):
    granted = Granted("gpu", NODE, "hami-gpu-0", SHARE, ("cdi",))
    assert ask(status(names.DRIVER, claim, [granted]), form="apply-patch+yaml") == (200, "")
    devices = kube.get(RESOURCE_CLAIMS, NAME, "default")["status"]["devices"]
    assert {each["driver"] for each in devices} == {names.DRIVER, OTHER}


def test_the_plugin_of_another_node_is_refused(plane, ask, claim):
    """By our policy, or, from 1.36 on, by the API server itself, which comes first."""
    granted = Granted("gpu", NODE, "hami-gpu-0", SHARE, ("other",))
    code, message = ask(status(names.DRIVER, claim, [granted]), node="n2", form="apply-patch+yaml")
    assert code == 422
    own = plane.release.minor < "1.36"
    assert ("devices of its own node and driver only" if own else "status.devices") in message


@pytest.mark.parametrize(
    "change",
    [
        {"allocation": None},
        {"reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]},
        {"devices": []},
    ],
    ids=["allocation", "reservedFor", "another driver's device"],
)
def test_what_is_not_the_plugins_is_refused(kube, ask, change):
    before = copy.deepcopy(kube.get(RESOURCE_CLAIMS, NAME, "default")["status"])
    code, _ = ask({"status": change})
    assert code in (403, 422)
    assert kube.get(RESOURCE_CLAIMS, NAME, "default")["status"] == before


def test_two_families_that_have_a_part_of_one_claim_each_say_so_and_neither_takes_away_the_others(kube):
    name = f"both-{secrets.token_hex(3)}"
    parts = {names.DRIVER: "hami-gpu-0", NPU: "ascend-0"}
    requests = [{"name": f"r{at}", "exactly": {"deviceClassName": driver}} for at, driver in enumerate(parts)]
    results = [
        {"request": f"r{at}", "driver": driver, "pool": "elsewhere", "device": device}
        for at, (driver, device) in enumerate(parts.items())
    ]
    body = {"metadata": {"name": name}, "spec": {"devices": {"requests": requests}}}
    stored = kube.create(RESOURCE_CLAIMS, body, "default")
    allocation = {"status": {"allocation": {"devices": {"results": results}}}}
    kube.patch(RESOURCE_CLAIMS, name, allocation, "default", subresource="status")
    ref, now = ClaimRef("default", name, stored["metadata"]["uid"]), [0.0]
    for driver, device in parts.items():
        reporter = Reporter(kube, driver, clock=lambda: now[0])
        reporter.prepared(ref, [Granted("r", "elsewhere", device, "", ("cdi",))])
        now[0] += SETTLED_S
        reporter.write_due()
    said = kube.get(RESOURCE_CLAIMS, name, "default")["status"]["devices"]
    assert {each["driver"]: each["conditions"][0]["type"] for each in said} == dict.fromkeys(parts, "Ready")
