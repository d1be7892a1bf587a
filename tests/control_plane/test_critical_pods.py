"""Our Pods on an API server that accepts system-critical ones only where a quota names them, as GKE does."""

import pytest

from hami_dra.kube import kinds
from hami_dra.kube.kinds import Kind
from tests.control_plane.conftest import NAMESPACES, SYSTEM, eventually, refusal, rendered
from tests.support import control_plane

QUOTAS = Kind("", "v1", "resourcequotas", "ResourceQuota")
ADMISSION = """
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


@pytest.fixture
def strict(tmp_path):
    """A control plane that limits these Pods, and the release's namespace."""
    (tmp_path / "admission.yaml").write_text(ADMISSION)
    flags = [f"--admission-control-config-file={tmp_path / 'admission.yaml'}"]
    with control_plane.running(tmp_path, flags=flags) as plane:
        plane.client.create(NAMESPACES, {"metadata": {"name": SYSTEM}})
        yield plane


def test_every_pod_of_ours_is_accepted_with_the_charts_quota_and_refused_without_it(strict):
    items = rendered(strict, (kinds.DAEMON_SETS, kinds.DEPLOYMENTS, QUOTAS))
    (quota,) = (item for _, item in items if item["kind"] == "ResourceQuota")
    pods = [
        {"metadata": {"name": item["metadata"]["name"]}, "spec": item["spec"]["template"]["spec"]}
        for _, item in items
        if item is not quota
    ]

    def refused():
        said = {body["metadata"]["name"]: refusal(strict, body, SYSTEM) for body in pods}
        return {name: "insufficient quota" in why or why for name, why in said.items() if why}

    assert refused() == {"hami-dra-driver-kubelet-plugin": True, "hami-hami-dra-webhook": True}
    strict.client.create(QUOTAS, quota, SYSTEM)
    eventually(lambda: not refused(), "every Pod to be accepted")
