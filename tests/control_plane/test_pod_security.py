"""Pods where a cluster limits them: users' at a level of Pod Security, ours where a quota must name them."""

import json

import pytest

from hami_dra.kube import kinds
from hami_dra.kube.kinds import NAMESPACES
from tests.control_plane.conftest import SYSTEM, hami, installed, pod, refusal, rendered
from tests.control_plane.test_ownership import QUOTAS
from tests.support.waiting import until

ENFORCE = "pod-security.kubernetes.io/enforce"
CONFINED = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
}


def confined(**of_pod):
    body = pod({"gpumem": 1024, "gpucores": 10}, **CONFINED, **of_pod)
    body["spec"]["containers"][0]["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    return body


def enforce(client, namespace, level):
    client.patch(NAMESPACES, namespace, {"metadata": {"labels": {ENFORCE: level}}})


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_what_a_level_allows_gets_its_share_and_what_it_forbids_is_refused(space, level):
    enforce(space.client, space.name, level)
    made = space.try_pod(confined(), dry_run=False)
    assert made["spec"]["resourceClaims"]
    space.allocated()
    with pytest.raises(Exception, match="violates PodSecurity"):
        space.try_pod(confined(hostNetwork=True))


def test_verify_may_try_a_pod_in_a_namespace_with_the_strictest_level(cluster):
    enforce(cluster.client, "default", "restricted")
    try:
        told = json.loads(hami(cluster.plane, "verify", "-o", "json").stdout)
    finally:
        enforce(cluster.client, "default", None)
    assert [each["problem"] for each in told if each["promise"] == "admission"] == [""]


def test_our_own_critical_pods_are_accepted_with_the_charts_quota_and_refused_without_it(bare):
    items = rendered(bare, (kinds.DAEMON_SETS, kinds.DEPLOYMENTS, QUOTAS))
    ((_, quota),) = quotas = [item for item in items if item[0] is QUOTAS]
    pods = [
        {"metadata": {"name": item["metadata"]["name"]}, "spec": item["spec"]["template"]["spec"]}
        for _, item in items
        if item is not quota
    ]

    def refused():
        said = {body["metadata"]["name"]: refusal(bare, body, SYSTEM) for body in pods}
        return {name: "insufficient quota" in why or why for name, why in said.items() if why}

    assert refused() == {"hami-dra-driver-kubelet-plugin": True, "hami-hami-dra-webhook": True}
    with installed(bare, quotas):
        until(lambda: not refused(), "every Pod to be accepted")
