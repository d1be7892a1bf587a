"""Admission and claims on a real API server, scheduler and controller manager, without nodes.

The webhook runs as a process and is registered with the objects that the chart renders. Cards are simulated:
ResourceSlices of two nodes that are objects only, so Pods are scheduled and never started.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import json
import secrets
import subprocess
import sys

import pytest
import yaml

from hami_dra.kube import kinds
from hami_dra.kube.kinds import NAMESPACES, Kind
from hami_dra.model import errors
from tests.charts.conftest import INSTALL_LINE, template
from tests.control_plane.cards import CARDS, publish
from tests.support import control_plane, webhook_process
from tests.support.waiting import until

SYSTEM = "hami-system"
WEBHOOK = "hami-hami-dra-webhook"
RBAC = [
    Kind("", "v1", "serviceaccounts", "ServiceAccount"),
    *(
        Kind("rbac.authorization.k8s.io", "v1", f"{name.lower()}s", name, namespaced=not name.startswith("C"))
        for name in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    ),
]


def pytest_collection_modifyitems(items):
    for item in items:
        if "/tests/control_plane/" in str(item.path):
            item.add_marker(pytest.mark.e2e)


@dataclasses.dataclass
class Cluster:
    """The control plane with our webhook; `client` is the administrator."""

    plane: control_plane.ControlPlane
    folder: object
    webhook: webhook_process.Webhook

    @property
    def client(self):
        return self.plane.client


@pytest.fixture(scope="session", params=control_plane.RELEASES)
def plane(request, tmp_path_factory):
    with control_plane.running(tmp_path_factory.mktemp("plane"), request.param) as found:
        for node, cards in CARDS.items():
            publish(found.client, node, cards)
        yield found


@pytest.fixture(scope="session")
def cluster(plane, tmp_path_factory):
    folder = tmp_path_factory.mktemp("webhook")
    families = ("--families", "nvidia,amd,ascend")
    with (
        account(plane) as kubeconfig,
        webhook_process.running(folder, kubeconfig, *families) as webhook,
        registered(plane, webhook, "hami-dra.drivers.families.enabled={amd,ascend}"),
    ):
        yield Cluster(plane, folder, webhook)


CRITICAL_PODS_BY_QUOTA = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - resource: pods
      matchScopes:
      - {scopeName: PriorityClass, operator: In, values: [system-node-critical, system-cluster-critical]}
"""
"""System-critical Pods only where a quota names them, as GKE has it."""


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """A second control plane for tests that register or install something of their own, and remove it."""
    folder = tmp_path_factory.mktemp("bare")
    admission = folder / "admission.yaml"
    admission.write_text(CRITICAL_PODS_BY_QUOTA)
    flags = [f"--admission-control-config-file={admission}"]
    with control_plane.running(folder, flags=flags) as plane:
        for node, cards in CARDS.items():
            publish(plane.client, node, cards)
        plane.client.create(NAMESPACES, {"metadata": {"name": SYSTEM}})
        yield plane


@pytest.fixture
def fresh(bare, tmp_path):
    """A namespace of the bare control plane, and empty folders for two webhooks."""
    for name in ("webhook", "second"):
        (tmp_path / name).mkdir()
    yield from _space(Cluster(bare, tmp_path, None))


@contextlib.contextmanager
def registered(plane, webhook, *values):
    """The chart's DeviceClasses and webhook configurations, pointing at a process instead of a Service.

    The Deployment is there too, without Pods: it says how admission is set.
    """
    wanted = (kinds.DEVICE_CLASSES, kinds.MUTATING_WEBHOOKS, kinds.VALIDATING_WEBHOOKS, kinds.DEPLOYMENTS)
    items = rendered(plane, wanted, *values)
    for _, item in items:
        for hook in item.get("webhooks", []):
            path = hook["clientConfig"].pop("service")["path"]
            hook["clientConfig"] = webhook.client_config(path)
        if item["kind"] == "Deployment":
            item["spec"]["replicas"] = 0
    with installed(plane, items):
        await_known(plane)
        yield


def await_known(plane):
    """Wait until the API server goes by all that is registered so far: until it goes by something later."""
    for kind in (kinds.MUTATING_WEBHOOKS, kinds.VALIDATING_WEBHOOKS):
        name = f"later-{secrets.token_hex(3)}.example.com"
        hook = {
            "name": name,
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "clientConfig": {"url": "https://localhost:1/"},
            "objectSelector": {"matchLabels": {"of": name}},
            "rules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
            ],
        }
        plane.client.create(kind, {"metadata": {"name": name}, "webhooks": [hook]})
        body = pod(name="unheard")
        body["metadata"]["labels"] = {"of": name}
        try:
            until(lambda body=body, name=name: name in refusal(plane, body), "the registration")
        finally:
            plane.client.delete(kind, name)


def refusal(plane, body, namespace="default"):
    """Why a Pod would not be made; empty when it would."""
    try:
        plane.ask("POST", kinds.PODS.path(namespace), body, query={"dryRun": "All"})
    except errors.KubeError as problem:
        return str(problem)
    return ""


@contextlib.contextmanager
def account(plane):
    """The kubeconfig of the webhook's own account, with the rights that the chart gives it."""
    items = [(kind, item) for kind, item in rendered(plane, RBAC) if item["metadata"]["name"] == WEBHOOK]
    with installed(plane, items):
        yield plane.kubeconfig_of(SYSTEM, WEBHOOK)


def rendered(plane, wanted, *values):
    """The chart's objects of the WANTED kinds, each with its kind."""
    by_kind = {kind.kind: kind for kind in wanted}
    settings = itertools.chain(*(("--set", value) for value in values))
    shown = template(INSTALL_LINE, ("--kube-version", plane.release.version, *settings))
    assert shown.returncode == 0, shown.stderr
    items = [item for item in yaml.safe_load_all(shown.stdout) if item]
    return [(by_kind[item["kind"]], item) for item in items if item["kind"] in by_kind]


@contextlib.contextmanager
def installed(plane, items):
    """They are there until the block ends."""
    with contextlib.suppress(errors.Conflict):
        plane.client.create(NAMESPACES, {"metadata": {"name": SYSTEM}})
    for kind, item in items:
        plane.client.create(kind, item, item["metadata"].get("namespace"))
    try:
        yield
    finally:
        for kind, item in items:
            plane.client.delete(kind, item["metadata"]["name"], item["metadata"].get("namespace"))


class Space:
    """One namespace of the cluster, and what a user does in it."""

    def __init__(self, cluster, name):
        self.cluster, self.client, self.plane, self.name = cluster, cluster.client, cluster.plane, name

    def create(self, kind, body, *, dry_run=False):
        """Create BODY; with DRY_RUN only as if."""
        body = copy.deepcopy(body)
        body.setdefault("metadata", {}).pop("namespace", None)
        return self.client.create(kind, body, self.name, dry_run=dry_run)

    def try_pod(self, body, *, dry_run=True):
        """One call that creates a Pod, and no second one when it fails."""
        query = {"dryRun": "All"} if dry_run else {}
        return self.plane.ask("POST", kinds.PODS.path(self.name), body, query=query)

    def refusal(self, kind, body):
        with pytest.raises(errors.KubeError) as refused:
            self.create(kind, body)
        return str(refused.value)

    def list(self, kind):
        return self.client.list(kind, self.name)[0]

    def claims(self):
        return self.list(kinds.RESOURCE_CLAIMS)

    def events(self, name):
        found = self.client.list(kinds.EVENTS, self.name, fields=f"involvedObject.name={name}")[0]
        return "\n".join(f"{event['reason']}: {event['message']}" for event in found)

    def allocated(self, count=1):
        """The claims of the namespace, once COUNT of them are allocated."""
        return until(
            lambda: (lambda found: found if len(found) == count else None)(
                [item for item in self.claims() if item.get("status", {}).get("allocation")]
            ),
            f"{count} allocated claims",
        )

    def delete_pod(self, name):
        """As a kubelet ends it: at once, there is no node."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
        self.plane.ask("DELETE", kinds.PODS.path(self.name, name), options)

    def finish(self, pod, phase):
        """Report a Pod's end as its kubelet would."""
        self.client.patch(kinds.PODS, pod, {"status": {"phase": phase}}, self.name, subresource="status")


@pytest.fixture
def space(cluster):
    yield from _space(cluster)


@pytest.fixture(scope="session")
def dry(cluster):
    """A namespace for dry runs alone: they leave nothing for each other."""
    yield from _space(cluster)


def _space(cluster):
    found = Space(cluster, f"t-{secrets.token_hex(3)}")
    cluster.client.create(NAMESPACES, {"metadata": {"name": found.name}})
    yield found
    end_pods(found)
    cluster.client.delete(NAMESPACES, found.name)


def hami(plane, *arguments, stdin=""):
    """The command line as the administrator's."""
    command = [sys.executable, "-m", "hami_dra.cli.main", *arguments, "--kubeconfig", str(plane.kubeconfig)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True)


def pod(limits=None, name="train", annotations=None, **spec):
    """A Pod with one container `cuda`; limits by short names."""
    full = {
        key if key in ("cpu", "memory") else f"nvidia.com/{key}": str(value)
        for key, value in (limits or {}).items()
    }
    metadata = {"name": name} if name else {"generateName": "train-"}
    if annotations:
        metadata["annotations"] = annotations
    container = {"name": "cuda", "image": "x", "resources": {"limits": full} if full else {}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], **spec},
    }


def results(claim):
    return claim["status"]["allocation"]["devices"]["results"]


def asked(claim):
    return json.dumps(claim["spec"], sort_keys=True)


def owners(space):
    """Uids of the Pods that the claims of a namespace belong to."""
    return {item["metadata"]["ownerReferences"][0]["uid"] for item in space.claims()}


def uids(space):
    """Uids of the Pods of a namespace."""
    return {item["metadata"]["uid"] for item in space.list(kinds.PODS)}


def end_pods(space):
    """What kubelets do with Pods that are to end."""
    for _ in range(40):
        for item in space.list(kinds.PODS):
            with contextlib.suppress(errors.NotFound):
                space.delete_pod(item["metadata"]["name"])
        if not space.list(kinds.PODS):
            return
